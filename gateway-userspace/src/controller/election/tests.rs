//! Elections among replicas with slow, lost and late requests: never two leaders, and soon one again.

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    lease: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

fn record(version: &str, holder: &str) -> Record {
    Record { version: version.into(), holder: holder.into(), lease: TERMS.lease, transitions: 3 }
}

#[test]
fn a_record_of_another_is_taken_once_it_has_rested_for_the_lease() {
    let start = Instant::now();
    let mut election = Election::new("b", TERMS);
    assert_eq!(election.read(Some(record("1", "a")), start), Step::Wait);
    let early = start + TERMS.lease - Duration::from_millis(1);
    assert_eq!(election.read(Some(record("1", "a")), early), Step::Wait);
    let take = Step::Take { version: "1".into(), transitions: 4 };
    assert_eq!(election.read(Some(record("1", "a")), start + TERMS.lease), take);
    assert_eq!(election.read(Some(record("2", "a")), start + TERMS.lease), Step::Wait, "it was renewed");
    assert!(!election.is_leader(start));
}

#[test]
fn a_record_that_was_given_back_is_taken_at_once_and_a_missing_one_is_made() {
    let now = Instant::now();
    let mut election = Election::new("b", TERMS);
    assert_eq!(election.read(None, now), Step::Create);
    let take = Step::Take { version: "7".into(), transitions: 4 };
    assert_eq!(election.read(Some(record("7", "")), now), take);
}

#[test]
fn a_leader_that_cannot_renew_stops_before_anyone_else_begins() {
    let start = Instant::now();
    let mut election = Election::new("a", TERMS);
    election.wrote(record("1", "a"), start);
    assert!(election.is_leader(start + TERMS.renew_deadline - Duration::from_millis(1)));
    assert!(!election.is_leader(start + TERMS.renew_deadline));
    let later = start + TERMS.renew_deadline;
    let renew = Step::Renew { version: "1".into(), transitions: 3 };
    assert_eq!(election.read(Some(record("1", "a")), later), renew, "it may come back");
}

#[test]
fn one_that_started_again_under_its_old_name_is_no_leader_before_it_has_written() {
    let now = Instant::now();
    let mut election = Election::new("a", TERMS);
    assert!(matches!(election.read(Some(record("1", "a")), now), Step::Renew { .. }));
    assert!(!election.is_leader(now));
}

#[test]
fn who_resigns_gives_back_what_is_its_own() {
    let now = Instant::now();
    let mut election = Election::new("a", TERMS);
    assert_eq!(election.resign(), None);
    election.wrote(record("1", "a"), now);
    assert_eq!(election.resign(), Some(record("1", "a")));
    assert!(!election.is_leader(now));
}

/// Milliseconds of the simulation's true time.
type Millis = u64;

/// What happens to one round of one replica.
#[derive(Debug, Clone)]
struct Round {
    /// From asking to the answer of the read.
    read: Millis,
    /// From sending a write to its effect.
    to_effect: Millis,
    /// From its effect to the answer.
    to_answer: Millis,
    /// The write has its effect, and the answer never comes.
    answer_lost: bool,
    /// The write never arrives.
    write_lost: bool,
    /// The process stands still afterwards.
    pause: Millis,
    /// It gives up its post afterwards.
    resigns: bool,
}

fn round() -> impl Strategy<Value = Round> {
    let delay = prop_oneof![8 => 0u64..200, 1 => 0u64..9_000];
    (
        delay.clone(),
        delay.clone(),
        delay,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        pause(),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(read, to_effect, to_answer, answer_lost, write_lost, pause, resigns)| Round {
            read,
            to_effect,
            to_answer,
            answer_lost,
            write_lost,
            pause,
            resigns,
        })
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![20 => Just(0u64), 1 => 0u64..60_000]
}

/// A step of a replica that is due.
#[derive(Debug, Clone)]
enum Due {
    Ask,
    Read { found: Option<Record>, round: Round },
    Effect { step: Step, sent: Instant, round: Round },
    Answer { written: Option<Record>, sent: Instant, round: Round },
}

struct World {
    /// When the simulation began, on each replica's clock: hours apart.
    origins: Vec<Instant>,
    elections: Vec<Election>,
    record: Option<Record>,
    versions: u64,
    due: Vec<(Millis, usize, Due)>,
    rounds: Vec<Round>,
}

impl World {
    fn clock(&self, replica: usize, now: Millis) -> Instant {
        self.origins[replica] + Duration::from_millis(now)
    }

    fn write(&mut self, replica: usize, step: &Step) -> Option<Record> {
        let current = self.record.as_ref().map(|r| r.version.clone());
        let transitions = match step {
            Step::Create if current.is_none() => 0,
            Step::Take { version, transitions } | Step::Renew { version, transitions }
                if current.as_ref() == Some(version) =>
            {
                *transitions
            }
            _ => return None,
        };
        self.versions += 1;
        let holder = self.elections[replica].identity().to_owned();
        let version = self.versions.to_string();
        self.record = Some(Record { version, holder, lease: TERMS.lease, transitions });
        self.record.clone()
    }

    fn ask_again(&mut self, replica: usize, now: Millis, round: &Round) {
        if round.resigns
            && let Some(own) = self.elections[replica].resign()
            && self.record.as_ref() == Some(&own)
        {
            self.versions += 1;
            let version = self.versions.to_string();
            self.record = Some(Record { version, holder: String::new(), ..own });
        }
        let retry = u64::try_from(TERMS.retry.as_millis()).unwrap_or(u64::MAX);
        self.due.push((now + retry + round.pause, replica, Due::Ask));
    }

    fn act(&mut self, now: Millis, replica: usize, due: Due) {
        let clock = self.clock(replica, now);
        match due {
            Due::Ask => {
                let Some(round) = self.rounds.pop() else { return };
                let found = self.record.clone();
                self.due.push((now + round.read, replica, Due::Read { found, round }));
            }
            Due::Read { found, round } => match self.elections[replica].read(found, clock) {
                Step::Wait => self.ask_again(replica, now, &round),
                step => {
                    let effect = Due::Effect { step, sent: clock, round: round.clone() };
                    self.due.push((now + round.to_effect, replica, effect));
                }
            },
            Due::Effect { step, sent, round } => {
                let written = if round.write_lost { None } else { self.write(replica, &step) };
                let written = written.filter(|_| !round.answer_lost);
                let answer = Due::Answer { written, sent, round: round.clone() };
                self.due.push((now + round.to_answer, replica, answer));
            }
            Due::Answer { written, sent, round } => {
                if let Some(record) = written {
                    self.elections[replica].wrote(record, sent);
                }
                self.ask_again(replica, now, &round);
            }
        }
    }

    fn leaders(&self, now: Millis) -> Vec<usize> {
        let replicas = 0..self.elections.len();
        replicas.filter(|r| self.elections[*r].is_leader(self.clock(*r, now))).collect()
    }
}

fn world(rounds: Vec<Round>) -> World {
    let start = Instant::now() + Duration::from_secs(10_000);
    let hour = Duration::from_secs(3600);
    let origins = vec![start, start + hour, start + hour * 2];
    let elections = ["a", "b", "c"].map(|name| Election::new(name, TERMS)).into();
    let due = (0..3).map(|replica| (replica as u64 * 50, replica, Due::Ask)).collect();
    World { origins, elections, record: None, versions: 0, due, rounds }
}

proptest! {
    #[test]
    fn there_are_never_two_leaders(rounds in prop::collection::vec(round(), 1..200)) {
        let mut world = world(rounds);
        while let Some(next) = (0..world.due.len()).min_by_key(|i| world.due[*i].0) {
            let (now, replica, due) = world.due.swap_remove(next);
            world.act(now, replica, due);
            let leaders = world.leaders(now);
            prop_assert!(leaders.len() <= 1, "at {now} ms: {leaders:?}");
        }
    }

    #[test]
    fn when_all_goes_well_there_is_a_leader_within_a_lease_and_two_looks(rounds in prop::collection::vec(round(), 0..60)) {
        let mut world = world(rounds);
        let mut trouble_until = 0;
        while let Some(next) = (0..world.due.len()).min_by_key(|i| world.due[*i].0) {
            let (now, replica, due) = world.due.swap_remove(next);
            world.act(now, replica, due);
            trouble_until = now;
        }
        let calm = Round { read: 5, to_effect: 5, to_answer: 5, answer_lost: false, write_lost: false, pause: 0, resigns: false };
        world.rounds = vec![calm; 200];
        world.due = (0..3).map(|replica| (trouble_until, replica, Due::Ask)).collect();
        let end = trouble_until + 15_000 + 2 * 2_015;
        while let Some(next) = (0..world.due.len()).min_by_key(|i| world.due[*i].0).filter(|i| world.due[*i].0 <= end) {
            let (now, replica, due) = world.due.swap_remove(next);
            world.act(now, replica, due);
        }
        prop_assert_eq!(world.leaders(end).len(), 1);
    }
}
