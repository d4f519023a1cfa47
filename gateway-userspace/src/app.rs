//! The application: builds the components and wires them together. The only file that knows them all.

pub mod handover;
pub mod ports;
