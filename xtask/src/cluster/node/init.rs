//! Process 1 of a node: its mounts, then containerd, kubelet and kube-proxy, then whatever dies.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::waitpid;

use super::super::host;
use super::super::layout::{Layout, Node};
use super::super::process::wait_for;
use super::super::programs::Programs;
use super::super::{cgroups, process};
use super::{KEPT, settings};

/// Settings of the whole machine that kubelet would write, and the values that it wants to see. It sees them, and the
/// machine keeps its own.
const SHOWN: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Where the node's containerd finds its CNI plugins.
const CNI_BIN: &str = "/opt/cni/bin";

/// Runs until it is killed.
pub(in super::super) fn run(layout: &Layout, node: Node, programs: &Programs) -> anyhow::Result<()> {
    std::fs::write("/proc/sys/kernel/hostname", node.name()).context("cannot set the host's name")?;
    make_mounts(layout, node)?;
    for (name, place) in [
        ("cni.conflist", "/etc/cni/net.d/10-weir-test.conflist"),
        ("containerd.toml", "/run/node/containerd.toml"),
        ("kubelet.yaml", "/run/node/kubelet.yaml"),
        ("kube-proxy.yaml", "/run/node/kube-proxy.yaml"),
    ] {
        write(place, &settings::read(name, Some(layout), node)?)?;
    }
    start(layout, node, Path::new("containerd"), &["--config", "/run/node/containerd.toml"])?;
    wait_for("containerd answers", Duration::from_secs(60), || {
        Ok(Command::new("ctr").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
    })?;
    for image in &programs.images {
        import(image)?;
    }
    // A kubelet that comes too early waits for long before it tries again.
    wait_for("the API server is ready", Duration::from_secs(120), || Ok(layout.ready().exists()))?;
    let kubeconfig = layout.kubeconfig(&format!("kubelet-{}", node.name()));
    let kubelet = [
        "--config=/run/node/kubelet.yaml".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", node.address()),
        "--root-dir=/var/lib/kubelet".to_owned(),
    ];
    start(layout, node, &programs.kubernetes("kubelet"), &kubelet)?;
    start(layout, node, &programs.kubernetes("kube-proxy"), &["--config=/run/node/kube-proxy.yaml"])?;
    println!("everything is started");
    loop {
        // Orphans of the whole node come here. While the node's programs run there is always a child to wait for.
        waitpid(None, None).context("nothing runs on this node any more")?;
    }
}

fn make_mounts(layout: &Layout, node: Node) -> anyhow::Result<()> {
    // Nothing of it comes back to the machine; pods may share what is mounted on the node.
    place(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    place(None, "/", None, MsFlags::MS_REC | MsFlags::MS_SHARED, None)?;
    // Before /sys hides them.
    let hierarchies = cgroups::hierarchies()?;
    file_system("proc", "/proc", None)?;
    file_system("sysfs", "/sys", None)?;
    file_system("tmpfs", "/sys/fs/cgroup", Some("mode=755"))?;
    for hierarchy in hierarchies {
        std::fs::create_dir(&hierarchy.mount)
            .with_context(|| format!("cannot make {}", hierarchy.mount.display()))?;
        let kind = if hierarchy.options.is_empty() { "cgroup2" } else { "cgroup" };
        let options = match hierarchy.options.as_str() {
            "" => None,
            name if name.starts_with("name=") => Some(format!("none,{name}")),
            controllers => Some(controllers.to_owned()),
        };
        file_system(kind, &hierarchy.mount.to_string_lossy(), options.as_deref())?;
    }
    file_system("bpf", "/sys/fs/bpf", Some("mode=700"))?;
    file_system("tmpfs", "/run", Some("mode=755"))?;
    for dir in ["/run/lock", "/run/netns", "/run/node", "/etc/cni/net.d", CNI_BIN] {
        make_dir(dir)?;
    }
    file_system("tmpfs", "/etc/cni/net.d", None)?;
    link_plugins()?;
    for (kept, at) in KEPT {
        make_dir(at)?;
        bind(&layout.node(node).join(kept), at)?;
    }
    for (number, (setting, value)) in SHOWN.into_iter().enumerate() {
        let shown = format!("/run/node/shown-{number}");
        write(&shown, &format!("{value}\n"))?;
        bind(Path::new(&shown), setting)?;
    }
    write("/run/node/hosts", &format!("127.0.0.1 localhost\n{} {}\n", node.address(), node.name()))?;
    bind(Path::new("/run/node/hosts"), "/etc/hosts")?;
    // What the machine resolves by is none of a node's business; only kubelet reads it, for pods without cluster DNS.
    write("/run/resolv.conf", "nameserver 127.0.0.1\n")
}

/// The machine's CNI plugins in a folder of the node's own, as it has one for what is added to them.
fn link_plugins() -> anyhow::Result<()> {
    const MACHINES: &str = "/run/node/plugins";
    let there = Path::new(host::cni_dir().context("the machine has no CNI plugins")?);
    make_dir(MACHINES)?;
    bind(there, MACHINES)?;
    file_system("tmpfs", CNI_BIN, Some("mode=755"))?;
    for plugin in std::fs::read_dir(MACHINES).with_context(|| format!("cannot list {MACHINES}"))? {
        let plugin = plugin?;
        let link = Path::new(CNI_BIN).join(plugin.file_name());
        symlink(plugin.path(), &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(())
}

fn place(
    source: Option<&Path>,
    at: &str,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> anyhow::Result<()> {
    mount(source, at, kind, flags, options).with_context(|| format!("cannot mount on {at}"))
}

fn file_system(kind: &str, at: &str, options: Option<&str>) -> anyhow::Result<()> {
    place(Some(Path::new(kind)), at, Some(kind), MsFlags::empty(), options)
}

fn bind(what: &Path, at: &str) -> anyhow::Result<()> {
    place(Some(what), at, None, MsFlags::MS_BIND, None)
}

fn make_dir(dir: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {dir}"))
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {path}"))
}

fn start<A: AsRef<std::ffi::OsStr>>(
    layout: &Layout,
    node: Node,
    program: &Path,
    arguments: &[A],
) -> anyhow::Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let log = File::create(layout.log(&format!("{}-{name}", node.name())))?;
    let mut command = process::inside(None, program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(())
}

fn import(image: &Path) -> anyhow::Result<()> {
    let mut ctr = Command::new("ctr");
    if !ctr.args(["--namespace", "k8s.io", "images", "import"]).arg(image).status()?.success() {
        bail!("cannot import {}", image.display());
    }
    Ok(())
}
