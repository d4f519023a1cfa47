//! From snapshots to what the kernel shall know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{KernelService, KernelTables, KernelTablesChange};
use crate::snapshot::Snapshot;
use crate::snapshot::cluster::{
    BalancePolicy, Cluster, ClusterId, ClusterKey, Endpoint, EndpointSet, UpstreamProtocol,
};
use crate::snapshot::frontend::{FailPolicy, Frontend, FrontendTable, Mode, PortProtocol};
use crate::snapshot::store::EndpointSlot;

fn endpoint(address: &str) -> Endpoint {
    Endpoint::at(address.parse().unwrap())
}

fn cluster(endpoints: Vec<Endpoint>) -> Arc<Cluster> {
    Arc::new(Cluster {
        key: ClusterKey { namespace: "shop".into(), service: "cart".into(), port: 80 },
        id: ClusterId(7),
        protocol: UpstreamProtocol::Http,
        balance: BalancePolicy::LeastRequest,
        affinity: None,
        circuit: None,
        connect_timeout: Duration::from_secs(1),
        endpoints: Arc::new(EndpointSlot::new(EndpointSet { endpoints, ..EndpointSet::default() })),
    })
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn a_dual_stack_service_gets_an_entry_per_address_with_the_endpoints_of_its_family() {
    let cluster =
        cluster(vec![endpoint("10.1.0.2:8080"), endpoint("[fd00::2]:8080"), endpoint("10.1.0.1:8080")]);
    let frontend = Frontend {
        key: cluster.key.clone(),
        addresses: vec!["10.96.0.9".parse().unwrap(), "fd96::9".parse().unwrap()],
        protocol: PortProtocol::Http,
        mode: Mode::L7,
        fail_policy: FailPolicy::Closed,
        routes: None,
        cluster,
    };
    let snapshot = Snapshot { frontends: [Arc::new(frontend)].into_iter().collect(), ..Snapshot::default() };
    let tables = KernelTables::from_snapshot(&snapshot);
    let v4 = &tables.entries[&"10.96.0.9:80".parse().unwrap()];
    assert_eq!(v4.endpoints, addresses(&["10.1.0.1:8080", "10.1.0.2:8080"]));
    assert_eq!((v4.id, v4.mode, v4.fail_policy), (ClusterId(7), Mode::L7, FailPolicy::Closed));
    let v6 = &tables.entries[&"[fd96::9]:80".parse().unwrap()];
    assert_eq!(v6.endpoints, addresses(&["[fd00::2]:8080"]));
    assert_eq!(tables.entries.len(), 2);
}

#[test]
fn an_endpoint_that_ends_or_has_no_weight_takes_no_new_traffic() {
    let ending = Endpoint { terminating: true, ready: false, ..endpoint("10.1.0.3:80") };
    let weightless = Endpoint { weight: 0, ..endpoint("10.1.0.4:80") };
    let service = KernelService::from_cluster(&cluster(vec![endpoint("10.1.0.1:80"), ending, weightless]));
    assert_eq!(service.endpoints, addresses(&["10.1.0.1:80"]));
}

#[test]
fn endpoints_that_end_but_serve_are_the_last_resort() {
    let ending = Endpoint { terminating: true, ready: false, ..endpoint("10.1.0.3:80") };
    let failed = Endpoint { terminating: true, ready: false, serving: false, ..endpoint("10.1.0.4:80") };
    let service = KernelService::from_cluster(&cluster(vec![ending, failed]));
    assert_eq!(service.endpoints, addresses(&["10.1.0.3:80"]));
}

#[test]
fn an_endpoint_of_more_weight_has_more_places_and_no_weight_makes_the_table_large() {
    let heavy = Endpoint { weight: 20, ..endpoint("10.1.0.3:80") };
    let light = Endpoint { weight: 10, ..endpoint("10.1.0.1:80") };
    let service = KernelService::from_cluster(&cluster(vec![light.clone(), heavy]));
    assert_eq!(service.endpoints, addresses(&["10.1.0.1:80", "10.1.0.3:80", "10.1.0.3:80"]));
    let huge = Endpoint { weight: 99_999, ..endpoint("10.1.0.3:80") };
    let service = KernelService::from_cluster(&cluster(vec![light, huge]));
    assert_eq!(service.endpoints.iter().filter(|a| a.to_string() == "10.1.0.1:80").count(), 1);
    assert!((100..=130).contains(&service.endpoints.len()), "{}", service.endpoints.len());
}

#[test]
fn the_kernel_has_near_endpoints_only_and_those_of_the_node_where_the_service_says_so() {
    let far = Endpoint { preferred: false, ..endpoint("10.1.0.2:80") };
    let near = cluster(vec![endpoint("10.1.0.1:80"), far]);
    assert_eq!(KernelService::from_cluster(&near).endpoints, addresses(&["10.1.0.1:80"]));
    let here = Endpoint { local: true, ..endpoint("10.1.0.2:80") };
    let local = cluster(vec![endpoint("10.1.0.1:80"), here]);
    let set = EndpointSet { local_only: true, ..EndpointSet::clone(&local.endpoints.load()) };
    local.endpoints.publish(Arc::new(set));
    assert_eq!(KernelService::from_cluster(&local).endpoints, addresses(&["10.1.0.2:80"]));
}

fn frontend(service: u8, ips: &[&str], mode: Mode) -> Arc<Frontend> {
    let key = ClusterKey { namespace: "n".into(), service: format!("s{service}").into(), port: 80 };
    Arc::new(Frontend {
        key,
        addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        protocol: PortProtocol::Http,
        mode,
        fail_policy: FailPolicy::Open,
        routes: None,
        cluster: cluster(vec![endpoint("10.1.0.1:8080")]),
    })
}

/// Services by number, each with another address; as control makes them, no address comes twice.
fn any_frontends() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    prop::collection::vec((0u8..6, 1u8..8, any::<bool>()), 0..6)
}

fn follow(table: &mut FrontendTable, frontends: &[(u8, u8, bool)]) {
    for (service, ip, l4) in frontends {
        let mode = if *l4 { Mode::L4 } else { Mode::L7 };
        let new = frontend(*service, &[&format!("10.96.0.{ip}")], mode);
        let others: Vec<_> = table.iter().map(|f| (f.key.clone(), f.addresses.clone())).collect();
        for (key, _) in others.iter().filter(|(key, ips)| *key == new.key || *ips == new.addresses) {
            table.remove(key);
        }
        table.insert(new);
    }
}

proptest! {
    #[test]
    fn the_difference_between_two_snapshots_leads_from_one_to_the_other(
        before in any_frontends(), after in any_frontends(), gone in 0u8..6,
    ) {
        let mut frontends = FrontendTable::default();
        follow(&mut frontends, &before);
        let old = Snapshot { frontends: frontends.clone(), ..Snapshot::default() };
        follow(&mut frontends, &after);
        frontends.remove(&frontend(gone, &[], Mode::L7).key);
        let new = Snapshot { frontends, ..Snapshot::default() };
        let change = KernelTablesChange::between(&old, &new);
        let mut tables = KernelTables::from_snapshot(&old);
        tables.entries.retain(|address, _| !change.gone.contains(address));
        tables.entries.extend(change.tables.entries);
        prop_assert_eq!(tables, KernelTables::from_snapshot(&new));
    }
}

#[test]
fn an_address_written_in_two_ways_stays_while_one_of_them_does() {
    let mut frontends: FrontendTable =
        [frontend(1, &["10.96.0.1"], Mode::L7), frontend(2, &["::ffff:10.96.0.1"], Mode::L4)]
            .into_iter()
            .collect();
    let old = Snapshot { frontends: frontends.clone(), ..Snapshot::default() };
    frontends.remove(&frontend(1, &[], Mode::L7).key);
    let new = Snapshot { frontends, ..Snapshot::default() };
    let change = KernelTablesChange::between(&old, &new);
    assert!(change.gone.is_empty(), "{change:?}");
    assert_eq!(change.tables, KernelTables::from_snapshot(&new));
}
