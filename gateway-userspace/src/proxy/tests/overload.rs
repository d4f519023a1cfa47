//! When there is too much of everything: what is refused, and how.

use ::http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::{Speaks, serve, text};
use super::client::{Http2, within};
use super::*;
use crate::snapshot::circuit::CircuitLimit;

/// All the memory there is, percent.
const ALL: usize = 100;

#[tokio::test]
async fn without_memory_requests_are_refused_and_those_in_flight_are_not() {
    let (answer_now, _) = tokio::sync::watch::channel(false);
    let told = answer_now.clone();
    let backend = serve(Speaks::Http1, move |request| {
        let mut told = told.subscribe();
        async move {
            if request.uri().path() == "/slow" {
                told.wait_for(|now| *now).await.unwrap();
            }
            Response::new(text("a"))
        }
    })
    .await;
    let world = World::new();
    let cluster = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let kind = ListenerKind::Http(router(vec![("/", rule(0, vec![backend_ref(&cluster)]))]));
    let gateway = world.gateway(kind, vec![cluster]);
    let mut client = Http2::connect(gateway).await;
    assert_eq!(client.get("/").await.status, 200);
    let mut other = client.clone();
    let slow = tokio::spawn(async move { other.get("/slow").await });
    within(async {
        while backend.requests() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    world.memory.set(ALL);
    let refused = within(async {
        loop {
            let answer = client.get("/").await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    assert!(refused.proxy_status().contains("overload"), "{refused:?}");

    world.memory.set(0);
    within(async { while client.get("/").await.status != 200 {} }).await;
    answer_now.send_replace(true);
    assert_eq!(slow.await.unwrap().status, 200);
}

#[tokio::test]
async fn while_memory_is_short_idle_connections_are_given_up_and_no_new_ones_taken() {
    let backend = serve(Speaks::Http1, |_| async { Response::new(text("a")) }).await;
    let world = World::new();
    let cluster = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let kind = ListenerKind::Http(router(vec![("/", rule(0, vec![backend_ref(&cluster)]))]));
    let gateway = world.gateway(kind, vec![cluster]);
    let mut idle = TcpStream::connect(gateway).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    within(idle.readable()).await.unwrap();
    world.memory.set(ALL);
    // It is idle from the answer on, and memory is looked at for as long as there are requests.
    let _ = within(idle.read_to_end(&mut Vec::new())).await;
    assert_eq!(world.rejected().await, Reason::Overload);
    // Refused as it connects, or as soon as it has.
    if let Ok(mut refused) = TcpStream::connect(gateway).await {
        let mut answer = Vec::new();
        let _ = within(refused.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
    }
    world.memory.set(0);
    within(async { while client::get(gateway, "/").await.status != 200 {} }).await;
}

#[tokio::test]
async fn a_service_has_no_more_in_flight_than_it_asks_for() {
    let (answer_now, _) = tokio::sync::watch::channel(false);
    let told = answer_now.clone();
    let backend = serve(Speaks::Http1, move |_| {
        let mut told = told.subscribe();
        async move {
            told.wait_for(|now| *now).await.unwrap();
            Response::new(text("a"))
        }
    })
    .await;
    let world = World::new();
    let limited = Arc::into_inner(cluster(0, UpstreamProtocol::Http, &[backend.address])).unwrap();
    let limited = Arc::new(Cluster { circuit: Some(Arc::new(CircuitLimit::new(2))), ..limited });
    let kind = ListenerKind::Http(router(vec![("/", rule(0, vec![backend_ref(&limited)]))]));
    let gateway = world.gateway(kind, vec![limited]);
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(client::get(gateway, "/"))).collect();
    within(async {
        while backend.requests() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = client::get(gateway, "/").await;
    assert_eq!(refused.status, 503);
    assert!(refused.proxy_status().contains("overflow"), "{refused:?}");
    assert_eq!(world.record().await.cluster, Some(ClusterId(0)));
    answer_now.send_replace(true);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    within(async { while client::get(gateway, "/").await.status != 200 {} }).await;
}
