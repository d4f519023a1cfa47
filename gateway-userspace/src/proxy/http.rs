//! HTTP as the data plane handles it.

pub mod grpc;
pub mod headers;
pub mod path;
