//! Programs of this tree that run where a pod runs: in its network namespace and in its cgroup.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Cluster;
use crate::stage::Running;
use crate::weir::sibling;

/// A pod is found by its UID, which is in the names of its cgroups. Programs end with standard input.
const ENTER: &str = r#"
file=$(grep -ls "pod$1" /proc/[0-9]*/cgroup | head -n 1)
process=${file%/cgroup}
group=$(sed -n 's/^0:://p' "$file")
for root in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -f "$root$group/cgroup.procs" ] && echo $$ > "$root$group/cgroup.procs" && break
done
"#;
const CLIENT: &str = r#"shift; exec nsenter --net="$process/ns/net" -- "$@""#;
/// It knows nothing of standard input, and its pod would wait for it.
const SERVER: &str =
    r#"shift; nsenter --net="$process/ns/net" -- "$@" > /dev/null & read -r end; kill $!; wait"#;

/// A pod that does nothing by itself.
#[derive(Debug)]
pub struct Inside<'a> {
    cluster: &'a Cluster,
    namespace: String,
    name: String,
    node: String,
    uid: String,
}

impl<'a> Inside<'a> {
    /// Makes the pod, with its name as its label `app`, and waits for it.
    pub fn make(cluster: &'a Cluster, namespace: &str, name: &str, node: &str) -> Result<Self> {
        const READY_WITHIN: Duration = Duration::from_secs(60);
        cluster.make_pod((namespace, name), name, node, &["sleep"])?;
        cluster.pods_ready(namespace, &format!("app={name}"), READY_WITHIN)?;
        let made = cluster.get(&["--namespace", namespace, "pod", name])?;
        let uid = made["metadata"]["uid"].as_str().context("the pod has a UID")?.to_owned();
        let [namespace, name, node] = [namespace, name, node].map(str::to_owned);
        Ok(Self { cluster, namespace, name, node, uid })
    }

    /// Runs one of our clients in it.
    pub fn client(&self, program: &str, arguments: &str) -> Result<Running> {
        self.start(CLIENT, program, arguments)
    }

    /// Runs one of our servers in it, until the handle is dropped.
    pub fn server(&self, program: &str, arguments: &str) -> Result<Running> {
        self.start(SERVER, program, arguments)
    }

    fn start(&self, how: &str, program: &str, arguments: &str) -> Result<Running> {
        let path = sibling(program);
        let path = path.to_str().context("the program's path is text")?;
        let script = format!("{ENTER}{how}");
        let mut command: Command =
            self.cluster.on_node_command(&self.node, &["sh", "-c", &script, "enter", &self.uid, path])?;
        command.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Running::of(&mut command)
    }

    /// Removes the pod.
    pub fn end(self) -> Result<()> {
        let words = ["--namespace", &self.namespace, "delete", "pod", &self.name, "--now", "--wait=false"];
        self.cluster.kubectl(&words).map(drop)
    }
}
