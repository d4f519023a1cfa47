//! The certificates and kubeconfigs of a cluster, made by openssl.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::layout::{API_SERVICE_ADDRESS, CONTROL_PLANE_ADDRESS, Layout, Node};
use crate::command;

/// No extension but those that are asked for.
const OPENSSL_CONFIG: &str = "[req]\ndistinguished_name = name\n[name]\n";

/// Makes all of it below the layout's folder; `server` is what the kubeconfigs call.
pub(super) fn make(layout: &Layout, nodes: u8, server: &str) -> anyhow::Result<()> {
    let dir = layout.pki();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::fs::write(dir.join("openssl.cnf"), OPENSSL_CONFIG)?;
    authority(&dir)?;
    token_keys(&dir)?;
    let names = format!(
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,DNS:localhost,\
         IP:127.0.0.1,IP:{CONTROL_PLANE_ADDRESS},IP:{API_SERVICE_ADDRESS}"
    );
    serving(&dir, "apiserver", "/CN=kube-apiserver", &names)?;
    client(&dir, "apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")?;
    let mut users = vec![
        ("admin".to_owned(), "/O=system:masters/CN=admin".to_owned()),
        ("controller-manager".to_owned(), "/CN=system:kube-controller-manager".to_owned()),
        ("scheduler".to_owned(), "/CN=system:kube-scheduler".to_owned()),
        ("proxy".to_owned(), "/CN=system:kube-proxy".to_owned()),
    ];
    for node in Node::all(nodes) {
        let (name, address) = (node.name(), node.address());
        let subject = format!("/O=system:nodes/CN=system:node:{name}");
        serving(&dir, &format!("kubelet-serving-{name}"), &subject, &format!("DNS:{name},IP:{address}"))?;
        users.push((format!("kubelet-{name}"), subject));
    }
    for (user, subject) in users {
        client(&dir, &user, &subject)?;
        let path = layout.kubeconfig(&user);
        std::fs::write(&path, kubeconfig(&dir, &user, server))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn authority(dir: &Path) -> anyhow::Result<()> {
    let extensions = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,digitalSignature"];
    certificate(dir, "ca", "/CN=weir-test-ca", &extensions, false)
}

fn serving(dir: &Path, name: &str, subject: &str, names: &str) -> anyhow::Result<()> {
    let names = format!("subjectAltName={names}");
    certificate(dir, name, subject, &["extendedKeyUsage=serverAuth", &names], true)
}

fn client(dir: &Path, name: &str, subject: &str) -> anyhow::Result<()> {
    certificate(dir, name, subject, &["extendedKeyUsage=clientAuth"], true)
}

fn certificate(
    dir: &Path,
    name: &str,
    subject: &str,
    extensions: &[&str],
    signed: bool,
) -> anyhow::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(dir).args(["req", "-x509", "-config", "openssl.cnf", "-days", "365", "-nodes"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", subject]);
    openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    if signed {
        openssl.args(["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"]);
    }
    for extension in extensions {
        openssl.args(["-addext", extension]);
    }
    quietly(&mut openssl)
}

/// What service account tokens are signed and checked with.
fn token_keys(dir: &Path) -> anyhow::Result<()> {
    let words = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "sa.key"];
    quietly(Command::new("openssl").current_dir(dir).args(words))?;
    let words = ["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"];
    quietly(Command::new("openssl").current_dir(dir).args(words))
}

/// openssl prints dots while it works.
fn quietly(openssl: &mut Command) -> anyhow::Result<()> {
    let output = openssl.stdin(Stdio::null()).output().context("cannot run openssl")?;
    if !output.status.success() {
        bail!("`{}` failed: {}", command::line(openssl), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// JSON is YAML too.
fn kubeconfig(dir: &Path, user: &str, server: &str) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "weir-test", "cluster": { "server": server, "certificate-authority": file("ca.crt") } }],
        "users": [{ "name": user, "user": {
            "client-certificate": file(&format!("{user}.crt")), "client-key": file(&format!("{user}.key")) } }],
        "contexts": [{ "name": "weir-test", "context": { "cluster": "weir-test", "user": user } }],
        "current-context": "weir-test",
    });
    format!("{config:#}\n")
}
