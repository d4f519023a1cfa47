//! Weir under test: what the suites and the demo share.

pub mod bench;
pub mod cluster;
pub mod demo;
pub mod echo;
pub mod frames;
pub mod grpc;
mod interrupt;
pub mod load;
pub mod manifests;
pub mod message;
pub mod namespaces;
pub mod pod;
pub mod pod_process;
pub mod proxy;
pub mod recorder;
pub mod running;
pub mod soak;
pub mod stage;
pub mod streams;
pub mod wait;
pub mod weir;
