//! Which CPUs a scenario gives to the proxy and to everything else, and whether they are free.

use std::fs;
use std::time::Duration;

use anyhow::Result;

/// How a scenario shares the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everything on one CPU: no idle CPU is ever woken, which makes it the most repeatable.
    OneCpu,
    /// The proxy has so many CPUs for itself where there are enough; the last one at least is left for the others.
    Apart(usize),
}

/// Who runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) proxy: Vec<usize>,
    pub(super) others: Vec<usize>,
}

impl Sharing {
    /// Shares these CPUs.
    pub(super) fn place(self, cpus: &[usize]) -> Placement {
        match self {
            Self::OneCpu => {
                let one = vec![cpus[cpus.len() - 1]];
                Placement { proxy: one.clone(), others: one }
            }
            Self::Apart(wanted) => {
                let proxy = cpus[cpus.len().saturating_sub(wanted)..].to_vec();
                let others: Vec<usize> = cpus[..cpus.len() - proxy.len()].to_vec();
                // Not enough of them: then they share.
                let others = if others.is_empty() { cpus.to_vec() } else { others };
                Placement { proxy, others }
            }
        }
    }

    /// Worker threads of the proxy.
    pub(super) fn workers(self) -> usize {
        match self {
            Self::OneCpu => 1,
            Self::Apart(workers) => workers,
        }
    }
}

/// How busy these CPUs are with something else, as a share of `time`.
pub(super) fn busy(cpus: &[usize], time: Duration) -> Result<f64> {
    let before = ticks(cpus)?;
    std::thread::sleep(time);
    let after = ticks(cpus)?;
    let (idle, total) = (after.0 - before.0, after.1 - before.1);
    Ok(1.0 - idle as f64 / total.max(1) as f64)
}

/// Idle and all ticks of these CPUs.
fn ticks(cpus: &[usize]) -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat")?;
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let number = words.next().and_then(|word| word.strip_prefix("cpu")?.parse::<usize>().ok());
        if number.is_some_and(|number| cpus.contains(&number)) {
            let ticks: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
            sums.0 += ticks.get(3).unwrap_or(&0) + ticks.get(4).unwrap_or(&0);
            // Guests' time is in the user's already.
            sums.1 += ticks.iter().take(8).sum::<u64>();
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::{Placement, Sharing};

    #[test]
    fn the_proxy_is_alone_where_there_are_enough_cpus() {
        let place = |sharing: Sharing, cpus: &[usize]| {
            let Placement { proxy, others } = sharing.place(cpus);
            (proxy, others)
        };
        assert_eq!(place(Sharing::OneCpu, &[0, 1]), (vec![1], vec![1]));
        assert_eq!(place(Sharing::Apart(1), &[0, 1]), (vec![1], vec![0]));
        assert_eq!(place(Sharing::Apart(2), &[0, 1]), (vec![0, 1], vec![0, 1]));
        assert_eq!(place(Sharing::Apart(2), &[0, 1, 4, 5]), (vec![4, 5], vec![0, 1]));
        assert_eq!(place(Sharing::Apart(1), &[3]), (vec![3], vec![3]));
    }
}
