//! Pure: who of several replicas leads: one record, which only a replica that has seen it rest for long enough takes from its holder.
//!
//! Times are moments of this process's own clock. The times in the record are for humans: a clock
//! that is an hour off changes nothing. What counts is when this replica saw the record change.

use std::time::{Duration, Instant};

/// How long each step of an election may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a record must rest before another replica takes it.
    pub lease: Duration,
    /// How long after the last renewal a leader goes on. Less than `lease`.
    pub renew_deadline: Duration,
    /// Between two looks at the record, or two renewals.
    pub retry: Duration,
}

/// The record as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Changes with every write.
    pub version: String,
    /// Who leads; empty when it was given back.
    pub holder: String,
    /// How long its holder wants it to rest before it is taken.
    pub lease: Duration,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is no record: make it, in our name.
    Create,
    /// Write our name into this version of it.
    Take {
        /// The version that may be replaced, and no other.
        version: String,
        /// What to write as the number of changes.
        transitions: i32,
    },
    /// Write a new time into this version of it.
    Renew {
        /// As for `Take`.
        version: String,
        /// As it is.
        transitions: i32,
    },
    /// Someone else holds it.
    Wait,
}

/// One replica's view of an election.
#[derive(Debug)]
pub struct Election {
    terms: Terms,
    identity: String,
    /// The record as last read, and when it was first seen like that.
    seen: Option<(Record, Instant)>,
    /// When the last renewal that succeeded was sent.
    renewed: Option<Instant>,
}

impl Election {
    /// Takes part as `identity`, which no other replica may have.
    pub fn new(identity: impl Into<String>, terms: Terms) -> Self {
        Self { terms, identity: identity.into(), seen: None, renewed: None }
    }

    /// The name that it takes part with.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Who holds the record, as last read; nobody when empty.
    pub fn holder(&self) -> &str {
        self.seen.as_ref().map_or("", |(record, _)| &record.holder)
    }

    /// True while nobody else can be leading. Ask again before each thing that only a leader may do.
    pub fn is_leader(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// When leading ends unless it is renewed.
    pub fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|at| at + self.terms.renew_deadline)
    }

    /// Takes what a read that ended at `now` found, and says what to do.
    pub fn read(&mut self, record: Option<Record>, now: Instant) -> Step {
        let Some(record) = record else {
            self.seen = None;
            self.renewed = None;
            return Step::Create;
        };
        match &mut self.seen {
            Some((seen, _)) if *seen == record => {}
            seen => *seen = Some((record.clone(), now)),
        }
        if record.holder == self.identity {
            return Step::Renew { version: record.version, transitions: record.transitions };
        }
        self.renewed = None;
        let rested =
            self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since));
        if record.holder.is_empty() || rested >= record.lease.max(self.terms.lease) {
            let transitions = record.transitions.saturating_add(1);
            return Step::Take { version: record.version, transitions };
        }
        Step::Wait
    }

    /// The record was written in our name, by a request that was sent at `sent`.
    pub fn wrote(&mut self, record: Record, sent: Instant) {
        self.renewed = Some(sent);
        self.seen = Some((record, sent));
    }

    /// Ends leading. Returns the version of the record to be given back, when it is ours.
    pub fn resign(&mut self) -> Option<Record> {
        self.renewed.take()?;
        let (record, _) = self.seen.take()?;
        (record.holder == self.identity).then_some(record)
    }
}

#[cfg(test)]
mod tests;
