//! HTTP as the data plane handles it.

pub mod body;
pub mod connection;
pub mod date;
pub mod grpc;
pub mod headers;
pub mod interim;
pub mod path;
#[cfg(any(test, fuzzing))]
pub mod reference;
pub mod request;
pub mod respond;
pub mod server;
pub mod translate;
pub mod upgrade;
