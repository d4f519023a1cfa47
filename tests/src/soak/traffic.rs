//! Every kind of traffic at once, from one pod, and what became of it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use super::chaos;
use crate::load::Tally;
use crate::stage::{Running, Stage};
use crate::streams::Kept;

/// Requests that must not be sent twice.
const POSTS: &str = "HTTP/1 POST";
/// Connections of those: one request each can be on its way.
const POST_CONNECTIONS: u32 = 2;

/// What becomes of a request that an endpoint had taken when it died.
const TAKEN: &str = "upstream_reset";

/// Requests of one kind: name and arguments of weir-load, after the URL.
const LOADS: [(&str, &str); 4] = [
    ("HTTP/1", "--connections 4 --rate 400"),
    ("HTTP/1, a connection each", "--connections 2 --rate 50 --no-keepalive"),
    ("HTTP/2", "--connections 2 --rate 400 --http2"),
    (POSTS, "--connections 2 --rate 100 --method POST"),
];

/// Clients that run.
pub(super) struct Traffic {
    loads: Vec<(&'static str, Running)>,
    streams: Running,
}

/// What became of it.
pub(super) struct Ended {
    loads: Vec<(&'static str, Tally)>,
    kept: Kept,
}

impl Traffic {
    pub(super) fn start(stage: &Stage) -> Result<Self> {
        let mut loads = Vec::new();
        for (name, arguments) in LOADS {
            let all = format!("--url {} {arguments} --until-stdin-closes", chaos::WEB);
            loads.push((name, stage.start("weir-load", &all)?));
        }
        let streams = format!(
            "--address {} --tcp {} --websockets 40 --grpc 40 --polls 20 --relays 20 --resets 4 --slow 4",
            chaos::CALM_ADDRESS,
            chaos::RAW_ADDRESS
        );
        Ok(Self { loads, streams: stage.start("weir-streams", &streams)? })
    }

    pub(super) fn finish(self) -> Result<Ended> {
        let loads = self.loads.into_iter().map(|(name, running)| Ok((name, running.finish()?)));
        Ok(Ended { loads: loads.collect::<Result<_>>()?, kept: self.streams.finish()? })
    }
}

#[derive(Debug, Default)]
struct Sum {
    done: u64,
    lost: u64,
    /// Of these, requests that a replica had taken, by the word of its kernel, when it was killed: whether it
    /// acted on them nobody knows, so no proxy may send them again (RFC 9110 9.2.2).
    taken: u64,
    why: BTreeMap<String, u64>,
}

/// Sums by kind.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<String, Sum>);

impl Sums {
    pub(super) fn add(&mut self, ended: Ended) {
        for (name, tally) in ended.loads {
            let sum = self.0.entry(name.to_owned()).or_default();
            sum.done += tally.ok;
            sum.lost += tally.failed;
            if name == POSTS {
                sum.taken += tally.reasons.get(TAKEN).copied().unwrap_or(0);
            }
            for (reason, count) in tally.reasons {
                *sum.why.entry(format!("weir: {reason}")).or_default() += count;
            }
            for (why, count) in tally.errors {
                *sum.why.entry(why).or_default() += count;
            }
        }
        for (kind, opened) in ended.kept.opened {
            self.0.entry(format!("{kind} streams")).or_default().done += opened;
        }
        for (why, count) in ended.kept.broken {
            let kind = why.split(':').next().unwrap_or_default();
            let sum = self.0.entry(format!("{kind} streams")).or_default();
            sum.lost += count;
            *sum.why.entry(why).or_default() += count;
        }
    }

    /// All that a perfect proxy would not have lost, where this many replicas were killed without a word.
    pub(super) fn lost(&self, killed: u32) -> u64 {
        let lost: u64 = self.0.values().map(|sum| sum.lost).sum();
        lost - self.taken().min(u64::from(killed * POST_CONNECTIONS))
    }

    /// All that a replica took to its grave.
    pub(super) fn taken(&self) -> u64 {
        self.0.values().map(|sum| sum.taken).sum()
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}{:>12}{:>8}", "", "served", "lost")?;
        for (kind, sum) in &self.0 {
            writeln!(f, "{kind:<28}{:>12}{:>8}", sum.done, sum.lost)?;
            for (why, count) in &sum.why {
                writeln!(f, "    {count} x {why}")?;
            }
        }
        Ok(())
    }
}
