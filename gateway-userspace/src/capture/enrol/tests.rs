use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use super::*;
use crate::capture::Place;

/// Refuses everything, and must never be asked: no pod of these tests can be captured.
struct Unreachable;

impl Gateway for Unreachable {
    fn tag(&self, _: BorrowedFd<'_>) -> Result<(), String> {
        Err("not asked for".into())
    }
    fn serve(&self, pod: &Pod, _: &CapturedPod, _: PodSockets, _: &Netns) {
        panic!("{} was served", pod.key);
    }
    fn steer(&self, pod: &CapturedPod) -> Result<(), String> {
        panic!("{} was steered", pod.name);
    }
    fn release(&self, netns_cookie: u64) -> Result<(), String> {
        panic!("{netns_cookie} was released");
    }
    fn close(&self, pod: PodId) {
        panic!("{pod:?} was closed");
    }
    fn has_foreign_entries(&self) -> bool {
        false
    }
}

fn pod(name: &str, netns: &str) -> Pod {
    Pod {
        key: PodKey { namespace: "shop".into(), name: name.into() },
        uid: "".into(),
        labels: BTreeMap::new(),
        place: Place::At(netns.into()),
    }
}

fn enrolment() -> (Enrolment<Unreachable>, PodTable) {
    let table = PodTable::default();
    (Enrolment::new(Unreachable, table.clone(), 8), table)
}

#[test]
fn a_pod_in_the_hosts_network_is_refused_by_name() {
    let (mut enrolment, table) = enrolment();
    enrolment.apply(PodEvent::Added(pod("web", "/proc/self/ns/net")));
    let rows = table.rows();
    assert_eq!(rows[0].reason, Some("HostNetwork"));
    assert_eq!(table.counts(), (0, 1));
}

#[test]
fn a_pod_whose_namespace_is_not_there_yet_waits_and_can_be_taken_back() {
    let (mut enrolment, table) = enrolment();
    enrolment.apply(PodEvent::Added(pod("web", "/run/netns/not-made-yet")));
    enrolment.check();
    assert_eq!(table.rows()[0].reason, Some("NoNetNS"));
    enrolment.apply(PodEvent::Removed(pod("web", "").key));
    enrolment.check();
    assert!(table.rows().is_empty());
}
