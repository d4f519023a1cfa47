//! Weir in a real Kubernetes of two nodes, from its installation to its removal.
//!
//! `cargo xtask test --ring cluster` starts one; WEIR_KUBECONFIG names another.

mod plain;
mod promises;
