//! The datapath for real: programs in the kernel, pods in namespaces, clients that know of nothing.
//!
//! Needs root and a binary with the eBPF object in it (`cargo xtask build`). Skips with a line on stderr
//! where it cannot run, and fails there when `CI=true`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod application;
mod battery;
mod failure;
mod fixture;
mod foreign;
mod steering;
mod takeover;
