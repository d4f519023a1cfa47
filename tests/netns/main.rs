//! Pods as network namespaces: their coming and going, and the whole way from a pod's connect to a replica.
//!
//! Needs root; `gateway` needs a `weir` with the eBPF object in it (`cargo xtask build`) as well.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod capabilities;
mod endpoints;
mod enrolment;
mod gateway;
