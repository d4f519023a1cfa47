//! The record of the election in the API server: a Lease.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tracing::{info, warn};

use super::election::{Election, Record, Step, Terms};
use super::refusal::{self, Verb};

/// One replica in the election.
pub struct Replica {
    api: Api<Lease>,
    name: String,
    terms: Terms,
    election: Election,
    /// Of the Lease as it was read last: a write keeps whose it is, so that what installed it also removes it.
    metadata: ObjectMeta,
    until: watch::Sender<Option<Instant>>,
    /// Said last, so that it is said once.
    said: String,
}

impl Replica {
    /// Takes part under a name that no other process has.
    pub fn new(api: Api<Lease>, name: &str, identity: &str, terms: Terms) -> Self {
        let (until, _) = watch::channel(None);
        let election = Election::new(identity, terms);
        let metadata = ObjectMeta::default();
        Self { api, name: name.to_owned(), terms, election, metadata, until, said: String::new() }
    }

    /// Until when this replica leads; `None` while it does not.
    pub fn leads(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }

    /// Takes part for as long as it is polled. `heard` is called whenever the API server has answered.
    pub async fn run(&mut self, mut heard: impl FnMut()) {
        loop {
            match self.round().await {
                Ok(()) => {
                    heard();
                    self.tell();
                }
                Err(error) => self.say(error),
            }
            self.until.send_if_modified(|until| {
                let now = self.election.leads_until();
                std::mem::replace(until, now) != now
            });
            let jitter = self.terms.retry.mul_f64(fastrand::f64() * 0.2);
            tokio::time::sleep(self.terms.retry + jitter).await;
        }
    }

    /// Gives the post back, so that the next one need not wait.
    pub async fn resign(&mut self) {
        self.until.send_replace(None);
        let Some(own) = self.election.resign() else { return };
        let spec = Self::spec("", Duration::from_secs(1), own.transitions);
        let lease = self.lease(Some(own.version), spec);
        match self.timed(self.api.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(_) => info!("leadership given back"),
            Err(error) => warn!("leadership could not be given back: {error}"),
        }
    }

    async fn round(&mut self) -> Result<(), String> {
        let found = self.timed(self.api.get_opt(&self.name)).await;
        let found = found.map_err(|e| Self::named(Verb::Get, e))?;
        let there = found.as_ref().map(record).transpose()?;
        self.metadata = match &found {
            Some(lease) => ObjectMeta { managed_fields: None, ..lease.metadata.clone() },
            None => ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
        };
        let sent = Instant::now();
        let (version, transitions) = match self.election.read(there, sent) {
            Step::Wait => return Ok(()),
            Step::Create => (None, 0),
            Step::Take { version, transitions } | Step::Renew { version, transitions } => {
                (Some(version), transitions)
            }
        };
        let mut spec = Self::spec(self.election.identity(), self.terms.lease, transitions);
        let renewed = found.and_then(|l| l.spec).filter(|s| s.holder_identity == spec.holder_identity);
        if let Some(acquired) = renewed.and_then(|s| s.acquire_time) {
            spec.acquire_time = Some(acquired);
        }
        let lease = self.lease(version.clone(), spec);
        let parameters = PostParams::default();
        let (written, verb) = match version {
            None => (self.timed(self.api.create(&parameters, &lease)).await, Verb::Create),
            Some(_) => (self.timed(self.api.replace(&self.name, &parameters, &lease)).await, Verb::Update),
        };
        match written {
            Ok(lease) => self.election.wrote(record(&lease)?, sent),
            // Another one was faster; the next read says who.
            Err(WriteError::Kube(kube::Error::Api(status))) if status.code == 409 => {}
            Err(error) => return Err(Self::named(verb, error)),
        }
        Ok(())
    }

    async fn timed<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        // A renewal that comes later than this helps nobody.
        let patience = self.terms.renew_deadline / 2;
        match tokio::time::timeout(patience, call).await {
            Ok(answer) => answer.map_err(WriteError::Kube),
            Err(_) => Err(WriteError::Silent(patience)),
        }
    }

    fn named(verb: Verb, error: WriteError) -> String {
        match error {
            WriteError::Kube(error) => refusal::explain(verb, "coordination.k8s.io", "leases", &error),
            WriteError::Silent(_) => error.to_string(),
        }
    }

    fn spec(holder: &str, lease: Duration, transitions: i32) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(lease.as_secs()).ok(),
            lease_transitions: Some(transitions),
            acquire_time: now.clone(),
            renew_time: now,
            ..LeaseSpec::default()
        }
    }

    fn lease(&self, version: Option<String>, spec: LeaseSpec) -> Lease {
        let metadata = ObjectMeta { resource_version: version, ..self.metadata.clone() };
        Lease { metadata, spec: Some(spec) }
    }

    fn tell(&mut self) {
        let leads = self.election.is_leader(Instant::now());
        let says = match self.election.holder() {
            "" => "nobody leads".to_owned(),
            _ if leads => "leading".to_owned(),
            holder => format!("following: {holder} leads"),
        };
        if says != self.said {
            info!("{says}");
            self.said = says;
        }
    }

    fn say(&mut self, error: String) {
        if error != self.said {
            warn!("the election cannot go on: {error}");
            self.said = error;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Kube(kube::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

fn record(lease: &Lease) -> Result<Record, String> {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    Ok(Record {
        version: lease.metadata.resource_version.clone().ok_or("a Lease without a version")?,
        holder: spec.holder_identity.unwrap_or_default(),
        lease: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.unwrap_or(0),
    })
}
