//! What a machine offers to Weir: gathered here, judged in `verdicts`.

pub mod verdicts;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use crate::capture::cgroup::{pods_directory, pods_directory_below};
use crate::ebpf::neighbours::{self, Neighbour};
use crate::ebpf::preflight::Facts;

/// What was found on this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the kernel programs need.
    pub datapath: Facts,
    /// Why the directory of the pods' cgroups was not found.
    pub no_pods: Option<String>,
    /// Whether processes of other pid namespaces can be seen, and where that was looked for.
    pub processes: Processes,
    /// Programs of others at the hooks that Weir uses; why they cannot be listed, if so.
    pub neighbours: Result<Vec<Neighbour>, String>,
    /// Descriptors that this process may have.
    pub descriptors: u64,
    /// `net.core.somaxconn` of this network namespace.
    pub backlog: Option<u64>,
    /// `net.core.bpf_jit_enable`, where it can be read.
    pub jit: Option<u64>,
}

/// Whether the processes of pods are to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// The node's `/proc`.
    pub proc: PathBuf,
    /// Whether it is a proc file system.
    pub is_there: bool,
    /// Whether it shows this process as another one than `/proc` does: it is not this container's own.
    pub is_of_the_node: bool,
}

impl Machine {
    /// Looks around. What cannot be found out is found missing.
    pub fn look(cgroup: Option<&Path>, pin_root: &Path, proc: &Path) -> Self {
        let found = match cgroup {
            Some(given) => pods_directory(Some(given)),
            None => pods_directory_below(Path::new("/sys/fs/cgroup")).or_else(|_| pods_directory(None)),
        };
        let (directory, no_pods) = match found {
            Ok(directory) => (directory, None),
            Err(error) => {
                (cgroup.map_or_else(|| "/sys/fs/cgroup".into(), Path::to_path_buf), Some(error.to_string()))
            }
        };
        Self {
            datapath: Facts::gather(&directory, pin_root),
            no_pods,
            processes: processes(proc),
            neighbours: neighbours::of(&directory).map_err(|error| error.to_string()),
            descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
            backlog: number("/proc/sys/net/core/somaxconn"),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn processes(proc: &Path) -> Processes {
    let namespace = |proc: &Path| fs::read_link(proc.join("1/ns/pid")).ok();
    // Where the first process is in our own pid namespace and that is not the machine's, pods are not to be seen.
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let first = namespace(proc);
    let is_initial = own.as_deref() == Some(Path::new("pid:[4026531836]"));
    Processes {
        is_there: proc.join("self").symlink_metadata().is_ok() && proc.join("stat").is_file(),
        is_of_the_node: is_initial || first.is_none() || first != own,
        proc: proc.to_path_buf(),
    }
}
