//! The configuration files of a node: those of `tests/cluster/node` with the node's own names and addresses.

use anyhow::Context;

use super::super::layout::{DNS_ADDRESS, Layout, Node, POD_CIDR};
use crate::workspace;

/// One of them, filled in. Without a layout, there is no folder to name in it.
pub(super) fn read(name: &str, layout: Option<&Layout>, node: Node) -> anyhow::Result<String> {
    let path = workspace::root().join("tests/cluster/node").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let pki = layout.map(|layout| layout.pki().display().to_string()).unwrap_or_default();
    let values = [
        ("@NODE@", node.name()),
        ("@ADDRESS@", node.address()),
        ("@POD_CIDR@", node.pod_cidr()),
        ("@POD_CIDR_ALL@", POD_CIDR.to_owned()),
        ("@DNS@", DNS_ADDRESS.to_owned()),
        ("@PKI@", pki),
    ];
    Ok(values.iter().fold(text, |text, (name, value)| text.replace(name, value)))
}
