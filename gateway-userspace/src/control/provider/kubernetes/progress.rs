//! Pure: how far the following of one collection is, what to ask next, and how long to wait before.

use std::time::Duration;

use super::message::Refusal;

/// How fast requests may follow each other. Times are upper ends of what is drawn by chance, so that
/// nodes that lose the API server together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// After a connection broke or ended before its time.
    pub(super) reconnect: Duration,
    /// Before a list that replaces what is known.
    pub(super) relist: Duration,
    /// Between attempts that keep failing.
    pub(super) retry_max: Duration,
}

/// The next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A watch that first tells all there is.
    Stream,
    /// A page of a list; the first without a token.
    Page(Option<String>),
    /// What happened since this version.
    Watch(String),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// By the server, in good order, after it had served for its time.
    Served,
    /// A page was told, and there is more.
    Page(String),
    /// All was told, up to this version.
    Listed(String),
    /// By a broken connection, one that cannot be made, or an answer that cannot be read.
    Broken(String),
    /// The server said nothing for too long.
    Stalled(Duration),
    /// The server refused it or ended it with an error.
    Refused(Refusal),
}

/// First wait of a row that doubles.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// A server says where it is each minute. One that says nothing for so many watches may be at an earlier version
/// than the one that was asked for, as after a restore of its store: it would be silent until it has caught up.
const SILENT_MAX: u32 = 2;
/// So many streams that ended before they had told a list: something on the way does not let them through.
const UNENDED_MAX: u32 = 2;
/// The server tells how long to wait; it is not believed beyond this.
const RETRY_AFTER_MAX: u64 = 60;

/// The state of following one collection.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    stage: Stage,
    /// The server can tell a list as a stream.
    streams: bool,
    /// Something is known already: a list replaces it, and nobody waits for it.
    known: bool,
    failures: u32,
    /// Watches in a row that said nothing at all.
    silent: u32,
    /// Streams that ended before they had told all there is.
    unended: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    List { next: Option<String> },
    Watch { version: String },
}

impl Progress {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::List { next: None },
            streams: true,
            known: false,
            failures: 0,
            silent: 0,
            unended: 0,
        }
    }

    /// Knows everything up to `version`.
    pub(super) fn resume(version: String) -> Self {
        Self { stage: Stage::Watch { version }, known: true, ..Self::new() }
    }

    /// What to ask now.
    pub(super) fn step(&self) -> Step {
        match &self.stage {
            Stage::Watch { version } => Step::Watch(version.clone()),
            Stage::List { .. } if self.streams => Step::Stream,
            Stage::List { next } => Step::Page(next.clone()),
        }
    }

    /// The version up to which all is known, if it is.
    pub(super) fn version(&self) -> Option<&str> {
        match &self.stage {
            Stage::Watch { version } => Some(version),
            Stage::List { .. } => None,
        }
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A streamed list is complete: from now on the same answer tells what happens.
    pub(super) fn listed(&mut self, version: &str) {
        self.stage = Stage::Watch { version: version.to_owned() };
        self.known = true;
        self.failures = 0;
        self.silent = 0;
        self.unended = 0;
    }

    /// An event or bookmark of a watch brought this version.
    pub(super) fn seen(&mut self, version: &str) {
        if let Stage::Watch { version: known } = &mut self.stage {
            self.failures = 0;
            self.silent = 0;
            if !version.is_empty() && known != version {
                known.clear();
                known.push_str(version);
            }
        }
    }

    /// An answer that had begun ended otherwise than in good order, after it had been open for `open`. A watch that
    /// was open for long was no failure, whoever ended it; a stream that tells no list is not asked for on and on.
    pub(super) fn cut_short(&mut self, open: Duration, pace: &Pace) {
        match self.stage {
            Stage::Watch { .. } if open >= pace.retry_max => self.failures = 0,
            Stage::Watch { .. } => {}
            Stage::List { .. } => {
                self.unended += 1;
                self.streams &= self.unended < UNENDED_MAX;
            }
        }
    }

    /// The server answers after it could not be reached: how often it was tried meanwhile is no reason to wait longer.
    pub(super) fn reached(&mut self) {
        self.failures = 0;
    }

    /// Something that was said could not be read: all has to be told again.
    pub(super) fn distrust(&mut self) {
        self.stage = Stage::List { next: None };
    }

    /// Follows the end of a request; gives how long to wait before the next. `chance` is drawn from
    /// 0.0 to 1.0.
    pub(super) fn ended(&mut self, end: &End, pace: &Pace, chance: f64) -> Duration {
        match end {
            End::Served => {
                self.failures = 0;
                Duration::ZERO
            }
            End::Page(next) => {
                self.stage = Stage::List { next: Some(next.clone()) };
                self.failures = 0;
                Duration::ZERO
            }
            End::Listed(version) => {
                self.listed(version);
                Duration::ZERO
            }
            End::Broken(_) => self.failed(pace, chance),
            // It answered, and may be one that has nothing to say: no reason to ask more seldom.
            End::Stalled(_) => {
                self.silent += 1;
                if self.silent < SILENT_MAX {
                    return pace.reconnect.mul_f64(chance);
                }
                self.silent = 0;
                self.stage = Stage::List { next: None };
                pace.relist.mul_f64(chance)
            }
            End::Refused(refusal) => self.refused(refusal, pace, chance),
        }
    }

    fn refused(&mut self, refusal: &Refusal, pace: &Pace, chance: f64) -> Duration {
        let listing = matches!(self.stage, Stage::List { .. });
        match refusal.code {
            // Too old: what happened since cannot be told, or a list cannot be gone on with.
            410 => {
                self.stage = Stage::List { next: None };
                if self.known && self.failures == 0 {
                    self.failures = 1;
                    pace.relist.mul_f64(chance)
                } else {
                    self.failed(pace, chance)
                }
            }
            // Servers that cannot stream a list refuse the question as such.
            400 | 422 if listing && self.streams => {
                self.streams = false;
                Duration::ZERO
            }
            _ => {
                let waited = self.failed(pace, chance);
                let asked = Duration::from_secs(refusal.retry_after.unwrap_or(0).min(RETRY_AFTER_MAX));
                // Not all at the same moment again.
                if asked.is_zero() { waited } else { asked + asked.mul_f64(chance) }
            }
        }
    }

    /// The first failure after success is most likely one of many nodes at once, that of a server that
    /// restarts; those that follow wait longer and longer.
    fn failed(&mut self, pace: &Pace, chance: f64) -> Duration {
        let before = self.failures;
        self.failures = before.saturating_add(1);
        let longest = match before {
            0 => pace.reconnect,
            _ => pace.reconnect.max(RETRY_MIN).saturating_mul(1 << before.min(16)).min(pace.retry_max),
        };
        longest.mul_f64(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        reconnect: Duration::from_secs(1),
        relist: Duration::from_secs(10),
        retry_max: Duration::from_secs(30),
    };

    fn refused(code: u16) -> End {
        End::Refused(Refusal { code, ..Refusal::default() })
    }

    fn stalled() -> End {
        End::Stalled(Duration::from_secs(150))
    }

    fn broken() -> End {
        End::Broken("reset".to_owned())
    }

    #[test]
    fn a_stream_tells_all_and_then_what_happens_and_is_resumed_where_it_broke() {
        let mut progress = Progress::new();
        assert_eq!(progress.step(), Step::Stream);
        progress.listed("10");
        progress.seen("12");
        assert!(progress.ended(&broken(), &PACE, 0.5) <= PACE.reconnect);
        assert_eq!(progress.step(), Step::Watch("12".to_owned()));
    }

    #[test]
    fn a_stream_that_breaks_before_its_end_begins_again() {
        let mut progress = Progress::new();
        progress.seen("5");
        progress.ended(&broken(), &PACE, 0.5);
        assert_eq!(progress.step(), Step::Stream);
        assert_eq!(progress.version(), None);
    }

    #[test]
    fn a_server_that_cannot_stream_is_asked_for_pages_at_once() {
        let mut progress = Progress::new();
        assert_eq!(progress.ended(&refused(422), &PACE, 1.0), Duration::ZERO);
        assert_eq!(progress.step(), Step::Page(None));
        progress.ended(&End::Page("more".to_owned()), &PACE, 1.0);
        assert_eq!(progress.step(), Step::Page(Some("more".to_owned())));
        progress.ended(&broken(), &PACE, 1.0);
        assert_eq!(
            progress.step(),
            Step::Page(Some("more".to_owned())),
            "what was told need not be told again"
        );
        progress.ended(&End::Listed("20".to_owned()), &PACE, 1.0);
        assert_eq!(progress.step(), Step::Watch("20".to_owned()));
        assert_eq!(progress.failures(), 0);
    }

    #[test]
    fn a_list_that_expired_between_its_pages_begins_again() {
        let mut progress = Progress::new();
        progress.ended(&refused(400), &PACE, 1.0);
        progress.ended(&End::Page("more".to_owned()), &PACE, 1.0);
        progress.ended(&refused(410), &PACE, 1.0);
        assert_eq!(progress.step(), Step::Page(None));
    }

    #[test]
    fn a_version_that_is_too_old_is_answered_with_a_list_at_a_moment_of_chance() {
        let mut progress = Progress::resume("3".to_owned());
        assert_eq!(progress.ended(&refused(410), &PACE, 0.7), Duration::from_secs(7));
        assert_eq!(progress.step(), Step::Stream);
    }

    #[test]
    fn attempts_that_fail_become_seldom_and_success_forgets_them() {
        let mut progress = Progress::new();
        let waits: Vec<u64> = (0..8).map(|_| progress.ended(&broken(), &PACE, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        progress.listed("1");
        assert_eq!(progress.ended(&broken(), &PACE, 1.0).as_secs(), 1);
    }

    #[test]
    fn a_server_that_answers_again_is_asked_again_soon_however_long_it_was_away() {
        let mut progress = Progress::resume("3".to_owned());
        for _ in 0..20 {
            progress.ended(&broken(), &PACE, 1.0);
        }
        progress.reached();
        assert_eq!(progress.ended(&refused(503), &PACE, 1.0), PACE.reconnect);
    }

    #[test]
    fn a_proxy_that_ends_idle_watches_makes_no_quiet_kind_late() {
        let mut progress = Progress::resume("3".to_owned());
        for _ in 0..10 {
            progress.cut_short(PACE.retry_max, &PACE);
            assert!(progress.ended(&broken(), &PACE, 1.0) <= PACE.reconnect);
            assert_eq!(progress.failures(), 1, "once is no finding");
        }
        progress.cut_short(Duration::from_secs(1), &PACE);
        progress.ended(&broken(), &PACE, 1.0);
        assert_eq!(progress.failures(), 2, "one that ends at once is a failure");
    }

    #[test]
    fn a_server_whose_streams_never_tell_a_whole_list_is_asked_for_pages() {
        let mut progress = Progress::new();
        for end in [stalled(), broken()] {
            assert_eq!(progress.step(), Step::Stream);
            progress.cut_short(Duration::from_secs(150), &PACE);
            progress.ended(&end, &PACE, 1.0);
        }
        assert_eq!(progress.step(), Step::Page(None));
    }

    #[test]
    fn a_server_that_says_how_long_to_wait_is_believed_within_reason() {
        let busy =
            |after| End::Refused(Refusal { code: 429, retry_after: Some(after), ..Refusal::default() });
        let mut progress = Progress::new();
        assert_eq!(progress.ended(&busy(3), &PACE, 0.0), Duration::from_secs(3));
        assert_eq!(progress.ended(&busy(9999), &PACE, 1.0), Duration::from_secs(120));
    }

    #[test]
    fn a_watch_that_stalls_is_renewed_where_it_was() {
        let mut progress = Progress::resume("3".to_owned());
        for version in ["4", "5", "6"] {
            progress.seen(version);
            assert_eq!(progress.ended(&stalled(), &PACE, 1.0), PACE.reconnect);
            assert_eq!(progress.step(), Step::Watch(version.to_owned()));
        }
    }

    /// etcd was restored from a backup: what the server knows is older than what it is asked for.
    #[test]
    fn a_server_that_has_nothing_to_say_twice_is_asked_for_all_it_has() {
        let mut progress = Progress::resume("9000".to_owned());
        assert_eq!(progress.ended(&stalled(), &PACE, 1.0), PACE.reconnect);
        assert_eq!(progress.ended(&stalled(), &PACE, 1.0), PACE.relist);
        assert_eq!(progress.step(), Step::Stream);
    }

    #[test]
    fn a_watch_that_served_its_time_is_renewed_at_once() {
        let mut progress = Progress::resume("3".to_owned());
        assert_eq!(progress.ended(&End::Served, &PACE, 1.0), Duration::ZERO);
        assert_eq!(progress.step(), Step::Watch("3".to_owned()));
    }
}
