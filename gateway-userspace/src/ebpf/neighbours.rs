//! Programs of others at the hooks that Weir uses.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use gateway_common::names::CGROUP_PROGRAMS;

use super::sys::{self, AttachType};

/// The kernel keeps so many bytes of a program's name.
const NAME_BYTES_MAX: usize = 15;

const HOOKS: [(AttachType, &str); 5] = [
    (AttachType::Connect4, "connect4"),
    (AttachType::Connect6, "connect6"),
    (AttachType::GetPeerName4, "getpeername4"),
    (AttachType::GetPeerName6, "getpeername6"),
    (AttachType::SockOps, "sock_ops"),
];

/// How programs begin whose owner is known.
const OWNERS: [(&str, &str); 6] = [
    ("cil_", "Cilium"),
    ("sock4_", "Cilium"),
    ("sock6_", "Cilium"),
    ("cali", "Calico"),
    ("cgroup_connect", "Kmesh"),
    ("sockops_", "Kmesh"),
];

/// A program of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Where it is attached, such as `connect4`.
    pub hook: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it; empty where it may not be asked.
    pub name: String,
}

impl Neighbour {
    /// Whose it is, by its name.
    pub fn owner(&self) -> Option<&'static str> {
        let known = OWNERS.iter().find(|(prefix, _)| self.name.starts_with(prefix));
        known.map(|(_, owner)| *owner)
    }

    fn is_weirs(&self) -> bool {
        CGROUP_PROGRAMS.iter().any(|own| own[..own.len().min(NAME_BYTES_MAX)] == self.name)
    }
}

/// The programs that run for processes of a cgroup, those of the cgroups above it included.
///
/// # Errors
/// When the directory cannot be opened, or the kernel tells nothing for want of CAP_NET_ADMIN.
pub fn of(cgroup: &Path) -> io::Result<Vec<Neighbour>> {
    let directory = File::open(cgroup)?;
    let names: HashMap<u32, String> = aya::programs::loaded_programs()
        .flatten()
        .map(|program| (program.id(), program.name_as_str().unwrap_or_default().to_owned()))
        .collect();
    let mut found = Vec::new();
    for (attach_type, hook) in HOOKS {
        for id in sys::cgroup_programs(directory.as_fd(), attach_type)? {
            found.push(Neighbour { hook, id, name: names.get(&id).cloned().unwrap_or_default() });
        }
    }
    found.retain(|neighbour| !neighbour.is_weirs());
    Ok(found)
}

/// Who has the hook of the program `own` at a cgroup, and what to do about it; empty where nobody is seen there.
pub(super) fn that_hold(cgroup: &Path, own: &str) -> String {
    let all = of(cgroup).unwrap_or_default();
    let there = all.iter().filter(|neighbour| own.ends_with(neighbour.hook)).map(|neighbour| {
        let owner = neighbour.owner().map(|owner| format!(" of {owner}")).unwrap_or_default();
        format!("`{}`{owner}, id {}", neighbour.name, neighbour.id)
    });
    let there: Vec<String> = there.collect();
    if there.is_empty() {
        return String::new();
    }
    format!(
        "; another program is there and shares the hook with nobody: {}; have it attached with BPF_F_ALLOW_MULTI, or \
         take it away",
        there.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::Neighbour;

    #[test]
    fn owners_are_known_by_the_names_of_their_programs() {
        let named = |name: &str| Neighbour { hook: "connect4", id: 1, name: name.to_owned() };
        assert_eq!(named("cil_sock4_conne").owner(), Some("Cilium"));
        assert_eq!(named("calico_connect_").owner(), Some("Calico"));
        assert_eq!(named("something").owner(), None);
        assert!(named("weir_connect4").is_weirs());
        assert!(named("weir_getpeernam").is_weirs(), "the kernel cuts names");
        assert!(!named("").is_weirs());
    }
}
