//! Network namespaces: what needs root, but no eBPF.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod enrolment;
