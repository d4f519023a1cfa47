//! Where a request comes from, as an endpoint is told: by whom, and how often it has come already.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use gateway_tests::message::Message;
use gateway_tests::proxy::{DataPlane, Setup};
use gateway_tests::recorder::{Recorder, Reply};
use gateway_tests::wait::wait_for;
use gateway_userspace::proxy::http::headers::forwarded::TrustedProxies;
use gateway_userspace::reason::Reason;

use crate::fixture::free_port;
use crate::raw_client::RawClient;

const LONGEST: Duration = Duration::from_secs(10);

/// What proxies in front say of a request, and what its client invents.
const CLAIMS: &str = "X-Forwarded-For: 127.0.0.1, 203.0.113.9, 127.0.0.5\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: www.example\r\nX-Real-IP: 127.0.0.1\r\nX-Weir-Identity: admin\r\n";

/// The request as the endpoint gets it, for one with `fields`.
fn sent_on(recorder: &Recorder, address: SocketAddr, fields: &str) -> Message {
    recorder.clear().unwrap();
    let mut client = RawClient::connect(address);
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    let answer = client.response().unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    recorder.heard().unwrap()[0].requests[0].clone()
}

fn start(recorder: &Recorder, trusted: TrustedProxies) -> DataPlane {
    let endpoints = vec![recorder.address];
    DataPlane::start(Setup { trusted, endpoints, ..Setup::default() }).unwrap()
}

#[test]
fn a_trusted_proxy_says_where_a_request_comes_from_and_a_client_does_not() {
    let recorder = Recorder::start(|_| Reply::ok()).unwrap();
    let local = TrustedProxies { networks: vec!["127.0.0.0/8".parse().unwrap()], hops: 0 };
    let other = TrustedProxies { networks: vec!["192.0.2.0/24".parse().unwrap()], hops: 0 };
    let one_hop = TrustedProxies { networks: Vec::new(), hops: 1 };
    let from_client = ("127.0.0.1", "http", "h");
    for (trusted, wanted) in [
        (local, ("203.0.113.9, 127.0.0.5, 127.0.0.1", "https", "www.example")),
        (one_hop, ("127.0.0.5, 127.0.0.1", "https", "www.example")),
        (other, from_client),
        (TrustedProxies::default(), from_client),
    ] {
        let data_plane = start(&recorder, trusted.clone());
        let seen = sent_on(&recorder, data_plane.gateway, CLAIMS);
        let field = |name| seen.field(name).unwrap_or_default();
        let said = (field("x-forwarded-for"), field("x-forwarded-proto"), field("x-forwarded-host"));
        assert_eq!(said, wanted, "{trusted:?}");
        assert_eq!((seen.field("x-real-ip"), seen.field("x-weir-identity")), (None, None), "{seen:?}");
        let record = wait_for("the record", LONGEST, || data_plane.records().pop()).unwrap();
        let client = record.client.unwrap_or(record.downstream.ip()).to_string();
        assert_eq!(wanted.0.split(", ").next(), Some(&*client));
    }
}

#[test]
fn pods_tell_each_other_what_they_like_but_not_what_is_weirs_to_say() {
    let recorder = Recorder::start(|_| Reply::ok()).unwrap();
    let data_plane = start(&recorder, TrustedProxies::default());
    let seen = sent_on(&recorder, data_plane.pod, CLAIMS);
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1, 203.0.113.9, 127.0.0.5"));
    assert_eq!((seen.field("x-real-ip"), seen.field("x-weir-identity")), (Some("127.0.0.1"), None));
}

#[test]
fn a_request_id_that_is_long_or_odd_is_replaced() {
    let recorder = Recorder::start(|_| Reply::ok()).unwrap();
    let data_plane = start(&recorder, TrustedProxies::default());
    for (id, is_kept) in
        [("abc-1", true), (&*"a".repeat(20_000), false), ("a b", false), ("${jndi:x}", false)]
    {
        for address in [data_plane.gateway, data_plane.pod] {
            let seen = sent_on(&recorder, address, &format!("X-Request-Id: {id}\r\n"));
            let found = seen.field("x-request-id").unwrap();
            assert!(found.len() <= 128 && (found == id) == is_kept, "{found}");
        }
    }
}

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_is_an_ipv4_client() {
    let recorder = Recorder::start(|_| Reply::ok()).unwrap();
    let gateway = Some((Ipv6Addr::UNSPECIFIED, 0).into());
    let setup = Setup { gateway, endpoints: vec![recorder.address], ..Setup::default() };
    let data_plane = DataPlane::start(setup).unwrap();
    let port = data_plane.gateway.port();
    for (client, shown) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let seen = sent_on(&recorder, format!("{client}:{port}").parse().unwrap(), "");
        assert_eq!(seen.field("x-forwarded-for"), Some(shown));
        let record = wait_for("the record", LONGEST, || data_plane.records().pop()).unwrap();
        assert_eq!(record.downstream.ip().to_string(), shown);
    }
}

#[test]
fn a_request_that_comes_back_to_the_gateway_is_refused_after_three_times() {
    let gateway: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let setup = Setup { gateway: Some(gateway), endpoints: vec![gateway], ..Setup::default() };
    let data_plane = DataPlane::start(setup).unwrap();
    for address in [gateway, data_plane.pod] {
        let mut client = RawClient::connect(address);
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, x-weir-passes\r\n\r\n");
        let answer = client.response().unwrap();
        assert_eq!(answer.status(), 508, "{answer:?}");
        assert!(answer.field("proxy-status").unwrap().contains("loop"), "{answer:?}");
    }
    let in_all = 4 + 5;
    let mut records = Vec::new();
    wait_for("all passes are recorded", LONGEST, || {
        records.append(&mut data_plane.records());
        (records.len() >= in_all).then_some(())
    })
    .unwrap();
    let refused = records.iter().filter(|record| record.reason == Some(Reason::Loop)).count();
    assert_eq!((records.len(), refused), (in_all, 2));
}
