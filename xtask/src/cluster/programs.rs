//! The Go programs of a cluster: built once for their sources, kept outside of the checkout.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::oci::{self, Entry, Image};
use crate::{command, go, workspace};

/// What `kubectl version` says. The version in `tests/cluster/kube1/go.mod` is the same.
const KUBERNETES_VERSION: &str = "1.34.4";
/// The language version that the newest of the modules asks for.
const GO_MINOR: u32 = 26;
/// What `kube1` is called as.
const KUBE1_NAMES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// Where the programs stand, and the images that every node has from its start.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Programs {
    /// A folder with one name for each program of Kubernetes.
    pub(super) kubernetes: PathBuf,
    pub(super) images: Vec<PathBuf>,
    /// The CRDs of the Gateway API, experimental kinds too.
    pub(super) gateway_api: PathBuf,
}

impl Programs {
    pub(super) fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }
}

/// One module below `tests/cluster`, and the program that it is.
struct Module {
    name: &'static str,
    /// The folder below `tests/cluster` when it is not called so, and the package in it that is built.
    built_from: Option<(&'static str, &'static str)>,
    /// How long its first build takes, for people.
    takes: &'static str,
    link_flags: fn() -> String,
}

const KUBE1: Module =
    Module { name: "kube1", built_from: None, takes: "about 12 minutes of CPU time", link_flags: stamped };
const COREDNS: Module =
    Module { name: "coredns", built_from: None, takes: "a minute or two", link_flags: stripped };
/// No program: manifests.
const GATEWAY_API: Module =
    Module { name: "gateway-api", built_from: None, takes: "a download", link_flags: String::new };
const POD: Module = Module { name: "pod", built_from: None, takes: "some seconds", link_flags: stripped };

/// The conformance suite of the Gateway API.
const CONFORMANCE: Module =
    Module { name: "conformance", built_from: None, takes: "some minutes", link_flags: stripped };
/// What the suite's backends run, from the same module.
const ECHO: Module = Module {
    name: "echo-basic",
    built_from: Some(("conformance", "sigs.k8s.io/gateway-api/conformance/echo-basic")),
    takes: "a minute",
    link_flags: stripped,
};
/// The tags that the suite's manifests ask for. All are the one program of the suite's own version.
const ECHO_TAGS: [&str; 3] = ["v1.5.1", "v1.6.0-dev.2", "v1.6.0-dev.3"];

/// What its backend of UDP runs: here, the cluster's own CoreDNS.
const DNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.12.2";
/// `UID:GID` of programs that need no rights.
const NOBODY: &str = "65532:65532";

/// The conformance suite, and the images of its backends.
pub(super) fn conformance(install: bool) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
    let (suite, echo) = (CONFORMANCE.build(install)?, ECHO.build(install)?);
    let coredns = COREDNS.build(install)?;
    let dns = coredns.with_file_name("conformance.tar");
    // Root, for it gets port 53 by a capability. The suite waits for it even when no test asks it.
    let mut images = vec![archived(dns, &coredns, "coredns", DNS_IMAGE, None, "0:0")?];
    for tag in ECHO_TAGS {
        let archive = echo.with_file_name(format!("{tag}.tar"));
        let name = format!("registry.k8s.io/gateway-api/echo-basic:{tag}");
        images.push(archived(archive, &echo, "echo-basic", &name, None, NOBODY)?);
    }
    Ok((suite, images))
}

/// True when nothing has to be built for a cluster.
pub(super) fn are_built() -> anyhow::Result<bool> {
    for module in [KUBE1, COREDNS, POD] {
        if !module.folder()?.join(module.name).is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds what is missing. `install` gets Go too.
pub(super) fn build(install: bool) -> anyhow::Result<Programs> {
    let kube1 = KUBE1.build(install)?;
    let kubernetes = kube1.parent().context("a program has a folder")?.to_owned();
    for name in KUBE1_NAMES {
        let link = kubernetes.join(name);
        if !link.exists() {
            symlink("kube1", &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    let (coredns, pod) = (COREDNS.build(install)?, POD.build(install)?);
    let images = vec![
        image(&coredns, "coredns", "coredns")?,
        image(&pod, "pod", "pod")?,
        // It is what it is called as.
        image(&pod, "pod", "pause")?,
    ];
    Ok(Programs { kubernetes, images, gateway_api: gateway_api(install)? })
}

impl Module {
    fn sources(&self) -> PathBuf {
        workspace::root().join("tests/cluster").join(self.built_from.map_or(self.name, |(folder, _)| folder))
    }

    /// Where that stands which is made of these sources.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        let key = format!("{}-{}", self.name, self.key()?);
        Ok(workspace::cache_dir().join("cluster").join(key))
    }

    /// Changes with anything that the program is made of.
    fn key(&self) -> anyhow::Result<String> {
        let dir = self.sources();
        let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let mut hash = Sha256::new();
        hash.update((self.link_flags)());
        for path in paths {
            let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Ok(oci::hex(&hash.finalize()[..8]))
    }

    /// In the folder of the sources.
    fn go(&self, install: bool) -> anyhow::Result<Command> {
        let mut go = Command::new(go::at_least(GO_MINOR, install)?);
        go.current_dir(self.sources()).env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
        Ok(go)
    }

    fn build(&self, install: bool) -> anyhow::Result<PathBuf> {
        let program = self.folder()?.join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        let begun = Instant::now();
        println!("building {}, once for this user: {}", self.name, self.takes);
        let mut build = Command::new(go::at_least(GO_MINOR, install)?);
        build
            .current_dir(self.sources())
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .env("GOTOOLCHAIN", "local");
        build.args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags"]);
        // An interrupted build leaves no program of that name.
        let unfinished = program.with_extension("unfinished");
        build.arg((self.link_flags)()).arg("-o").arg(&unfinished);
        build.arg(self.built_from.map_or(".", |(_, package)| package));
        command::run(&mut build)?;
        std::fs::rename(&unfinished, &program).context("cannot name the program")?;
        println!("built in {:.0} s", begun.elapsed().as_secs_f64());
        Ok(program)
    }
}

/// No symbols: they are half of it.
fn stripped() -> String {
    "-s -w".to_owned()
}

/// Without a version, kubelet and API server take each other for unknown.
fn stamped() -> String {
    let stamp = |package: &str| {
        format!(
            " -X {package}.gitVersion=v{KUBERNETES_VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=34 \
             -X {package}.gitTreeState=clean -X {package}.buildDate=2026-01-01T00:00:00Z"
        )
    };
    let stamps = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].map(stamp);
    stripped() + &stamps.concat()
}

/// The CRDs in one file, from the module that they are published in.
fn gateway_api(install: bool) -> anyhow::Result<PathBuf> {
    let file = GATEWAY_API.folder()?.join("experimental.yaml");
    if file.is_file() {
        return Ok(file);
    }
    let mut go = GATEWAY_API.go(install)?;
    let says = command::output(go.args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"]));
    let says = says.context("cannot download the CRDs of the Gateway API")?;
    let says: serde_json::Value = serde_json::from_str(&says).context("go mod download -json")?;
    let dir = says["Dir"].as_str().context("go mod download says no folder")?;
    let dir = Path::new(dir).join("config/crd/experimental");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // There is a kustomization beside them, which is no CRD.
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gateway")));
    paths.sort();
    let mut all = String::new();
    for path in paths {
        all.push_str("---\n");
        all.push_str(&std::fs::read_to_string(&path)?);
    }
    std::fs::create_dir_all(file.parent().unwrap_or(&file)).context("cannot make a folder for the CRDs")?;
    std::fs::write(&file, all).context("cannot write the CRDs")?;
    Ok(file)
}

/// The archive of `localhost/NAME:test`, beside its program.
fn image(program: &Path, program_name: &str, name: &str) -> anyhow::Result<PathBuf> {
    let archive = program.with_file_name(format!("{name}.tar"));
    let link = (name != program_name).then_some(name);
    archived(archive, program, program_name, &format!("localhost/{name}:test"), link, NOBODY)
}

/// An image of one program, which is started as `link` when that is given.
fn archived(
    archive: PathBuf,
    program: &Path,
    program_name: &str,
    name: &str,
    link: Option<&str>,
    user: &str,
) -> anyhow::Result<PathBuf> {
    if archive.is_file() {
        return Ok(archive);
    }
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let path = format!("/{program_name}");
    let mut files = vec![Entry::File { path: path.clone(), mode: 0o755, bytes }];
    if let Some(link) = link {
        files.push(Entry::Link { path: format!("/{link}"), target: path });
    }
    let image = Image {
        name: name.to_owned(),
        entrypoint: vec![format!("/{}", link.unwrap_or(program_name))],
        user: user.to_owned(),
        files,
        ..Image::default()
    };
    // `with_extension` would take a version's last number for one.
    let mut unfinished = archive.clone().into_os_string();
    unfinished.push(".unfinished");
    std::fs::write(&unfinished, image.archive()?).context("cannot write the image")?;
    std::fs::rename(&unfinished, &archive).context("cannot name the image")?;
    Ok(archive)
}
