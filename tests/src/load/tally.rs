//! What became of the requests of a load.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::client::{Answer, Failure};

/// Sums over a load. A request is `ok` when its whole answer came with a status below 500.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests begun.
    pub sent: u64,
    /// Answered in whole, below 500.
    pub ok: u64,
    /// The rest.
    pub failed: u64,
    /// Requests that were sent again because a GOAWAY said that they had not been looked at.
    #[serde(default)]
    pub repeated: u64,
    /// Failures by kind: `connect_refused`, `reset`, `status_503`, `timeout`, …
    pub errors: BTreeMap<String, u64>,
    /// Failures that Weir has answered itself, by its reason: `upstream_reset`, …
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Answers by the replica that gave them.
    pub replicas: BTreeMap<String, u64>,
    /// When each replica first answered, Unix milliseconds.
    pub first_seen: BTreeMap<String, u64>,
    /// When each replica last answered, Unix milliseconds.
    pub last_seen: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: Result<Answer, Failure>) {
        self.sent += 1;
        match outcome {
            Ok(answer) => self.add_answer(answer),
            Err(kind) => {
                self.failed += 1;
                *self.errors.entry(kind.into_owned()).or_default() += 1;
            }
        }
    }

    fn add_answer(&mut self, answer: Answer) {
        *self.status.entry(answer.status).or_default() += 1;
        self.repeated += answer.repeats;
        if answer.status >= 500 {
            self.failed += 1;
            *self.errors.entry(format!("status_{}", answer.status)).or_default() += 1;
            if let Some(reason) = answer.reason {
                *self.reasons.entry(reason).or_default() += 1;
            }
        } else {
            self.ok += 1;
        }
        if let Some(replica) = answer.replica {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            *self.replicas.entry(replica.clone()).or_default() += 1;
            self.first_seen.entry(replica.clone()).or_insert(now);
            self.last_seen.insert(replica, now);
        }
    }
}

/// Sums over bare connects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connects {
    /// Tried.
    pub connects: u64,
    /// ECONNREFUSED.
    pub refused: u64,
    /// Failed otherwise.
    pub failed: u64,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
}

impl Connects {
    pub(super) fn add(&mut self, outcome: io::Result<TcpStream>) {
        self.connects += 1;
        let Err(error) = outcome else { return };
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.refused += 1;
        } else {
            self.failed += 1;
        }
        *self.errors.entry(error.kind().to_string()).or_default() += 1;
    }
}
