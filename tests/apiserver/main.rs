//! Weir and a real API server, with etcd behind it and nothing else: no controllers, no nodes.
//!
//! `cargo xtask test --ring apiserver` starts one; WEIR_KUBECONFIG names another.

mod controller;
mod manifests;
mod node;
mod outage;
mod provider;
mod rights;
mod scene;
