//! What stands around the gateway in a benchmark: backend, load, and the floor that it is held against.
//!
//! Each is a process of its own, started afresh and pinned by whoever measures (`gateway_tests::bench`).

pub mod backend;
pub mod connect;
pub mod floor;
pub mod grpc;
pub mod histogram;
pub mod idle;
pub mod load;
pub mod relay;
