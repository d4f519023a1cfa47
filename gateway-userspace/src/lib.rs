//! Weir: a gateway on every node, with no sidecars.
//!
//! Three floors, arrows one way: `control` (desired state to tables) makes a `snapshot`
//! (immutable), and `proxy` (bytes to bytes) serves from it.

pub mod admin;
pub mod app;
pub mod bootstrap;
pub mod capture;
pub mod cli;
pub mod control;
pub mod controller;
pub mod drain;
pub mod ebpf;
pub mod explain;
pub mod limits;
pub mod machine;
pub mod memory;
pub mod persistent;
pub mod proxy;
pub mod readiness;
pub mod reason;
pub mod snapshot;
pub mod telemetry;
pub mod worker;
