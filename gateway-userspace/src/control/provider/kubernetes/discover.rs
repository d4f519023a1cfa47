//! Asks the API server again and again which kinds of the Gateway API it has.

use std::time::Duration;

use http::Request;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::sleep;

use super::discovery;
use super::follow::{Common, Served, answer, read};
use super::progress::{End, Pace, Progress};
use super::source::Source;

/// Bytes of an answer.
const BYTES_MAX: usize = 1024 * 1024;
/// Before it looks because a kind that was there is not: many nodes see that at the same moment.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Tells followers whether and how their kind is served.
pub(super) struct Discoverer {
    common: Common,
    told: Vec<(Source, watch::Sender<Served>)>,
    /// Between looks while a kind is missing, and while none is.
    intervals: (Duration, Duration),
    progress: Progress,
}

impl Discoverer {
    pub(super) fn new(
        common: Common,
        told: Vec<(Source, watch::Sender<Served>)>,
        intervals: (Duration, Duration),
    ) -> Self {
        Self { common, told, intervals, progress: Progress::new() }
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
                let mut missing = false;
                for (source, told) in &self.told {
                    let now = discovery::best(*source, &found).map_or(Served::No, Served::In);
                    missing |= now == Served::No;
                    told.send_if_modified(|before| std::mem::replace(before, now) != now);
                }
                let interval = if missing { self.intervals.0 } else { self.intervals.1 };
                interval.mul_f64(0.5 + fastrand::f64())
            }
            Err(end) => self.failed(&end),
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
        let Some(group) = self.get(&discovery::group_path()).await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for version in discovery::versions(&group).map_err(unreadable)? {
            if let Some(list) = self.get(&discovery::version_path(version)).await? {
                found.push((version, discovery::collections(&list).map_err(unreadable)?));
            }
        }
        Ok(found)
    }

    /// The answer; `None` where the API server does not know the path.
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, End> {
        let request = Request::get(path).header(http::header::ACCEPT, "application/json").body(Body::empty());
        let request = request.map_err(|error| End::Broken(error.to_string()))?;
        match answer(&self.common.client, request).await {
            Ok(response) => read(response.into_body(), BYTES_MAX).await.map(Some).map_err(End::Broken),
            Err(End::Refused(refusal)) if refusal.code == 404 => Ok(None),
            Err(end) => Err(end),
        }
    }
}

fn unreadable(error: serde_json::Error) -> End {
    End::Broken(format!("what kinds there are cannot be read: {error}"))
}
