//! Weir under test: what the suites and the demo share.

pub mod echo;
pub mod grpc;
pub mod load;
pub mod pod;
