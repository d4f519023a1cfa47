//! The network of a cluster: a bridge in the control plane's namespace, a namespace for each node, and routes between them.
//!
//! The machine's own namespace gets no address, no route and no rule.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::layout::{CONTROL_PLANE_ADDRESS, Layout, Node, SERVICE_CIDR, netns_path};

/// Makes all of it.
pub(super) fn up(layout: &Layout, nodes: u8) -> anyhow::Result<()> {
    let control_plane = layout.control_plane_netns();
    batch(None, &format!("netns add {control_plane}\n"))?;
    batch(
        Some(&control_plane),
        &format!(
            "link set lo up\nlink add br0 type bridge\naddress add {CONTROL_PLANE_ADDRESS}/24 dev br0\nlink set br0 up\n"
        ),
    )?;
    sysctl(&control_plane, &["net.ipv4.ip_forward=1"])?;
    for node in Node::all(nodes) {
        attach(layout, node)?;
    }
    for node in Node::all(nodes) {
        let others = Node::all(nodes).filter(|other| *other != node);
        let routes: String =
            others.map(|other| format!("route add {} via {}\n", other.pod_cidr(), other.address())).collect();
        batch(Some(&layout.node_netns(node)), &routes)?;
    }
    // The control plane, and tests that stand in its namespace, reach Services through the first node.
    let services = Node::all(nodes).take(1);
    let services = services.map(|first| format!("route add {SERVICE_CIDR} via {}\n", first.address()));
    batch(Some(&control_plane), &services.collect::<String>())
}

fn attach(layout: &Layout, node: Node) -> anyhow::Result<()> {
    let (control_plane, netns) = (layout.control_plane_netns(), layout.node_netns(node));
    let link = node.name();
    batch(None, &format!("netns add {netns}\n"))?;
    batch(Some(&control_plane), &format!("link add {link} type veth peer name eth0 netns {netns}\n"))?;
    let address = node.address();
    batch(
        Some(&netns),
        &format!(
            "link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {CONTROL_PLANE_ADDRESS}\n"
        ),
    )?;
    let pods = node.pod_cidr();
    batch(Some(&control_plane), &format!("link set {link} master br0 up\nroute add {pods} via {address}\n"))?;
    // What comes from a pod may go back another way.
    let filters = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"];
    sysctl(&netns, &["net.ipv4.ip_forward=1", filters[0], filters[1]])
}

/// Removes what is there of it.
pub(super) fn down(layout: &Layout) -> anyhow::Result<()> {
    for name in layout.netns() {
        if netns_path(&name).exists() {
            batch(None, &format!("netns delete {name}\n"))?;
        }
    }
    Ok(())
}

/// Lines for `ip`, in a namespace or in the machine's own.
fn batch(netns: Option<&str>, lines: &str) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
    if let Some(netns) = netns {
        ip.args(["-n", netns]);
    }
    let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot run ip")?;
    child.stdin.take().context("ip has a stdin")?.write_all(lines.as_bytes())?;
    if !child.wait()?.success() {
        bail!("ip refuses one of\n{lines}");
    }
    Ok(())
}

fn sysctl(netns: &str, settings: &[&str]) -> anyhow::Result<()> {
    let mut sysctl = Command::new("nsenter");
    sysctl.arg(format!("--net={}", netns_path(netns).display())).args(["sysctl", "-qw"]).args(settings);
    crate::command::run(&mut sysctl)
}
