//! Pods come and go, and nothing of them stays.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_tests::namespaces::{Namespaces, turn};
use gateway_tests::pod_process::PodProcess;
use gateway_tests::wait::wait_for;
use gateway_userspace::capture::enrol::{Enrolment, Gateway};
use gateway_userspace::capture::locate::{Locator, NodePaths, Sighting};
use gateway_userspace::capture::netns::{Netns, PodSockets, stream_socket};
use gateway_userspace::capture::pod_table::{CapturedPod, PodTable};
use gateway_userspace::capture::{Place, Pod, PodEvent, PodKey};
use gateway_userspace::telemetry::record::PodId;

const MANY: usize = 500;

const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

const SOON: Duration = Duration::from_secs(30);

/// Workers and kernel in one: holds what they would hold, and notes the order of things.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Recorded>>);

#[derive(Default)]
struct Recorded {
    serving: BTreeMap<PodId, (PodSockets, Arc<OwnedFd>)>,
    steered: BTreeMap<u64, CapturedPod>,
    events: Vec<&'static str>,
    has_foreign_entries: bool,
}

impl Recorder {
    fn note(&self, event: &'static str) {
        self.0.borrow_mut().events.push(event);
    }
}

impl Gateway for Recorder {
    fn has_foreign_entries(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().has_foreign_entries)
    }

    fn tag(&self, _: BorrowedFd<'_>) -> Result<(), String> {
        self.note("tag");
        Ok(())
    }

    fn serve(&self, _: &Pod, captured: &CapturedPod, sockets: PodSockets, netns: &Netns) {
        self.note("serve");
        self.0.borrow_mut().serving.insert(captured.id, (sockets, netns.file()));
    }

    fn steer(&self, captured: &CapturedPod) -> Result<(), String> {
        self.note("steer");
        self.0.borrow_mut().steered.insert(captured.netns_cookie, captured.clone());
        Ok(())
    }

    fn release(&self, netns_cookie: u64) -> Result<(), String> {
        self.note("release");
        self.0.borrow_mut().steered.remove(&netns_cookie);
        Ok(())
    }

    fn close(&self, pod: PodId) {
        self.note("close");
        self.0.borrow_mut().serving.remove(&pod);
    }
}

fn pod(n: usize, netns: &Path) -> Pod {
    Pod {
        key: PodKey { namespace: "test".into(), name: format!("pod-{n}").into() },
        labels: BTreeMap::new(),
        uid: "".into(),
        place: Place::At(netns.to_path_buf()),
    }
}

fn enrolment() -> (Enrolment<Recorder>, Recorder, PodTable) {
    let (recorder, table) = (Recorder::default(), PodTable::default());
    (Enrolment::new(recorder.clone(), table.clone(), MANY), recorder, table)
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn five_hundred_pods_come_and_go_and_nothing_of_them_stays() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("many", MANY);
    let (mut enrolment, recorder, table) = enrolment();
    // The thread's own namespace is opened once and stays open.
    Netns::open(&namespaces.paths()[0]).unwrap().cookie().unwrap();
    let files = open_files();
    for (n, path) in namespaces.paths().iter().enumerate() {
        enrolment.apply(PodEvent::Added(pod(n, path)));
    }
    assert_eq!(table.counts(), (MANY, MANY), "{:?}", table.rows().iter().find_map(|r| r.message.clone()));
    // Half are taken back in order, half have their namespace deleted under us.
    for (n, path) in namespaces.paths().iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        enrolment.apply(PodEvent::Removed(pod(n, path).key));
    }
    namespaces.delete();
    assert!(namespaces.living() >= MANY / 2, "a captured pod's namespace is held until the check");
    enrolment.check();
    namespaces.wait_living(0);
    assert_eq!(open_files(), files);
    assert_eq!(table.counts(), (0, MANY / 2));
    assert!(recorder.0.borrow().serving.is_empty() && recorder.0.borrow().steered.is_empty());
}

#[test]
fn a_pod_is_steered_last_and_released_first() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("order", 1);
    let (mut enrolment, recorder, _) = enrolment();
    let one = pod(0, &namespaces.paths()[0]);
    enrolment.apply(PodEvent::Added(one.clone()));
    enrolment.apply(PodEvent::Removed(one.key));
    let events: Vec<_> = recorder.0.borrow().events.iter().copied().filter(|e| *e != "tag").collect();
    assert_eq!(events, ["serve", "steer", "release", "close"]);
}

#[test]
fn a_pod_whose_entry_another_process_has_written_meanwhile_is_steered_again_once() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("again", 1);
    let (mut enrolment, recorder, _) = enrolment();
    enrolment.apply(PodEvent::Added(pod(0, &namespaces.paths()[0])));
    let captured = std::mem::take(&mut recorder.0.borrow_mut().steered);
    recorder.0.borrow_mut().has_foreign_entries = true;
    enrolment.check();
    enrolment.check();
    assert_eq!(recorder.0.borrow().steered, captured);
    assert_eq!(recorder.0.borrow().events, ["tag", "tag", "serve", "steer", "steer"]);
}

#[test]
fn a_pod_whose_container_is_started_again_stays_captured_where_its_sandbox_has_no_process() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("between", 1);
    let paths = namespaces.paths();
    let netns = Some(paths[0].as_path());
    let node = NodePaths { proc: "/proc".into(), cgroups: "/sys/fs/cgroup".into() };
    let (locator, mut sightings) = Locator::start(node).unwrap();
    let (mut enrolment, recorder, table) = enrolment();
    let mut found_by = |process: &PodProcess| {
        let sighting = wait_for("the pod is found", SOON, || sightings.try_recv().ok()).unwrap();
        let Sighting::Found(_, Place::Open { path, netns }) = sighting else { panic!("{sighting:?}") };
        assert_eq!(path, PathBuf::from(format!("/proc/{}/ns/net", process.id())));
        let place = Place::Open { path, netns };
        enrolment.apply(PodEvent::Added(Pod { uid: UID.into(), place, ..pod(0, Path::new("")) }));
    };
    locator.want(UID);
    let first = PodProcess::start(UID, netns).unwrap();
    found_by(&first);
    drop(first);
    found_by(&PodProcess::start(UID, netns).unwrap());
    assert_eq!(table.counts(), (1, 1));
    assert!(!recorder.0.borrow().events.contains(&"release"));
}

#[test]
fn a_pods_listeners_can_be_reached_from_inside_it_and_from_nowhere_else() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("reach", 2);
    let (mut enrolment, _, table) = enrolment();
    let paths = namespaces.paths();
    enrolment.apply(PodEvent::Added(pod(0, &paths[0])));
    let captured = table.captured("test/pod-0").unwrap();
    assert_eq!(captured.addresses.v4, Some(Ipv4Addr::new(10, 64, 0, 1)));
    let dial = |netns: Option<&Netns>, address: IpAddr, port: u16| {
        let file = netns.map(Netns::file);
        let domain = socket2::Domain::for_address((address, port).into());
        let socket = stream_socket(file.as_ref().map(std::os::fd::AsFd::as_fd), domain).unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.connect(&std::net::SocketAddr::new(address, port).into())
    };
    let [own, other] = [&paths[0], &paths[1]].map(|p| Netns::open(p).unwrap());
    let v4 = captured.ports.v4;
    dial(Some(&own), Ipv4Addr::LOCALHOST.into(), v4).unwrap();
    if let Some(v6) = captured.ports.v6 {
        dial(Some(&own), std::net::Ipv6Addr::LOCALHOST.into(), v6).unwrap();
    }
    assert!(dial(Some(&own), Ipv4Addr::new(10, 64, 0, 1).into(), v4).is_err());
    assert!(dial(Some(&other), Ipv4Addr::LOCALHOST.into(), v4).is_err());
    assert!(dial(None, Ipv4Addr::LOCALHOST.into(), v4).is_err());
}

#[test]
fn a_pod_that_is_not_ready_yet_is_captured_when_it_is() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("later", 1);
    let path = namespaces.paths()[0].clone();
    let (mut enrolment, recorder, table) = enrolment();
    namespaces.loopback(0, "down");
    enrolment.apply(PodEvent::Added(pod(0, &path)));
    assert_eq!(table.rows()[0].reason, Some("LoopbackDown"));
    assert!(recorder.0.borrow().serving.is_empty());
    namespaces.loopback(0, "up");
    enrolment.check();
    assert_eq!(table.counts(), (1, 1));
}

#[test]
fn a_second_pod_with_the_same_namespace_is_refused_by_name() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("shared", 1);
    let path = namespaces.paths()[0].clone();
    let (mut enrolment, _, table) = enrolment();
    enrolment.apply(PodEvent::Added(pod(0, &path)));
    enrolment.apply(PodEvent::Added(pod(1, &path)));
    let row = &table.rows()[1];
    assert_eq!(row.reason, Some("SharedNetNS"));
    assert!(row.message.as_ref().unwrap().contains("test/pod-0"), "{row:?}");
}

#[test]
fn an_upstream_socket_of_a_pod_costs_little_more_than_any_other() {
    let Some(_turn) = turn() else { return };
    let namespaces = Namespaces::make("cost", 1);
    let netns = Netns::open(&namespaces.paths()[0]).unwrap();
    let file = netns.file();
    let rounds = 2000;
    let measure = |netns: Option<BorrowedFd<'_>>| {
        let start = Instant::now();
        for _ in 0..rounds {
            stream_socket(netns, socket2::Domain::IPV4).unwrap();
        }
        start.elapsed() / rounds
    };
    let (at_home, in_pod) = (measure(None), measure(Some(std::os::fd::AsFd::as_fd(&file))));
    eprintln!("a socket takes {at_home:?} at home and {in_pod:?} in a pod's namespace");
}
