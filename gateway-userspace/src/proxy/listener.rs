//! Where downstream connections come in.

pub mod detect;
