//! The processes of a node, as its `/proc` shows them: which pod each belongs to, and its network namespace.
//!
//! Weir's own container has the node's `/proc` as a mount and needs no share in the node's process ids. The
//! files `cgroup.procs` would name the processes of a pod, but show a process of another pid namespace as 0.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::pod_cgroup::pod_of;
use crate::capture::Hidden;
use crate::capture::netns::{Netns, NetnsError, NetnsId};

/// Field of `/proc/PID/stat` that says when the process began, counted behind the command's name.
const START_TIME_FIELD: usize = 19;

/// A process of a pod and the namespace it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `/proc/PID/ns/net`, as seen by this process.
    pub path: PathBuf,
    /// The namespace, open.
    pub netns: Netns,
}

/// What became of a look for pods, by UID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Those whose namespace is there.
    pub found: BTreeMap<String, Found>,
    /// Those that run, and whose namespace is not to be had.
    pub hidden: BTreeMap<String, Hidden>,
}

/// The `/proc` of the node.
#[derive(Debug, Clone)]
pub struct Processes {
    root: PathBuf,
    /// Namespaces that are no pod's: the node's and Weir's own.
    never: Vec<NetnsId>,
}

impl Processes {
    /// Those that `root`, a mount of `/proc`, shows.
    pub fn new(root: &Path) -> Self {
        let of = |path: PathBuf| Netns::id_at(&path);
        let host = of(root.join("1/ns/net"));
        let own = of(PathBuf::from("/proc/self/ns/net"));
        Self { root: root.to_path_buf(), never: host.into_iter().chain(own).collect() }
    }

    /// The network namespace of each pod of `wanted`, as far as a process of it is seen.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn find(&self, wanted: &BTreeSet<String>) -> io::Result<Look> {
        let mut by_pod: BTreeMap<String, Vec<(u64, PathBuf)>> = BTreeMap::new();
        let mut text = String::new();
        for entry in std::fs::read_dir(&self.root)? {
            let Ok(entry) = entry else { continue };
            if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let directory = entry.path();
            // A process may end at any moment.
            if read(&directory.join("cgroup"), &mut text).is_err() {
                continue;
            }
            if let Some(pod) = pod_of(&text).filter(|pod| wanted.contains(pod)) {
                let began = began(&directory).unwrap_or(u64::MAX);
                by_pod.entry(pod).or_default().push((began, directory));
            }
        }
        let mut look = Look::default();
        for (pod, mut processes) in by_pod {
            // The oldest one is the sandbox's; a later one may have gone into a namespace of its own.
            processes.sort_unstable();
            let mut why = None;
            let found = processes.iter().find_map(|(_, directory)| {
                self.netns_of(directory, &pod).map_err(|hidden| why = why.or(hidden)).ok()
            });
            match (found, why) {
                (Some(found), _) => drop(look.found.insert(pod, found)),
                (None, Some(why)) => drop(look.hidden.insert(pod, why)),
                (None, None) => {}
            }
        }
        Ok(look)
    }

    /// The namespace of the process at `directory`, if it is a process of `pod` and in a namespace that can
    /// be a pod's. A runtime's process that starts a container is in the node's at first.
    fn netns_of(&self, directory: &Path, pod: &str) -> Result<Found, Option<Hidden>> {
        // An open directory stays that of the same process, whatever becomes of the number.
        let process = File::open(directory).map_err(|_| None)?;
        let held = PathBuf::from(format!("/proc/self/fd/{}", process.as_raw_fd()));
        let netns = Netns::open(&held.join("ns/net")).map_err(|error| match error {
            NetnsError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(Hidden::NotPermitted)
            }
            _ => None,
        })?;
        let mut text = String::new();
        read(&held.join("cgroup"), &mut text).map_err(|_| None)?;
        if pod_of(&text).as_deref() != Some(pod) {
            return Err(None);
        }
        if self.never.contains(&netns.id()) {
            return Err(Some(Hidden::NoNamespace));
        }
        Ok(Found { path: directory.join("ns/net"), netns })
    }
}

fn read(path: &Path, text: &mut String) -> io::Result<()> {
    text.clear();
    File::open(path)?.read_to_string(text).map(drop)
}

/// When a process began, in clock ticks since the machine did.
fn began(directory: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The command's name may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(START_TIME_FIELD)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_when_it_began() {
        let own = began(Path::new("/proc/self")).unwrap();
        assert!(began(Path::new("/proc/1")).is_none_or(|first| first <= own));
    }

    #[test]
    fn nothing_is_found_of_a_pod_that_has_no_process() {
        let wanted = BTreeSet::from(["0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".to_owned()]);
        assert_eq!(Processes::new(Path::new("/proc")).find(&wanted).unwrap(), Look::default());
        assert!(Processes::new(Path::new("/no/such/proc")).find(&wanted).is_err());
    }
}
