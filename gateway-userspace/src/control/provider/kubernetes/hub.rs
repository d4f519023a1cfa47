//! Where all that comes from the API server meets: what is known, when it is told, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::freshness::Freshness;
use super::holdings::Holdings;
use super::message::{Raw, Refusal};
use super::objects;
use super::saved::{Saved, Versions};
use super::source::Source;
use super::texts::Texts;
use crate::control::config::meta::ObjectKey;
use crate::control::config::pod::Pod;
use crate::control::config::resources::Objects;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::provider::Desired;
use crate::control::render;

/// Failures in a row from which the API server counts as out of reach: one is seen at each restart of it.
const FAILURES_TOLD: u32 = 2;
/// Failures in a row from which a kind is not waited for any more.
const FAILURES_WAITED: u32 = 3;

/// Versions that were written are that old at most where the server tells newer ones: one that it has forgotten after
/// a restart costs a list.
const VERSIONS_OLD: Duration = Duration::from_secs(300);

/// Owned by the one thread that talks to the API server.
#[derive(Debug)]
pub(super) struct Hub {
    holdings: Holdings,
    /// Kinds that the first state need not wait for any more.
    settled: BTreeSet<Source>,
    /// Kinds of which all is known, or that there are none.
    known: BTreeSet<Source>,
    versions: Versions,
    /// By kind: what the API server refuses.
    refused: BTreeMap<Source, Diagnostic>,
    /// By kind: why it cannot be reached.
    unreachable: BTreeMap<Source, String>,
    cut_since: Option<Instant>,
    /// About the file that keeps what is known.
    state: Option<Diagnostic>,
    findings: Option<Arc<[Diagnostic]>>,
    told: bool,
    /// What is known is from before a restart.
    restored: bool,
    /// Kinds that the API server lists anew before anything is told.
    outdated: BTreeSet<Source>,
    last_told: Instant,
    waiting: bool,
    wake: Rc<Notify>,
    interval: Duration,
    unsaved: bool,
    /// When what is known was written last, and up to where it was known.
    saved: (Instant, Versions),
    desired: watch::Sender<Desired>,
    pods: watch::Sender<Objects<Pod>>,
    pub(super) freshness: Freshness,
}

impl Hub {
    pub(super) fn new(
        desired: watch::Sender<Desired>,
        pods: watch::Sender<Objects<Pod>>,
        freshness: Freshness,
        interval: Duration,
    ) -> Self {
        Self {
            holdings: Holdings::default(),
            settled: BTreeSet::new(),
            known: BTreeSet::new(),
            versions: Versions::new(),
            refused: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            cut_since: None,
            state: None,
            findings: None,
            told: false,
            restored: false,
            outdated: BTreeSet::new(),
            last_told: Instant::now(),
            waiting: false,
            wake: Rc::default(),
            interval,
            unsaved: false,
            saved: (Instant::now(), Versions::new()),
            desired,
            pods,
            freshness,
        }
    }

    /// Takes what was known before a restart. It is told with what has happened since, or once the API server is found
    /// out of reach: endpoints that are gone would come back for a moment.
    pub(super) fn restore(&mut self, saved: Saved, texts: Texts) {
        let Saved { at, set, pods, versions, .. } = saved;
        self.holdings.restore(set, pods, texts);
        for source in Source::ALL {
            let count = self.holdings.count(source);
            if count > 0 || versions.contains_key(&source) {
                self.freshness.saved(source, at, count);
            }
        }
        self.versions = versions;
        self.restored = true;
    }

    /// Tells what was known before a restart, if the API server has not said what has happened since.
    pub(super) fn tell_restored(&mut self) {
        if self.restored && !self.told {
            self.tell();
        }
    }

    /// The API server answers, and what was known before a restart is too old for it.
    pub(super) fn is_outdated(&self) -> bool {
        !self.told && !self.outdated.is_empty()
    }

    /// The version up to which a kind is known from before a restart.
    pub(super) fn version(&self, source: Source) -> Option<String> {
        self.versions.get(&source).cloned()
    }

    pub(super) fn begin(&mut self, source: Source) {
        self.holdings.begin(source);
    }

    /// True when it changed anything. `flush` tells it.
    pub(super) fn put(&mut self, source: Source, raw: &Raw<'_>) -> bool {
        !raw.name.is_empty() && self.holdings.put(source, raw)
    }

    /// True when it changed anything. `flush` tells it.
    pub(super) fn gone(&mut self, source: Source, raw: &Raw<'_>) -> bool {
        self.gone_key(source, &objects::key(raw))
    }

    fn gone_key(&mut self, source: Source, key: &ObjectKey) -> bool {
        self.holdings.gone(source, key)
    }

    /// A list is complete. True when it changed anything.
    pub(super) fn complete(&mut self, source: Source) -> bool {
        self.freshness.listed(source);
        self.holdings.complete(source)
    }

    /// All up to `version` is known, and a watch tells what happens.
    pub(super) fn following(&mut self, source: Source) {
        self.outdated.remove(&source);
        self.freshness.following(source, self.holdings.count(source));
        let refused = self.refused.remove(&source).is_some();
        let reached = self.unreachable.remove(&source).is_some();
        if self.unreachable.is_empty()
            && let Some(since) = self.cut_since.take()
        {
            info!(after = ?since.elapsed(), "the API server is back");
        }
        let settled = self.settled.insert(source) | self.known.insert(source);
        if refused || reached || settled {
            self.findings = None;
            self.changed();
        }
    }

    /// The API server does not have the kind.
    pub(super) fn absent(&mut self, source: Source) {
        let changed = self.holdings.drop_all(source);
        self.versions.remove(&source);
        let known = self.refused.remove(&source).is_some() | self.unreachable.remove(&source).is_some();
        self.freshness.absent(source);
        if self.settled.insert(source) | self.known.insert(source) || changed || known {
            self.findings = None;
            self.unsaved |= changed;
            self.changed();
        }
    }

    /// Ends a row of `put` and `gone`, of which any changed something.
    pub(super) fn flush(&mut self, source: Source, changed: bool, version: Option<&str>) {
        match version {
            // Where an object is broken, its finding would be lost with a restart: it is listed again then.
            Some(version) if !self.holdings.has_findings(source) => {
                let known = self.versions.entry(source).or_default();
                known.clear();
                known.push_str(version);
            }
            _ => {
                self.versions.remove(&source);
            }
        }
        if changed {
            self.freshness.counted(source, self.holdings.count(source));
            self.findings = None;
            self.unsaved = true;
            self.changed();
        }
    }

    /// A connection broke or cannot be made.
    pub(super) fn broken(&mut self, source: Source, error: &str, silent: bool, failures: u32) {
        self.freshness.cut(source, silent);
        self.freshness.failed(source, error.to_owned());
        self.tell_restored();
        if failures < FAILURES_TOLD || self.unreachable.contains_key(&source) {
            return;
        }
        if self.unreachable.is_empty() {
            self.cut_since = Some(Instant::now());
            warn!("the API server cannot be reached, what is known keeps serving: {error}");
        }
        self.unreachable.insert(source, error.to_owned());
        self.findings = None;
        self.changed();
    }

    /// The API server answered with an error.
    pub(super) fn refused(&mut self, source: Source, refusal: &Refusal, failures: u32) {
        let Refusal { code, reason, message, .. } = refusal;
        self.freshness.cut(source, false);
        self.freshness.failed(source, format!("{code} {reason}: {message}"));
        let denied = matches!(code, 401 | 403);
        if !denied && failures < FAILURES_WAITED {
            return;
        }
        let finding = refusal_finding(source, refusal);
        if self.refused.get(&source) != Some(&finding) {
            warn!("{}", render::finding_line(&finding));
            self.refused.insert(source, finding);
            self.findings = None;
        }
        // A server that is only too busy to tell, or begins, has an answer later: nobody is to be served without
        // endpoints meanwhile.
        let is_waited_for = !denied && source.is_core();
        if (!is_waited_for && self.settled.insert(source)) | self.findings.is_none() {
            self.changed();
        }
    }

    /// What is known up to a version that the API server has forgotten: it is listed anew. True while nothing of
    /// it was told yet, so that somebody waits.
    pub(super) fn expired(&mut self, source: Source) -> bool {
        self.freshness.cut(source, false);
        if !self.told {
            self.settled.remove(&source);
            self.outdated.insert(source);
        }
        !self.told
    }

    /// What there is to say about the file that keeps what is known. Told with the next change.
    pub(super) fn state_finding(&mut self, finding: Option<Diagnostic>) {
        if self.state != finding {
            if let Some(finding) = &finding {
                warn!("{}", render::finding_line(finding));
            }
            self.state = finding;
            self.findings = None;
            self.changed();
        }
    }

    /// What is known, if it changed since this was asked last.
    pub(super) fn take_unsaved(&mut self) -> Option<Saved> {
        let (when, versions) = &self.saved;
        let is_old = when.elapsed() >= VERSIONS_OLD && *versions != self.versions;
        if !self.told || !(self.unsaved || is_old) {
            return None;
        }
        self.unsaved = false;
        self.saved = (Instant::now(), self.versions.clone());
        Some(Saved {
            at: std::time::SystemTime::now(),
            set: self.holdings.set().clone(),
            pods: self.holdings.pods().clone(),
            versions: self.versions.clone(),
        })
    }

    /// It has to be written again.
    pub(super) fn still_unsaved(&mut self) {
        self.unsaved = true;
    }

    /// Notified when a change waits for its time.
    pub(super) fn wake(&self) -> Rc<Notify> {
        Rc::clone(&self.wake)
    }

    /// When a change that waits may be told.
    pub(super) fn next_told(&self) -> Instant {
        self.last_told + self.interval
    }

    /// Tells what waits.
    pub(super) fn tell_waiting(&mut self) {
        if self.waiting {
            self.tell();
        }
    }

    /// A change after a quiet time is told at once; those that follow it closely are told together.
    fn changed(&mut self) {
        if !self.told && self.settled.len() < Source::ALL.len() {
            return;
        }
        if !self.told && self.restored && !self.waiting {
            // Watches that go on where they had ended have yet to say what they know.
            self.last_told = Instant::now();
        }
        if (!self.told && !self.restored) || Instant::now() >= self.next_told() {
            self.tell();
        } else if !self.waiting {
            self.waiting = true;
            self.wake.notify_one();
        }
    }

    fn tell(&mut self) {
        let findings = Arc::clone(self.findings.get_or_insert_with(|| {
            let unreachable = self.unreachable.values().next().map(|error| unreachable_finding(error));
            let own = self.refused.values().cloned().chain(unreachable).chain(self.state.clone());
            own.chain(self.holdings.findings().cloned()).collect()
        }));
        self.waiting = false;
        self.told = true;
        self.last_told = Instant::now();
        let set = self.holdings.set().clone();
        let pods = self.holdings.pods().clone();
        self.pods.send_if_modified(|known| {
            let changed = !known.is_same(&pods);
            *known = pods;
            changed
        });
        // Who sees the first state sees its pods too.
        let complete = self.known.len() == Source::ALL.len();
        self.desired.send_replace(Desired { set, findings, complete });
    }
}

fn refusal_finding(source: Source, refusal: &Refusal) -> Diagnostic {
    let Refusal { code, reason, message, .. } = refusal;
    let name = source.full_name();
    let finding = Diagnostic::of(Severity::Error, Code::ApiRefused, name.clone());
    let finding = finding.message(format!(
        "the API server refuses to tell ({code} {reason}: {message}); what is known of {name} keeps serving"
    ));
    let (group, plural) = (source.group(), source.plural());
    match code {
        401 => finding.fix("see that the service account's token or the kubeconfig's credentials are valid"),
        403 => finding.fix(format!(
            "allow its service account: apiGroups [\"{group}\"], resources [\"{plural}\"], verbs [\"list\", \"watch\"]"
        )),
        _ => finding.fix(format!("see what the API server says to: kubectl get {name} -A")),
    }
}

fn unreachable_finding(error: &str) -> Diagnostic {
    Diagnostic::about_nothing(Severity::Warning, Code::ApiUnreachable)
        .message(format!("the API server cannot be reached, what is known keeps serving: {error}"))
        .fix("see that it runs and that this node reaches it")
}

#[cfg(test)]
mod tests {
    use super::super::freshness::Standing;
    use super::*;

    const BUSY: u16 = 503;

    fn hub() -> (Hub, watch::Receiver<Desired>) {
        let (desired, told) = watch::channel(Desired::default());
        let (pods, _) = watch::channel(Objects::default());
        (Hub::new(desired, pods, Freshness::default(), Duration::ZERO), told)
    }

    fn refuse(hub: &mut Hub, source: Source) {
        hub.refused(source, &Refusal { code: BUSY, ..Refusal::default() }, FAILURES_WAITED);
    }

    #[test]
    fn endpoints_that_a_busy_server_does_not_tell_yet_are_waited_for() {
        let (mut hub, told) = hub();
        for source in Source::ALL.into_iter().filter(|source| *source != Source::EndpointSlices) {
            hub.following(source);
        }
        refuse(&mut hub, Source::EndpointSlices);
        assert!(!told.has_changed().unwrap(), "nobody is to be served without endpoints");
        hub.following(Source::EndpointSlices);
        assert!(told.borrow().complete);
    }

    #[test]
    fn a_kind_of_the_gateway_api_that_is_never_told_stops_nothing_else_and_the_state_says_what_it_is() {
        let (mut hub, told) = hub();
        for source in Source::ALL.into_iter().filter(|source| *source != Source::HttpRoutes) {
            hub.following(source);
        }
        refuse(&mut hub, Source::HttpRoutes);
        assert!(told.has_changed().unwrap() && !told.borrow().complete);
    }

    #[test]
    fn a_server_that_refuses_what_it_told_before_is_a_finding() {
        let (mut hub, told) = hub();
        Source::ALL.into_iter().for_each(|source| hub.following(source));
        refuse(&mut hub, Source::Services);
        assert!(told.borrow().complete, "what is known keeps serving");
        assert!(told.borrow().findings.iter().any(|finding| finding.code == Code::ApiRefused));
    }

    #[test]
    fn a_quiet_cluster_is_written_now_and_then_so_that_a_restart_finds_no_version_forgotten() {
        let (mut hub, _told) = hub();
        Source::ALL.into_iter().for_each(|source| hub.following(source));
        hub.flush(Source::Services, true, Some("7"));
        assert!(hub.take_unsaved().is_some());
        hub.flush(Source::Services, false, Some("9"));
        assert!(hub.take_unsaved().is_none(), "not at each bookmark");
        hub.saved.0 -= VERSIONS_OLD;
        assert_eq!(hub.take_unsaved().unwrap().versions[&Source::Services], "9");
        hub.saved.0 -= VERSIONS_OLD;
        assert!(hub.take_unsaved().is_none(), "nothing is newer");
    }

    #[test]
    fn only_kinds_that_the_file_has_are_said_to_be_known_from_it() {
        let (mut hub, _told) = hub();
        let saved = Saved {
            at: std::time::SystemTime::now(),
            set: Default::default(),
            pods: Objects::default(),
            versions: Versions::from([(Source::Services, "7".to_owned())]),
        };
        hub.restore(saved, Texts::default());
        let kinds = hub.freshness.kinds();
        let saved = kinds.iter().filter(|kind| kind.standing == Standing::Saved);
        assert_eq!(saved.map(|kind| kind.kind.as_str()).collect::<Vec<_>>(), ["services"]);
    }
}
