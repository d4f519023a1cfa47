//! Follows one collection: asks, reads what comes, and asks again.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::hub::Hub;
use super::message::{self, Message, Refusal};
use super::progress::{End, Pace, Progress, Step};
use super::request::{self, Bounds};
use super::source::Source;
use super::split::{Items, Lines};

/// How long the API server may take to begin an answer, or to go on with a list.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that has forgotten the version of a watch says so at once, in an answer that begins like any other.
const FIRST_WORD: Duration = Duration::from_millis(50);
/// The collection that tries for all.
const LEADER: Source = Source::Services;
/// Failures in a row up to which each tries for itself.
const FAILURES_ALONE: u32 = 2;
/// Bytes that are read of an answer that refuses.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What all collections have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) client: Client,
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) node: Arc<str>,
    pub(super) pace: Pace,
    /// Objects of one page.
    pub(super) page_objects: usize,
    /// Bytes of one object.
    pub(super) object_bytes_max: usize,
    /// How long a watch may last; each draws its own between half of it and all.
    pub(super) watch_duration: Duration,
    /// How long it may be silent.
    pub(super) watch_silence: Duration,
    /// Asks discovery to look again.
    pub(super) look_again: Rc<Notify>,
    /// Told when the API server answers, and does more than start.
    pub(super) answered: Rc<Notify>,
    /// When it did so last.
    pub(super) last_answer: Rc<Cell<Option<Instant>>>,
}

/// Whether the API server has a collection, and in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// Not known yet.
    Unknown,
    No,
    In(&'static str),
}

/// Follows one collection until it is dropped.
pub(super) struct Follower {
    common: Common,
    source: Source,
    served: watch::Receiver<Served>,
    progress: Progress,
    /// The last request ended with a connection that broke or could not be made.
    broken: bool,
    /// When it was sent.
    asked: Option<Instant>,
}

impl Follower {
    pub(super) fn new(common: Common, source: Source, served: watch::Receiver<Served>) -> Self {
        let progress = common.hub.borrow().version(source).map_or_else(Progress::new, Progress::resume);
        Self { common, source, served, progress, broken: false, asked: None }
    }

    pub(super) async fn run(mut self) {
        loop {
            let served = *self.served.borrow_and_update();
            let Served::In(version) = served else {
                if served == Served::No {
                    self.common.hub.borrow_mut().absent(self.source);
                    self.progress = Progress::new();
                }
                if self.served.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut served = self.served.clone();
            let wait = tokio::select! {
                wait = self.once(version) => wait,
                changed = served.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            };
            self.pause(wait).await;
        }
    }

    /// Waits for the next request. While the API server is out of reach one collection tries for all, and
    /// the others go on as soon as it answers: each try would be a connection of its own.
    async fn pause(&self, wait: Duration) {
        if !self.broken {
            return sleep(wait).await;
        }
        let answered = self.common.last_answer.get() > self.asked;
        let leads = answered || self.source == LEADER || self.progress.failures() < FAILURES_ALONE;
        let wait = if leads { wait } else { self.common.pace.retry_max * 4 };
        tokio::select! {
            () = sleep(wait) => {}
            () = self.common.answered.notified() => {}
        }
    }

    /// One request and its answer, to the end. Gives how long to wait before the next.
    async fn once(&mut self, version: &str) -> Duration {
        let step = self.progress.step();
        self.asked = Some(Instant::now());
        let end = self.ask(version, &step).await;
        let wait = self.progress.ended(&end, &self.common.pace, fastrand::f64());
        let failures = self.progress.failures();
        self.broken = matches!(end, End::Broken(_));
        let mut hub = self.common.hub.borrow_mut();
        match &end {
            End::Served | End::Page(_) | End::Listed(_) => {}
            End::Broken(error) => hub.broken(self.source, error, false, failures),
            End::Stalled(silence) => {
                let error = format!("a watch was silent for {} s and is renewed", silence.as_secs());
                tracing::info!(kind = self.source.full_name(), "{error}");
                hub.broken(self.source, &error, true, failures);
            }
            End::Refused(refusal) => {
                if refusal.code == 404 {
                    self.common.look_again.notify_one();
                }
                // Both are how a server says: begin again.
                if refusal.code == 410 {
                    // Where everybody waits for it, there is no herd to be spread.
                    return if hub.expired(self.source) { Duration::ZERO } else { wait };
                }
                if !wait.is_zero() {
                    hub.refused(self.source, refusal, failures);
                }
            }
        }
        wait
    }

    async fn ask(&mut self, version: &str, step: &Step) -> End {
        let most = self.common.watch_duration.as_secs();
        let bounds =
            Bounds { page_objects: self.common.page_objects, watch_seconds: fastrand::u64(most / 2..=most) };
        let request = match request::of(self.source, version, &self.common.node, step, bounds) {
            Ok(request) => request.map(Body::from),
            Err(error) => return End::Broken(error.to_string()),
        };
        let response = answer(&self.common.client, request).await;
        // A server that starts refuses all there is at first (403, 429, 503): whoever finds that out asks once
        // more before the others do.
        if self.broken && matches!(response, Err(End::Refused(_))) {
            self.progress.reached();
        } else if !matches!(response, Err(End::Broken(_))) {
            self.common.last_answer.set(Some(Instant::now()));
            self.common.answered.notify_waiters();
        }
        let response = match response {
            Ok(response) => response,
            Err(end) => return end,
        };
        let lasts = Duration::from_secs(bounds.watch_seconds);
        match step {
            Step::Page(next) => {
                if next.is_none() {
                    self.common.hub.borrow_mut().begin(self.source);
                }
                self.page(response.into_body()).await
            }
            Step::Stream => {
                self.common.hub.borrow_mut().begin(self.source);
                self.watch(response.into_body(), lasts, false).await
            }
            Step::Watch(_) => self.watch(response.into_body(), lasts, true).await,
        }
    }

    async fn page(&self, mut body: Body) -> End {
        let source = self.source;
        let mut items = Items::new(self.common.object_bytes_max);
        loop {
            let bytes = match timeout(ANSWER_TIMEOUT, body.frame()).await {
                Err(_) => return End::Broken(format!("a list stopped for {} s", ANSWER_TIMEOUT.as_secs())),
                Ok(None) => break,
                Ok(Some(Err(error))) => return End::Broken(chain(&error)),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            let mut hub = self.common.hub.borrow_mut();
            let mut changed = false;
            let mut unreadable = None;
            let mut events = 0;
            let fed = items.feed(&bytes, |json| match message::item(json) {
                Ok(raw) => {
                    events += 1;
                    changed |= hub.put(source, &raw);
                }
                Err(error) => unreadable = Some(error.to_string()),
            });
            hub.freshness.heard(source, bytes.len(), events);
            hub.flush(source, changed, None);
            if let Some(error) = fed.err().map(|e| e.to_string()).or(unreadable) {
                return End::Broken(format!("a list cannot be read: {error}"));
            }
        }
        let meta = match message::list_end(items.around()) {
            Ok(meta) => meta,
            Err(error) => return End::Broken(format!("a list cannot be read: {error}")),
        };
        if !meta.next.is_empty() {
            return End::Page(meta.next);
        }
        let mut hub = self.common.hub.borrow_mut();
        let changed = hub.complete(source);
        hub.flush(source, changed, Some(&meta.resource_version));
        End::Listed(meta.resource_version)
    }

    /// `resumes` says that all is known up to a version, if the server still knows that.
    async fn watch(&mut self, body: Body, lasts: Duration, resumes: bool) -> End {
        let began = Instant::now();
        let end = self.read_watch(body, lasts, resumes).await;
        if matches!(end, End::Broken(_) | End::Stalled(_)) {
            self.progress.cut_short(began.elapsed(), &self.common.pace);
        }
        end
    }

    async fn read_watch(&mut self, mut body: Body, lasts: Duration, resumes: bool) -> End {
        let began = Instant::now();
        let mut lines = Lines::new(self.common.object_bytes_max);
        let mut follows = !resumes;
        loop {
            let silence = if follows { self.common.watch_silence } else { FIRST_WORD };
            let bytes = match timeout(silence, body.frame()).await {
                Err(_) if !follows => {
                    self.follows();
                    follows = true;
                    continue;
                }
                Err(_) => return End::Stalled(silence),
                Ok(None) => return self.over(began.elapsed(), lasts),
                Ok(Some(Err(error))) => return End::Broken(chain(&error)),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            if let Some(end) = self.take(&mut lines, &bytes) {
                return end;
            }
            if !follows {
                self.follows();
                follows = true;
            }
        }
    }

    fn follows(&self) {
        let hub = &self.common.hub;
        hub.borrow().freshness.watched(self.source);
        hub.borrow_mut().following(self.source);
    }

    /// The server ended a watch without an error.
    fn over(&self, lasted: Duration, asked: Duration) -> End {
        if self.progress.version().is_none() {
            return End::Broken("a list ended before its end".to_owned());
        }
        // A server that shuts down ends all watches early, and those of all nodes at once.
        if lasted + Duration::from_secs(5) < asked {
            return End::Broken("the API server ended a watch before its time".to_owned());
        }
        End::Served
    }

    /// Takes a piece of a watch.
    fn take(&mut self, lines: &mut Lines, bytes: &[u8]) -> Option<End> {
        let Self { common, source, progress, .. } = self;
        let source = *source;
        let mut hub = common.hub.borrow_mut();
        let mut changed = false;
        let mut events = 0;
        let mut end = None;
        let mut complete_now = false;
        let fed = lines.feed(bytes, |line| {
            if end.is_some() {
                return;
            }
            match message::event(line) {
                Ok(Message::Is(raw)) => {
                    events += 1;
                    changed |= hub.put(source, &raw);
                    progress.seen(&raw.version);
                }
                Ok(Message::Gone(raw)) => {
                    events += 1;
                    changed |= hub.gone(source, &raw);
                    progress.seen(&raw.version);
                }
                Ok(Message::Bookmark { version, complete }) => {
                    if complete && progress.version().is_none() {
                        changed |= hub.complete(source);
                        progress.listed(&version);
                        complete_now = true;
                    } else {
                        progress.seen(&version);
                    }
                }
                Ok(Message::Refused(refusal)) => end = Some(End::Refused(refusal)),
                Ok(Message::Other) => {}
                Err(error) => {
                    // What it said is lost: only a list can tell.
                    progress.distrust();
                    end = Some(End::Broken(format!("a watch cannot be read: {error}")));
                }
            }
        });
        hub.freshness.heard(source, bytes.len(), events);
        hub.flush(source, changed, progress.version());
        if complete_now {
            hub.freshness.watched(source);
            hub.following(source);
        }
        if let Err(error) = fed {
            progress.distrust();
            end.get_or_insert(End::Broken(format!("a watch cannot be read: {error}")));
        }
        end
    }
}

/// Sends a request; gives the answer once it has begun, if it is one.
pub(super) async fn answer(client: &Client, request: http::Request<Body>) -> Result<Response<Body>, End> {
    let response = match timeout(ANSWER_TIMEOUT, client.send(request)).await {
        Err(_) => return Err(End::Broken(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        Ok(Err(error)) => return Err(End::Broken(chain(&error))),
        Ok(Ok(response)) => response,
    };
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let after = response.headers().get(http::header::RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = read(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let refusal = message::refusal(code, &body);
    Err(End::Refused(Refusal { retry_after: after.or(refusal.retry_after), ..refusal }))
}

/// Reads a body that is small.
pub(super) async fn read(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(frame) = timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(|e| e.to_string())? {
        let bytes = frame.map_err(|error| chain(&error))?.into_data().unwrap_or_default();
        if all.len() + bytes.len() > bytes_max {
            return Err(format!("an answer of more than {bytes_max} bytes"));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// An error with what caused it, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            let _ = write!(text, ": {part}");
        }
        cause = error.source();
    }
    text
}
