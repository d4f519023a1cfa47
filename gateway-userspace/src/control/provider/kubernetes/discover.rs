//! Asks the API server again and again which kinds of the Gateway API it has.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::discovery;
use super::follow::{Common, Served, answer, read};
use super::progress::{End, Pace, Progress};
use super::source::Source;

/// Bytes of an answer.
const BYTES_MAX: usize = 1024 * 1024;
/// Before it looks because a kind that was there is not: many nodes see that at the same moment.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

/// A kind that was there is gone once two looks agree that are so far apart, or as far as looks are.
const DOUBT: Duration = Duration::from_secs(5);

/// Tells followers whether and how their kind is served.
pub(super) struct Discoverer {
    common: Common,
    told: Vec<(Source, watch::Sender<Served>)>,
    /// Between looks while a kind is missing, and while none is.
    intervals: (Duration, Duration),
    progress: Progress,
    /// Kinds that were there, and since when they seem to be gone.
    doubted: BTreeMap<Source, Instant>,
}

impl Discoverer {
    pub(super) fn new(
        common: Common,
        told: Vec<(Source, watch::Sender<Served>)>,
        intervals: (Duration, Duration),
    ) -> Self {
        Self { common, told, intervals, progress: Progress::new(), doubted: BTreeMap::new() }
    }

    pub(super) async fn run(mut self, mut wait: Duration) {
        loop {
            tokio::select! {
                () = sleep(wait) => {}
                () = self.common.look_again.notified() => sleep(LOOK_AGAIN_MAX.mul_f64(fastrand::f64())).await,
            }
            wait = self.look().await;
        }
    }

    /// Looks once. Gives how long to wait before the next time.
    pub(super) async fn look(&mut self) -> Duration {
        match self.ask().await {
            Ok(found) => {
                self.progress = Progress::new();
                self.tell(&found);
                let missing = self.told.iter().any(|(_, told)| *told.borrow() == Served::No);
                let interval = if missing { self.intervals.0 } else { self.intervals.1 };
                let interval = interval.mul_f64(0.5 + fastrand::f64());
                if self.doubted.is_empty() { interval } else { interval.min(self.doubt()) }
            }
            Err(end) => self.failed(&end),
        }
    }

    fn doubt(&self) -> Duration {
        DOUBT.min(self.intervals.0)
    }

    /// One look that misses a kind may have met a server that does not know all it should yet: what is known of the
    /// kind is dropped when a later look misses it too.
    fn tell(&mut self, found: &[(&'static str, Vec<String>)]) {
        let doubt = self.doubt();
        for (source, told) in &self.told {
            let now = discovery::best(*source, found).map_or(Served::No, Served::In);
            let was_there = match *told.borrow() {
                Served::In(_) => true,
                Served::Unknown => self.common.hub.borrow().version(*source).is_some(),
                Served::No => false,
            };
            if now == Served::No && was_there {
                let since = *self.doubted.entry(*source).or_insert_with(Instant::now);
                if since.elapsed() < doubt {
                    continue;
                }
            }
            self.doubted.remove(source);
            told.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    }

    /// What is known stays; what is not is said not to be.
    fn failed(&mut self, end: &End) -> Duration {
        let pace: &Pace = &self.common.pace;
        let wait = self.progress.ended(end, pace, fastrand::f64());
        let failures = self.progress.failures();
        let mut hub = self.common.hub.borrow_mut();
        let unknown = self.told.iter().filter(|(_, told)| *told.borrow() == Served::Unknown);
        for (source, _) in unknown {
            match end {
                End::Refused(refusal) => hub.refused(*source, refusal, failures),
                End::Broken(error) => hub.broken(*source, error, false, failures),
                _ => {}
            }
        }
        wait
    }

    async fn ask(&self) -> Result<Vec<(&'static str, Vec<String>)>, End> {
        let group = match self.get(&discovery::group_path()).await {
            // A proxy may say that too: the group is not there if the list of all groups says so.
            Err(End::Refused(refusal)) if refusal.code == 404 => {
                let groups = self.get(discovery::GROUPS_PATH).await?;
                let listed = discovery::has_group(&groups).map_err(unreadable)?;
                return if listed { Err(End::Refused(refusal)) } else { Ok(Vec::new()) };
            }
            group => group?,
        };
        let mut found = Vec::new();
        for version in discovery::versions(&group).map_err(unreadable)? {
            let list = self.get(&discovery::version_path(version)).await?;
            found.push((version, discovery::collections(&list).map_err(unreadable)?));
        }
        Ok(found)
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, End> {
        let request = Request::get(path).header(http::header::ACCEPT, "application/json").body(Body::empty());
        let request = request.map_err(|error| End::Broken(error.to_string()))?;
        let response = answer(&self.common.client, request).await?;
        read(response.into_body(), BYTES_MAX).await.map_err(End::Broken)
    }
}

fn unreadable(error: serde_json::Error) -> End {
    End::Broken(format!("what kinds there are cannot be read: {error}"))
}
