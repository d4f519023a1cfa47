//! What Weir uses when nobody asks it for anything.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use anyhow::Result;
use gateway_userspace::ebpf::Datapath;

use crate::stage::Stage;
use crate::wait::wait_for;

/// Longest wait until clients that have gone are noticed and what was kept for them is closed: idle connections to
/// replicas are kept for a minute.
const REST_WITHIN: Duration = Duration::from_secs(90);

/// Memory may be so much more than at the start, KiB: what the allocator keeps differs between two processes.
const MEMORY_SLACK_KIB: u64 = 16 * 1024;

/// Amounts by what they are of.
#[derive(Debug)]
pub(super) struct Usage(BTreeMap<String, u64>);

const MEMORY: &str = "memory, KiB";

impl Usage {
    /// Waits until no connection is left, and looks.
    pub(super) fn at_rest(stage: &mut Stage) -> Result<Self> {
        wait_for("no connection is left", REST_WITHIN, || {
            let weir = stage.weir().ok()?;
            let open = |name| weir.metric(name, "").ok();
            let all = open("weir_downstream_connections")? + open("weir_upstream_connections")?;
            (all == 0.0).then_some(())
        })?;
        // Those of pods that were let go are kept for a second; what stays is a leak and shows as one.
        let _ = wait_for("flows are forgotten", REST_WITHIN, || {
            let maps = Datapath::entries(stage.pins()).ok()?;
            maps.iter().all(|(map, count)| *map != "WEIR_FLOWS" || *count == 0).then_some(())
        });
        let weir = stage.weir()?;
        let process = format!("/proc/{}", weir.id());
        let mut all = BTreeMap::from([
            ("descriptors".to_owned(), entries(&format!("{process}/fd"))?),
            ("threads".to_owned(), entries(&format!("{process}/task"))?),
            (MEMORY.to_owned(), weir.resident_own_kib()?),
        ]);
        for (map, count) in Datapath::entries(stage.pins())? {
            all.insert(format!("map {map}"), u64::try_from(count)?);
        }
        Ok(Self(all))
    }

    /// What there is more of than before.
    pub(super) fn leaks(&self, before: &Self) -> Vec<String> {
        let is_more = |(what, now): (&String, &u64)| {
            let then = before.0.get(what).copied().unwrap_or(0);
            let slack = match what.as_str() {
                MEMORY => then / 4 + MEMORY_SLACK_KIB,
                // The admin socket answers while we look.
                "descriptors" => 2,
                _ => 0,
            };
            (*now > then + slack).then(|| format!("{what}: {then} before, {now} now"))
        };
        self.0.iter().filter_map(is_more).collect()
    }

    /// A table of both.
    pub(super) fn beside(&self, before: &Self) -> String {
        let mut table = format!("{:<28}{:>12}{:>12}\n", "", "before", "after");
        for (what, now) in &self.0 {
            let then = before.0.get(what).copied().unwrap_or(0);
            // Writing to a string does not fail.
            let _ = writeln!(table, "{what:<28}{then:>12}{now:>12}");
        }
        table
    }
}

fn entries(folder: &str) -> Result<u64> {
    Ok(u64::try_from(fs::read_dir(folder)?.count())?)
}
