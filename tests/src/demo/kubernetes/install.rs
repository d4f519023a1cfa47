//! Scenes: what was there before, Weir's installation, what it captures, and its removal.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{Load, PATIENCE, Play, end};
use crate::cluster::NAMESPACE;
use crate::demo::tell;
use crate::wait::wait_for;

/// A shop, with clients on both nodes, in a cluster that knows nothing of Weir.
pub(super) fn before(play: &Play) -> Result<()> {
    play.scene("A shop in a cluster of two nodes");
    play.cluster.apply_gateway_api()?;
    play.cluster.apply(include_str!("../../../../deploy/demo-kubernetes/shop.yaml"))?;
    for node in &play.nodes {
        play.make_client("shop", node)?;
        play.make_client("apart", node)?;
    }
    for deployment in ["deployment/cart", "deployment/cart-canary"] {
        play.cluster.rolled_out("shop", deployment, PATIENCE)?;
    }
    for namespace in ["shop", "apart"] {
        play.cluster.pods_ready(namespace, "app=client", PATIENCE)?;
    }
    play.wait_routed(false)?;
    tell::seen("clients on both nodes call http://cart.shop/ through kube-proxy");
    Ok(())
}

pub(super) fn install(play: &Play) -> Result<()> {
    play.scene("helm install");
    tell::command("helm install weir deploy/charts/weir --namespace weir-system --create-namespace --wait");
    let begun = Instant::now();
    play.helm.install(&[])?;
    for node in &play.nodes {
        play.cluster.wait(&format!("a report of {node}"), PATIENCE, &["nodereport", node], |report| {
            (report["status"]["ready"] == true).then_some(())
        })?;
    }
    tell::seen(&format!("every node says that it is ready after {:.1} s", begun.elapsed().as_secs_f64()));
    play.wait_routed(false)?;
    tell::seen("nothing is captured yet: the clients' calls still go through kube-proxy");
    Ok(())
}

pub(super) fn captured(play: &mut Play) -> Result<()> {
    play.scene("A namespace is captured; none of its pods is restarted");
    tell::command("kubectl label namespace shop weir.dev/capture=enabled");
    let begun = Instant::now();
    play.cluster.kubectl(&["label", "namespace", "shop", "weir.dev/capture=enabled"])?;
    play.wait_routed(true)?;
    tell::seen(&format!(
        "after {:.1} s the same clients on both nodes, by the same name, are routed by Weir",
        begun.elapsed().as_secs_f64()
    ));
    for node in play.nodes.clone() {
        let own = play.cluster.get(&["--namespace", "shop", "pod", &super::client(&node)])?;
        let own = own["status"]["podIP"].as_str().context("the client has an address")?.to_owned();
        let answer = play.call("shop", &node, &[])?;
        let from = answer.body["from"].as_str().unwrap_or_default().to_owned();
        play.promise(from.starts_with(&format!("{own}:")), &format!("replicas see {own} itself, not {from}"));
        let canary = play.call("shop", &node, &["x-version:canary"])?;
        play.promise(canary.body["version"] == "canary", &format!("on {node} the header chooses the canary"));
        let apart = play.call("apart", &node, &["x-version:canary"])?;
        let untouched = !apart.is_routed()
            && apart.body["version"] == "stable"
            && apart.body["headers"].get("X-Request-Id").is_none();
        play.promise(untouched, &format!("on {node} a namespace that is not enrolled is untouched"));
    }
    tell::seen(
        "a header chooses the canary; replicas see the clients' own addresses; namespace `apart` is untouched",
    );
    Ok(())
}

/// Under load: the clients go on through kube-proxy.
pub(super) fn uninstall(play: &mut Play) -> Result<()> {
    play.scene("helm uninstall, under load");
    tell::command("helm uninstall weir --namespace weir-system");
    let loads = play.loads("shop")?;
    play.helm.uninstall()?;
    let ended = |load: &Load<'_>| load.more(200, PATIENCE);
    loads.iter().map(ended).collect::<Result<Vec<_>>>()?;
    play.wait_routed(false)?;
    let failed = end(loads, "while Weir went")?;
    play.promise(failed == 0, &format!("no call fails while Weir is removed, and {failed} did"));
    let left = left_on_nodes(play)?;
    play.promise(left.is_empty(), &format!("nothing is left on the nodes: {}", left.join(", ")));
    let left = left_in_api(play)?;
    play.promise(left.is_empty(), &format!("no object is left: {left}"));
    tell::seen("the same clients call through kube-proxy; no process, pin, socket or object of Weir is left");
    // The namespace is the user's: helm made it on his word and leaves it.
    tell::command("kubectl delete namespace weir-system");
    play.cluster.kubectl(&["delete", "namespace", NAMESPACE])?;
    play.cluster.kubectl(&["delete", "namespace", "shop", "apart", "--wait=false"])?;
    Ok(())
}

/// Processes, pins and files of state.
fn left_on_nodes(play: &Play) -> Result<Vec<String>> {
    const LOOK: &str = "pgrep -fx '/usr/bin/weir .*'; find /sys/fs/bpf -mindepth 1 -name 'weir*'; \
                        find /run/weir -mindepth 1 2>/dev/null; find /opt/cni/bin -name '*weir*'; \
                        find /etc/cni/net.d -name '*weir-cni*'; grep -rl weir-cni /etc/cni/net.d; true";
    let mut last = Vec::new();
    for node in &play.nodes {
        let gone = wait_for("nothing is left", PATIENCE, || {
            let text = play.cluster.on_node(node, &["sh", "-c", LOOK]).ok()?;
            last = text.lines().map(|line| format!("{node}: {line}")).collect();
            last.is_empty().then_some(())
        });
        if gone.is_err() {
            return Ok(last);
        }
    }
    Ok(Vec::new())
}

fn left_in_api(play: &Play) -> Result<String> {
    const KINDS: &str = "daemonsets,deployments,services,endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,\
                         clusterroles,clusterrolebindings,crds,gatewayclasses,validatingadmissionpolicies,\
                         validatingadmissionpolicybindings";
    let of_chart = "--selector=app.kubernetes.io/part-of=weir";
    let left = play.cluster.kubectl(&["get", KINDS, "--all-namespaces", of_chart, "--output=name"])?;
    // Whatever its labels are: the controllers write it too.
    let leases = play.cluster.kubectl(&[
        "get",
        "leases.coordination.k8s.io",
        "--namespace",
        NAMESPACE,
        "--output=name",
    ])?;
    Ok(left.split_whitespace().chain(leases.split_whitespace()).collect::<Vec<_>>().join(" "))
}
