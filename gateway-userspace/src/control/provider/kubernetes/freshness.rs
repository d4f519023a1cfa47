//! How new what is known is: for each kind, whether it is followed, and since when it is not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::source::Source;

/// Shared between the provider, which notes, and those who show it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Freshness(Arc<Mutex<Kinds>>);

/// How a kind stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing is known yet.
    Unknown,
    /// The API server does not have the kind.
    Absent,
    /// Known from before a restart, and not yet compared with the API server.
    Saved,
    /// All is known, and changes come in.
    Following,
    /// All was known; no connection brings changes now.
    Cut,
}

/// What there is to say about one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindFreshness {
    /// `services`, `httproutes.gateway.networking.k8s.io`.
    pub kind: String,
    /// How it stands.
    pub standing: Standing,
    /// Objects that are known.
    pub objects: usize,
    /// How old what is known may be, seconds; absent where nothing is known.
    pub age_seconds: Option<f64>,
    /// Since the API server said anything about it, seconds.
    pub contact_seconds: Option<f64>,
    /// Why it is not followed.
    pub error: Option<String>,
    /// Lists that were complete.
    pub lists: u64,
    /// Watches that were opened.
    pub watches: u64,
    /// Events that came.
    pub events: u64,
    /// Bytes of lists and watches that came.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Kinds([Kind; Source::ALL.len()]);

#[derive(Debug, Default)]
struct Kind {
    known: Known,
    objects: usize,
    contact: Option<Instant>,
    error: Option<String>,
    lists: u64,
    watches: u64,
    events: u64,
    bytes: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum Known {
    #[default]
    Nothing,
    Absent,
    Saved(SystemTime),
    Following,
    Cut(Instant),
}

impl Freshness {
    /// All kinds at one moment.
    pub fn kinds(&self) -> Vec<KindFreshness> {
        self.kinds_at(Instant::now(), SystemTime::now())
    }

    /// Age of the oldest kind that is known, zero while all are followed. `None` before anything is.
    pub fn age(&self) -> Option<Duration> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        self.lock().0.iter().filter_map(|kind| kind.age(now, wall)).max()
    }

    fn kinds_at(&self, now: Instant, wall: SystemTime) -> Vec<KindFreshness> {
        let kinds = self.lock();
        let of = |(source, kind): (&Source, &Kind)| KindFreshness {
            kind: source.full_name(),
            standing: match kind.known {
                Known::Nothing => Standing::Unknown,
                Known::Absent => Standing::Absent,
                Known::Saved(_) => Standing::Saved,
                Known::Following => Standing::Following,
                Known::Cut(_) => Standing::Cut,
            },
            objects: kind.objects,
            age_seconds: kind.age(now, wall).map(|age| age.as_secs_f64()),
            contact_seconds: kind.contact.map(|at| now.saturating_duration_since(at).as_secs_f64()),
            error: kind.error.clone(),
            lists: kind.lists,
            watches: kind.watches,
            events: kind.events,
            bytes: kind.bytes,
        };
        Source::ALL.iter().zip(&kinds.0).map(of).collect()
    }

    /// Known from before a restart.
    pub(super) fn saved(&self, source: Source, at: SystemTime, objects: usize) {
        self.change(source, |kind| {
            kind.known = Known::Saved(at);
            kind.objects = objects;
        });
    }

    /// The API server does not have the kind.
    pub(super) fn absent(&self, source: Source) {
        self.change(source, |kind| {
            kind.known = Known::Absent;
            kind.objects = 0;
            kind.error = None;
        });
    }

    /// Bytes came, and events in them.
    pub(super) fn heard(&self, source: Source, bytes: usize, events: u64) {
        self.change(source, |kind| {
            kind.contact = Some(Instant::now());
            kind.bytes += bytes as u64;
            kind.events += events;
        });
    }

    /// A watch is open, and all that was there before is known.
    pub(super) fn following(&self, source: Source, objects: usize) {
        self.change(source, |kind| {
            kind.known = Known::Following;
            kind.objects = objects;
            kind.error = None;
        });
    }

    /// A list was complete.
    pub(super) fn listed(&self, source: Source) {
        self.change(source, |kind| kind.lists += 1);
    }

    /// A watch was opened.
    pub(super) fn watched(&self, source: Source) {
        self.change(source, |kind| kind.watches += 1);
    }

    /// How many objects there are now.
    pub(super) fn counted(&self, source: Source, objects: usize) {
        self.change(source, |kind| kind.objects = objects);
    }

    /// No watch is open any more. The time counts from when the API server last said something where
    /// `silent`, else from now.
    pub(super) fn cut(&self, source: Source, silent: bool) {
        self.change(source, |kind| {
            if matches!(kind.known, Known::Following) {
                let since = kind.contact.filter(|_| silent).unwrap_or_else(Instant::now);
                kind.known = Known::Cut(since);
            }
        });
    }

    /// Why it is not followed.
    pub(super) fn failed(&self, source: Source, error: String) {
        self.change(source, |kind| kind.error = Some(error));
    }

    fn change(&self, source: Source, change: impl FnOnce(&mut Kind)) {
        let index = Source::ALL.iter().position(|s| *s == source);
        if let Some(kind) = index.and_then(|index| self.lock().0.get_mut(index).map(change)) {
            kind
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn age(&self, now: Instant, wall: SystemTime) -> Option<Duration> {
        match self.known {
            Known::Nothing | Known::Absent => None,
            Known::Following => Some(Duration::ZERO),
            Known::Cut(since) => Some(now.saturating_duration_since(since)),
            // A clock that was set back makes it no older than it is new.
            Known::Saved(at) => Some(wall.duration_since(at).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_grows_while_the_server_is_silent_and_is_nothing_while_it_is_followed() {
        let freshness = Freshness::default();
        assert_eq!(freshness.age(), None);
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        freshness.saved(Source::Services, hour_ago, 3);
        assert!(freshness.age().unwrap() >= Duration::from_secs(3600));
        freshness.following(Source::Services, 3);
        assert_eq!(freshness.age(), Some(Duration::ZERO));
        freshness.cut(Source::Services, false);
        let later = Instant::now() + Duration::from_secs(60);
        let kinds = freshness.kinds_at(later, SystemTime::now());
        assert_eq!((kinds[0].standing, kinds[0].objects), (Standing::Cut, 3));
        assert!(kinds[0].age_seconds.unwrap() > 59.0);
    }

    #[test]
    fn a_clock_that_is_set_an_hour_makes_a_state_from_before_older_or_new_and_nothing_that_is_followed() {
        let freshness = Freshness::default();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let hour = Duration::from_secs(3600);
        let age = |wall| freshness.kinds_at(now, wall)[0].age_seconds.unwrap();
        freshness.saved(Source::Services, wall, 3);
        assert!((age(wall + hour) - 3600.0).abs() < 1.0);
        assert!(age(wall - hour).abs() < f64::EPSILON);
        freshness.following(Source::Services, 3);
        assert!(age(wall + hour).abs() < f64::EPSILON && age(wall - hour).abs() < f64::EPSILON);
        freshness.cut(Source::Services, false);
        assert!(age(wall + hour) < 60.0 && age(wall - hour) < 60.0, "by a clock that nobody sets");
    }

    #[test]
    fn a_kind_that_the_server_does_not_have_has_no_age() {
        let freshness = Freshness::default();
        for source in Source::ALL {
            freshness.absent(source);
        }
        assert_eq!(freshness.age(), None);
    }
}
