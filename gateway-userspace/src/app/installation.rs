//! Which installation of Weir has a node: one that serves it is never replaced by a process of another.

use std::fs;

use anyhow::bail;

use crate::bootstrap::NodeSettings;

/// In the folder of state: namespace and DaemonSet of whoever serves the node, or did.
const FILE: &str = "installation";

/// Takes the node for the installation of `node`. `running` is the process that serves it now, if one does.
///
/// # Errors
/// When that one is of another installation: each would take the node from the other again and again.
pub(super) fn claim(node: &NodeSettings, running: Option<i32>) -> anyhow::Result<()> {
    let own = format!("{}/{}", node.selection.own_namespace, node.daemon_set);
    let path = node.state_dir.join(FILE);
    let before = fs::read_to_string(&path).unwrap_or_default();
    if before == own {
        return Ok(());
    }
    if let (Some(pid), false) = (running, before.is_empty()) {
        bail!(
            "another Weir serves this node: process {pid}, of the DaemonSet {before}, and this one is of {own}; \
             uninstall one of them (helm list --all-namespaces), or keep their nodes apart with node.nodeSelector"
        );
    }
    if let Err(error) = fs::create_dir_all(&node.state_dir).and_then(|()| fs::write(&path, own)) {
        tracing::warn!(path = %path.display(), %error, "another installation of Weir would not be told from this one");
    }
    Ok(())
}
