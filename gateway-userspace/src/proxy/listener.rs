//! Where downstream connections come in.

pub mod accept;
pub mod connection;
pub mod detect;
pub mod proxy_protocol;
