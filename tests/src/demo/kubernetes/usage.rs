//! What Weir's process on a node holds: descriptors, threads, namespaces, entries of kernel maps, memory.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

use super::Play;
use crate::weir::sibling;

/// Lines of a name and a count. A namespace counts once: each thread that has been in one knows the way home.
const LOOK: &str = r#"
p=$(pgrep -of '^/usr/bin/weir node') || exit 1
echo descriptors $(ls /proc/$p/fd | wc -l)
echo namespaces $(ls -l /proc/$p/fd | grep -o 'net:\[[0-9]*\]' | sort -u | wc -l)
echo sockets $(ls -l /proc/$p/fd | grep -c 'socket:\[')
echo threads $(ls /proc/$p/task | wc -l)
echo pins $(find /sys/fs/bpf -mindepth 1 | wc -l)
echo memory $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' /proc/$p/status)
exec "$1" --kernel-entries
"#;
const MEMORY: &str = "memory";

/// Counts by name; memory apart, which nobody gives back to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    counts: BTreeMap<String, u64>,
    /// Resident, KiB.
    pub(super) memory: u64,
}

impl Usage {
    /// Of a node, now.
    pub(super) fn of(play: &Play, node: &str) -> Result<Self> {
        let program = sibling("weir-demo");
        let program = program.to_str().context("the program's path is text")?;
        let text = play.cluster.on_node(node, &["sh", "-c", LOOK, "look", program])?;
        let line = |line: &str| -> Option<(String, u64)> {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let mut counts: BTreeMap<_, _> = text.lines().filter_map(line).collect();
        let memory = counts.remove(MEMORY).context("a process has memory")?;
        Ok(Self { counts, memory })
    }

    /// One of the counts.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// All of them, but for the memory.
    pub(super) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// What there is more of than before.
    pub(super) fn more_than(&self, before: &Self) -> BTreeMap<String, u64> {
        let more = |(name, count): (&String, &u64)| {
            let more = count.saturating_sub(before.count(name));
            (more > 0).then(|| (name.clone(), more))
        };
        self.counts.iter().filter_map(more).collect()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            write!(f, "{count} {name}, ")?;
        }
        write!(f, "{} MiB resident", self.memory.div_ceil(1024))
    }
}
