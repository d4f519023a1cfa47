//! The application: builds the components and wires them together. The only file that knows them all.

pub mod handover;
pub mod kernel;
pub mod pods;
pub mod ports;
pub mod state;
pub mod workers;
