//! Endpoints that fail: what is repeated, what is not, and who is taken out.

use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::{self, Speaks, named, serve, text};
use super::client::{Http1, Http2, body, get, within};
use super::*;

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    let fine = named(Speaks::Http1, "fine").await;
    let refusing = Refusing::new();
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[refusing.address(), fine.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let mut client = Http1::connect(pod).await;
    for _ in 0..20 {
        let request = Request::post("/").header("host", "h").body(body("order")).unwrap();
        assert_eq!(client.send(request).await.unwrap().text(), "fine");
    }
    assert_eq!(fine.requests(), 20);
    let events = world.drained().await;
    let retried = events.iter().filter(|e| matches!(e, Event::Retried)).count();
    let ejected: Vec<_> = events.iter().filter(|e| matches!(e, Event::Ejected(_))).collect();
    assert!(matches!(ejected[..], [Event::Ejected(Reason::ConnectRefused)]), "{ejected:?}");
    assert_eq!(retried, 3, "an ejected endpoint is not tried");
}

#[tokio::test]
async fn all_endpoints_refusing_is_a_503_that_says_so() {
    let refusing = [Refusing::new(), Refusing::new()];
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[refusing[0].address(), refusing[1].address()]);
    let pod = world.service(PortProtocol::Http, &target);
    let refused = get(pod, "/").await;
    assert_eq!(refused.status.as_u16(), 503);
    assert!(refused.proxy_status().contains("connect_refused"), "{}", refused.proxy_status());
    assert_eq!(world.record().await.attempts, 3);
}

/// Answers `count` requests on a connection, then closes it.
async fn closing_after(count: usize) -> backend::Backend {
    backend::accept(move |mut stream| async move {
        let mut buffer = [0; 4096];
        for _ in 0..count {
            if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_backend_that_closes_kept_connections_costs_no_request() {
    let backend = closing_after(1).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let mut client = Http1::connect(pod).await;
    for _ in 0..200 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_backend_killed_under_load_costs_no_idempotent_request() {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(named(Speaks::Http1, "fine").await);
    }
    let addresses: Vec<_> = replicas.iter().map(|r| r.address).collect();
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &addresses));
    let mut load = tokio::task::JoinSet::new();
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..8 {
        let sent = Arc::clone(&sent);
        load.spawn(async move {
            let mut client = Http1::connect(pod).await;
            for _ in 0..100 {
                assert_eq!(client.get("/").await.text(), "fine");
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    within(async {
        while sent.load(Ordering::SeqCst) < 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    replicas.pop();
    load.join_all().await;
    assert_eq!(sent.load(Ordering::SeqCst), 800);
}

#[tokio::test]
async fn endpoints_that_are_removed_under_load_cost_no_request() {
    let (a, b) = (named(Speaks::Http1, "a").await, named(Speaks::Http1, "b").await);
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[a.address, b.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        load.spawn(async move {
            let mut client = Http1::connect(pod).await;
            for _ in 0..100 {
                let request = Request::post("/").header("host", "h").body(body("x")).unwrap();
                assert_eq!(client.send(request).await.unwrap().status, StatusCode::OK);
            }
        });
    }
    for i in 0..50 {
        let now = if i % 2 == 0 { vec![a.address] } else { vec![a.address, b.address] };
        target.endpoints.publish(Arc::new(endpoints(&now)));
        tokio::task::yield_now().await;
    }
    target.endpoints.publish(Arc::new(endpoints(&[a.address])));
    load.join_all().await;
    let before = b.requests();
    for _ in 0..20 {
        assert_eq!(get(pod, "/").await.text(), "a");
    }
    assert_eq!(b.requests(), before);
}

#[tokio::test]
async fn idle_connections_to_an_endpoint_that_went_are_closed() {
    let (a, b) = (named(Speaks::Http1, "a").await, named(Speaks::Http1, "b").await);
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[a.address, b.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let mut client = Http1::connect(pod).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    target.endpoints.publish(Arc::new(endpoints(&[a.address])));
    let closed = world
        .event(|event| match event {
            Event::Upstream(-1) => Some(1),
            _ => None,
        })
        .await;
    assert_eq!(closed, 1);
}

#[tokio::test]
async fn connections_that_a_burst_needs_are_used_again_and_given_up_when_it_is_over() {
    const CLIENTS: usize = 8;
    // Nobody is answered before all have asked.
    let together = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let backend = serve(Speaks::Http1, move |_| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            Response::new(text("all are here"))
        }
    })
    .await;
    let mut world = World::with(Limits { pool_idle_max: 2, ..Limits::default() });
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let pod = world.service(PortProtocol::Http, &target);
    for _ in 0..3 {
        let clients: tokio::task::JoinSet<_> = (0..CLIENTS).map(|_| get(pod, "/")).collect();
        assert!(clients.join_all().await.iter().all(|answer| answer.text() == "all are here"));
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), CLIENTS);
    for _ in 2..CLIENTS {
        world.event(|event| matches!(event, Event::Upstream(-1)).then_some(())).await;
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let dropping = backend::accept(|mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
    })
    .await;
    let fine = named(Speaks::Http1, "fine").await;
    let mut world = World::with(Limits { outlier_consecutive: 0, ..Limits::default() });
    let target = cluster(0, UpstreamProtocol::Http, &[dropping.address, fine.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let mut client = Http1::connect(pod).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let request = Request::post("/").header("host", "h").body(body("pay")).unwrap();
        let answer = client.send(request).await.unwrap();
        statuses.push(answer.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "fine", "a GET is repeated");
    }
}

#[tokio::test]
async fn a_policy_repeats_the_statuses_it_names() {
    let failing =
        serve(Speaks::Http1, |_| async { Response::builder().status(503).body(text("not now")).unwrap() })
            .await;
    let fine = named(Speaks::Http1, "fine").await;
    let target = cluster(0, UpstreamProtocol::Http, &[failing.address, fine.address]);
    let mut retried = rule(0, vec![backend_ref(&target)]);
    retried.retry = Some(RetryPolicy { attempts: 1, codes: vec![503], backoff: Duration::ZERO });
    let world = World::new();
    let gateway = world.gateway(ListenerKind::Http(router(vec![("/", retried)])), vec![target]);
    let mut client = Http1::connect(gateway).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "fine");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_broken_for_the_client_too() {
    let backend = backend::accept(|mut stream| async move {
        super::backend::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await.unwrap();
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let request = Request::get("/").header("host", "h").body(super::client::no_body()).unwrap();
    assert!(Http1::connect(pod).await.send(request).await.is_err());
    let record = world.record().await;
    assert_eq!((record.reason, record.status), (Some(Reason::UpstreamReset), Some(StatusCode::OK)));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_502() {
    let backend = backend::accept(|mut stream| async move {
        super::backend::read_head(&mut stream).await;
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let refused = get(pod, "/").await;
    assert_eq!(refused.status.as_u16(), 502);
    assert!(refused.proxy_status().ends_with("details=\"upstream_protocol\""));
}

#[tokio::test]
async fn a_backend_killed_under_http2_load_costs_no_idempotent_request() {
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(named(Speaks::Http2, "fine").await);
    }
    let addresses: Vec<_> = replicas.iter().map(|r| r.address).collect();
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &addresses));
    let client = Http2::connect(pod).await;
    let mut load = tokio::task::JoinSet::new();
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..8 {
        let (sent, mut client) = (Arc::clone(&sent), client.clone());
        load.spawn(async move {
            for _ in 0..50 {
                assert_eq!(client.get("/").await.text(), "fine");
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    within(async {
        while sent.load(Ordering::SeqCst) < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    replicas.pop();
    load.join_all().await;
    assert_eq!(sent.load(Ordering::SeqCst), 400);
}
