//! Pure: the desired state, as its author wrote it, whatever source it came from.
//!
//! The structs carry the fields of Gateway API v1.6 and of the core kinds that Weir acts on, under
//! their Kubernetes names. Nothing here judges them: that is `compile`'s work.

pub mod captured_pod;
pub mod duration;
pub mod filter;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
pub mod meta;
pub mod node;
pub mod node_report;
pub mod pod;
pub mod presence;
pub mod reference_grant;
pub mod resources;
pub mod route;
pub mod service;
pub mod validate;
