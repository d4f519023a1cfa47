//! From desired state to what the proxy and the kernel serve from.
//!
//! `provider` reads objects, `config` holds them, `compile` turns them into a snapshot and a report.

pub mod config;
pub mod diagnostic;
pub mod report;
