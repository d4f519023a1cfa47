//! What the leader does: follows what is desired and what is there, and writes the difference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::capture_status::CaptureStatuses;
use super::exposure::{ServiceType, foreign};
use super::follow::Events;
use super::meters::Meters;
use super::plan::{Facts, Target, Wanted, Write, content};
use super::schedule::{Pace, Schedule};
use super::seen::{Event, Known, Source};
use super::write::{WriteError, Writer, Written};
use crate::control::compile::Place;
use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::{Kind, ObjectId};
use crate::control::provider::Desired;
use crate::control::{Control, NoKernel};
use crate::limits::{ControllerLimits, Limits};

/// What the leader must know of its surroundings.
pub struct Surroundings {
    /// The desired state.
    pub desired: watch::Receiver<Desired>,
    /// Type of the Services of Gateways where nothing else is said.
    pub service_type: ServiceType,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// The limits of everything.
    pub limits: Arc<Limits>,
    /// How fast and how often it writes.
    pub pace: ControllerLimits,
}

/// The leader at work.
pub struct Leading {
    around: Surroundings,
    control: Control,
    current: Desired,
    wanted: Wanted,
    known: Known,
    captures: CaptureStatuses,
    /// Why the Service of a Gateway could not be made.
    refused: BTreeMap<Target, String>,
    schedule: Schedule<Target>,
    writer: Writer,
}

impl Leading {
    /// Begins with nothing known.
    pub fn new(around: Surroundings, writer: Writer) -> Self {
        let limits = &around.pace;
        let pace = Pace {
            writes_per_second: limits.writes_per_second,
            burst: limits.writes_burst,
            retry: limits.write_retry,
            retry_max: limits.write_retry_max,
        };
        let mut control = Control::new(Arc::default(), Box::new(NoKernel), &around.limits);
        control.set_place(Place { behind_services: true, ..Place::default() });
        Self {
            control,
            schedule: Schedule::new(pace, Target::rank, Instant::now()),
            current: Desired::default(),
            wanted: Wanted::default(),
            known: Known::default(),
            captures: CaptureStatuses::default(),
            refused: BTreeMap::new(),
            around,
            writer,
        }
    }

    /// Works for as long as it is polled, or until the desired state is no longer followed.
    pub async fn run(mut self, mut events: Events) {
        let first = self.around.desired.borrow_and_update().clone();
        if !first.set.is_empty() {
            self.apply(first);
        }
        let mut not_before = Instant::now();
        loop {
            self.around.meters.waiting(self.schedule.waiting());
            let due = self.schedule.next_due().map(|due| due.max(not_before));
            let next = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.around.desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let desired = self.around.desired.borrow_and_update().clone();
                    self.apply(desired);
                }
                event = events.recv() => {
                    let Some((source, event)) = event else { return };
                    self.observe(source, event);
                }
                () = next => match self.schedule.take_write(Instant::now()) {
                    Ok(()) => self.work().await,
                    Err(later) => not_before = later,
                },
            }
        }
    }

    fn apply(&mut self, desired: Desired) {
        let completes = desired.complete && !self.current.complete;
        self.current = desired.clone();
        // Not logged: findings stand in the statuses, and endpoints are the nodes' business.
        let applied = self.control.apply(&desired);
        let wanted = Wanted::new(applied.report);
        let now = Instant::now();
        // Nothing was written of what came of half a state.
        let before = if completes { &Wanted::default() } else { &self.wanted };
        for id in wanted.changes_since(before) {
            self.schedule.mark(Target::Object(id), now);
        }
        self.wanted = wanted;
    }

    fn observe(&mut self, source: Source, event: Event) {
        let completes = matches!(event, Event::Complete);
        let (before, now) = (self.known.is_complete(source), Instant::now());
        let changed = self.known.take(source, event);
        self.forget_gone(source, &changed);
        match source {
            Source::GatewayClasses => self.mark(Kind::GatewayClass, changed),
            Source::Gateways => self.mark(Kind::Gateway, changed),
            Source::HttpRoutes => self.mark(Kind::HttpRoute, changed),
            Source::GrpcRoutes => self.mark(Kind::GrpcRoute, changed),
            Source::Services | Source::EndpointSlices | Source::NodePods if !changed.is_empty() => {
                // Which Gateway they belong to may be what has changed.
                self.mark_gateways(source, &changed, now);
            }
            Source::NodeReports => {
                for key in changed {
                    let report = self.known.get(source, &key).map(|seen| &seen.content);
                    let pods = self.captures.take(&key.name, report);
                    pods.into_iter().for_each(|pod| self.schedule.mark(Target::Pod(pod), now));
                }
            }
            // Of many pods nobody says anything, and nothing is to stand on them.
            Source::Pods => {
                let annotated =
                    |key: &ObjectKey| self.known.get(source, key).is_some_and(|seen| !seen.content.is_null());
                let known = |key: &ObjectKey| self.captures.has(key) || annotated(key);
                let pods: Vec<ObjectKey> = changed.into_iter().filter(known).collect();
                pods.into_iter().for_each(|pod| self.schedule.mark(Target::Pod(pod), now));
            }
            _ => {}
        }
        if completes && !before {
            debug!(kind = source.plural(), "known");
            if source == Source::NodeReports {
                let annotated = self.known.all(Source::Pods).filter(|(_, pod)| !pod.content.is_null());
                annotated.for_each(|(key, _)| self.schedule.mark(Target::Pod(key.clone()), now));
            }
            self.wanted.gateways().for_each(|id| self.schedule.mark(Target::Object(id.clone()), now));
        }
    }

    fn mark(&mut self, kind: Kind, keys: Vec<ObjectKey>) {
        let now = Instant::now();
        for key in keys {
            self.schedule.mark(Target::Object(ObjectId { kind, key }), now);
        }
    }

    fn mark_gateways(&mut self, source: Source, changed: &[ObjectKey], now: Instant) {
        let near = |id: &&ObjectId| {
            source == Source::NodePods || changed.iter().any(|key| key.namespace == id.key.namespace)
        };
        self.wanted
            .gateways()
            .filter(near)
            .for_each(|id| self.schedule.mark(Target::Object(id.clone()), now));
    }

    /// Of objects that are gone nothing is remembered.
    fn forget_gone(&mut self, source: Source, changed: &[ObjectKey]) {
        let kind = match source {
            Source::GatewayClasses => Some(Kind::GatewayClass),
            Source::Gateways => Some(Kind::Gateway),
            Source::HttpRoutes => Some(Kind::HttpRoute),
            Source::GrpcRoutes => Some(Kind::GrpcRoute),
            Source::Pods => None,
            _ => return,
        };
        for key in changed.iter().filter(|key| self.known.get(source, key).is_none()) {
            let target = match kind {
                Some(kind) => Target::Object(ObjectId { kind, key: key.clone() }),
                None => Target::Pod(key.clone()),
            };
            self.schedule.forget(&target);
            self.refused.remove(&target);
        }
    }

    fn plan(&self, id: &Target) -> Vec<Write> {
        // The API's times have no fractions.
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.facts(id, &now).plan(id)
    }

    fn facts<'a>(&'a self, id: &Target, now: &'a str) -> Facts<'a> {
        Facts {
            set: &self.current.set,
            wanted: &self.wanted,
            known: &self.known,
            captures: &self.captures,
            complete: self.current.complete,
            refused: self.refused.get(id).map(String::as_str),
            service_type: self.around.service_type,
            now,
        }
    }

    /// Looks at what is due, and writes what differs.
    async fn work(&mut self) {
        let Some(id) = self.schedule.next(Instant::now()) else { return };
        let mut writes = self.plan(&id);
        let asks = |write: &Write| matches!(write, Write::Apply { source: Source::Services, .. });
        if !writes.iter().any(asks) && self.refused.remove(&id).is_some() {
            writes = self.plan(&id);
        }
        if writes.is_empty() {
            // A look costs the API server nothing.
            self.schedule.give_back_write();
            match &id {
                // No other event comes where both objects say the same.
                Target::Object(object) if self.facts(&id, "").is_about_another(object) => {
                    self.schedule.failed(id, Instant::now());
                }
                _ => self.schedule.settled(&id),
            }
            return;
        }
        let (mut written, mut denied) = (Vec::new(), false);
        for write in writes {
            let is_status = matches!(write, Write::Status { .. });
            // A Gateway's status follows what its Service has become, not what it was.
            if is_status && !written.is_empty() && !denied {
                self.schedule.mark(id.clone(), Instant::now());
                break;
            }
            if is_status && denied {
                break;
            }
            match self.write(&id, &write).await {
                Outcome::Changed => written.push(write),
                Outcome::Same => {}
                // One that is not allowed does not stand in the way of the others.
                Outcome::Denied => denied = true,
                Outcome::Stopped => return,
            }
        }
        if denied {
            // The status says so, as far as it does not say so yet.
            let status = self.plan(&id).into_iter().find(|write| matches!(write, Write::Status { .. }));
            if let Some(status) = status {
                self.write(&id, &status).await;
            }
            self.schedule.failed(id, Instant::now());
        } else if !written.is_empty() && self.schedule.wrote(&id, content(&written), Instant::now()) {
            self.around.meters.contended();
            warn!(object = %id, "another writer undoes what is written here: written ever more rarely");
        }
    }

    /// One write.
    async fn write(&mut self, id: &Target, write: &Write) -> Outcome {
        let (source, key) = (write.source(), write.key());
        let makes_service = matches!(write, Write::Apply { source: Source::Services, .. });
        let answer = self.writer.write(write).await;
        self.around.meters.wrote(source, answer.as_ref().map(|_| ()));
        match answer {
            Ok(Written::Is(seen)) => {
                if makes_service {
                    self.refused.remove(id);
                }
                // What the API server makes of it otherwise is not to be asked for on and on.
                let same = self.known.get(source, key).is_some_and(|known| known.version == seen.version);
                self.known.wrote(source, key, seen);
                if same { Outcome::Same } else { Outcome::Changed }
            }
            Ok(Written::Deleted) => {
                self.known.take(source, Event::Gone(key.clone()));
                info!(kind = source.plural(), name = %key, "deleted: nobody needs it any more");
                Outcome::Changed
            }
            Ok(Written::Foreign) => {
                // Not kept in mind: of what is another's no event comes.
                let told = makes_service && self.refused.insert(id.clone(), foreign(key)).is_some();
                if !told {
                    warn!(kind = source.plural(), name = %key, "it is another's, and left alone");
                }
                Outcome::Denied
            }
            Err(WriteError::Gone) if matches!(write, Write::Status { .. } | Write::Annotate { .. }) => {
                self.schedule.forget(id);
                Outcome::Stopped
            }
            Err(WriteError::Denied(why)) if matches!(write, Write::Apply { .. } | Write::Delete { .. }) => {
                warn!(object = %id, kind = source.plural(), "not written: {why}");
                if makes_service {
                    self.refused.insert(id.clone(), format!("Service {key} cannot be made: {why}"));
                }
                Outcome::Denied
            }
            Err(error) => {
                if matches!(error, WriteError::Conflict) {
                    debug!(object = %id, "{error}");
                } else {
                    warn!(object = %id, kind = source.plural(), "not written: {error}");
                }
                self.schedule.failed(id.clone(), Instant::now());
                Outcome::Stopped
            }
        }
    }
}

/// What came of a write.
enum Outcome {
    /// The API server has something new.
    Changed,
    /// It had that already.
    Same,
    /// It says no, and will the next time.
    Denied,
    /// Nothing more is to be done with the object now.
    Stopped,
}
