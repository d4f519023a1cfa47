//! Requests: where they go, in which version of HTTP, and what refusals look like.

use ::http::{Request, Response, Version};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backend::{Speaks, named, serve, text};
use super::client::{Http1, Http2, body, get, no_body, raw, within};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_pods_requests_are_spread_over_the_replicas_of_the_service_it_dialled() {
    let (a, b) = (named(Speaks::Http1, "a").await, named(Speaks::Http1, "b").await);
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[a.address, b.address]));
    let mut client = Http1::connect(pod).await;
    for _ in 0..20 {
        client.get("/").await;
    }
    assert_eq!((a.requests(), b.requests()), (10, 10));
    assert_eq!(a.connections.load(std::sync::atomic::Ordering::SeqCst), 1, "connections are kept");
}

#[tokio::test]
async fn the_record_says_what_happened() {
    let backend = named(Speaks::Http1, "hello").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(3, UpstreamProtocol::Http, &[backend.address]));
    let request = Request::post("/a/../items?x=1")
        .header("host", "cart.shop:80")
        .header("user-agent", "test/1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(body("12345"))
        .unwrap();
    Http1::connect(pod).await.send(request).await.unwrap();
    let record = world.record().await;
    assert_eq!((record.text.authority(), record.text.path()), (&b"cart.shop:80"[..], &b"/items"[..]));
    assert_eq!((record.bytes_received, record.bytes_sent), (5, 5));
    assert_eq!((record.endpoint, record.attempts), (Some(backend.address), 1));
    assert_eq!((record.cluster, record.frontend), (Some(ClusterId(3)), Some(ClusterId(3))));
    assert_eq!((record.status.unwrap().as_u16(), record.reason), (200, None));
    assert_eq!((record.pod, record.destination), (PodId(1), "10.96.0.3:80".parse().unwrap()));
    assert_eq!((record.text.user_agent(), record.text.request_id().len()), (&b"test/1"[..], 36));
    assert!(record.trace_id.is_some());
}

#[tokio::test]
async fn routes_decide_and_what_matches_none_is_refused_by_name() {
    let (cart, web) = (named(Speaks::Http1, "cart").await, named(Speaks::Http1, "web").await);
    let clusters = [
        cluster(0, UpstreamProtocol::Http, &[cart.address]),
        cluster(1, UpstreamProtocol::Http, &[web.address]),
    ];
    let world = World::new();
    let routes = router(vec![
        ("/cart", rule(0, vec![backend_ref(&clusters[0])])),
        ("/web", rule(1, vec![backend_ref(&clusters[1])])),
    ]);
    let gateway = world.gateway(ListenerKind::Http(routes), clusters.to_vec());
    let mut client = Http1::connect(gateway).await;
    assert_eq!(client.get("/cart/1").await.text(), "cart");
    assert_eq!(client.get("/web").await.text(), "web");
    assert_eq!(world.record().await.rule, Some(RuleId(0)));
    assert_eq!(world.record().await.rule, Some(RuleId(1)));
    let refused = client.get("/other").await;
    assert_eq!(refused.status.as_u16(), 404);
    assert_eq!(refused.proxy_status(), "weir; error=destination_not_found; details=\"no_route\"");
    let record = world.record().await;
    assert_eq!((record.reason, record.attempts), (Some(Reason::NoRoute), 0));
    assert_eq!(client.get("/cart").await.text(), "cart", "the connection goes on after a refusal");
}

#[tokio::test]
async fn a_change_of_routes_holds_from_the_next_request_of_an_open_connection() {
    let (a, b) = (named(Speaks::Http1, "a").await, named(Speaks::Http1, "b").await);
    let clusters = vec![
        cluster(0, UpstreamProtocol::Http, &[a.address]),
        cluster(1, UpstreamProtocol::Http, &[b.address]),
    ];
    let mut world = World::new();
    let before = frontend(&clusters[0], PortProtocol::Http, None);
    world.publish(vec![Arc::clone(&before)], vec![]);
    let pod = world.pod(&before);
    let mut client = Http1::connect(pod).await;
    assert_eq!(client.get("/").await.text(), "a");
    let routes = router(vec![("/", rule(0, vec![backend_ref(&clusters[1])]))]);
    world.publish_with(vec![frontend(&clusters[0], PortProtocol::Http, Some(routes))], vec![], clusters);
    assert_eq!(client.get("/").await.text(), "b");
}

#[tokio::test]
async fn each_version_of_http_reaches_each_version_of_http() {
    let seen = |request: Request<hyper::body::Incoming>| async move {
        let version = if request.version() == Version::HTTP_2 { "2" } else { "1" };
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_else(|| {
            request.headers().get("host").map_or("none", |h| h.to_str().unwrap()).to_owned()
        });
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Response::new(text(format!("{version} {host} {length}")))
    };
    let old = serve(Speaks::Http1, seen).await;
    let new = serve(Speaks::Http2, seen).await;
    let mut world = World::new();
    let to_old = frontend(&cluster(0, UpstreamProtocol::Http, &[old.address]), PortProtocol::Http, None);
    let to_new = frontend(&cluster(1, UpstreamProtocol::Http2, &[new.address]), PortProtocol::Http, None);
    let same = frontend(&cluster(2, UpstreamProtocol::Http, &[new.address]), PortProtocol::Http, None);
    world.publish(vec![Arc::clone(&to_old), Arc::clone(&to_new), Arc::clone(&same)], vec![]);
    let (old_pod, new_pod, same_pod) = (world.pod(&to_old), world.pod(&to_new), world.pod(&same));
    let old_form = || Request::post("/x").header("host", "cart.shop").body(body("abc")).unwrap();
    let new_form = || Request::post("http://cart.shop/x").body(body("abc")).unwrap();
    assert_eq!(Http1::connect(old_pod).await.send(old_form()).await.unwrap().text(), "1 cart.shop 3");
    assert_eq!(Http1::connect(new_pod).await.send(old_form()).await.unwrap().text(), "2 cart.shop 3");
    assert_eq!(Http2::connect(new_pod).await.send(new_form()).await.unwrap().text(), "2 cart.shop 3");
    assert_eq!(Http2::connect(same_pod).await.send(new_form()).await.unwrap().text(), "2 cart.shop 3");

    let world = World::new();
    let to_old = cluster(0, UpstreamProtocol::Http, &[old.address]);
    let routes = router(vec![("/", rule(0, vec![backend_ref(&to_old)]))]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![to_old]);
    assert_eq!(Http2::connect(gateway).await.send(new_form()).await.unwrap().text(), "1 cart.shop 3");
}

#[tokio::test]
async fn filters_change_requests_and_responses() {
    let backend = serve(Speaks::Http1, |request| async move {
        let asked = request.headers().get("x-by").map_or("nobody", |v| v.to_str().unwrap()).to_owned();
        Response::builder()
            .header("x-secret", "1")
            .body(text(format!("{} {asked}", request.uri().path())))
            .unwrap()
    })
    .await;
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let world = World::new();
    let mut changed = rule(0, vec![backend_ref(&target)]);
    changed.filters = vec![
        Filter::RequestHeaders(crate::snapshot::filter::HeaderModifier {
            set: vec![(HeaderName::from_static("x-by"), "weir".parse().unwrap())],
            ..Default::default()
        }),
        Filter::ResponseHeaders(crate::snapshot::filter::HeaderModifier {
            remove: vec![HeaderName::from_static("x-secret")],
            ..Default::default()
        }),
        Filter::Rewrite(crate::snapshot::filter::Rewrite {
            hostname: None,
            path: Some(crate::snapshot::filter::PathModifier::ReplacePrefix("/new".into())),
        }),
    ];
    let mut moved = rule(1, vec![]);
    moved.filters = vec![Filter::Redirect(crate::snapshot::filter::Redirect {
        scheme: Some("https".into()),
        hostname: Some("example.com".into()),
        port: None,
        path: None,
        status: ::http::StatusCode::MOVED_PERMANENTLY,
    })];
    let routes = router(vec![("/old", changed), ("/moved", moved)]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![target]);
    let mut client = Http1::connect(gateway).await;
    let answer = client.get("/old/item").await;
    assert_eq!(answer.text(), "/new/item weir");
    assert!(!answer.headers.contains_key("x-secret"));
    let answer = client.get("/moved/x?y=z").await;
    assert_eq!(answer.status.as_u16(), 301);
    assert_eq!(answer.headers["location"], "https://example.com/moved/x?y=z");
}

#[tokio::test]
async fn a_gateway_behind_a_service_speaks_of_the_port_that_its_clients_know() {
    let world = World::new();
    for (port, location) in [(80, "http://example.com/x"), (8080, "http://example.com:8080/x")] {
        let mut moved = rule(0, vec![]);
        moved.filters = vec![Filter::Redirect(crate::snapshot::filter::Redirect {
            scheme: None,
            hostname: Some("example.com".into()),
            port: None,
            path: None,
            status: ::http::StatusCode::FOUND,
        })];
        let kind = ListenerKind::Http(router(vec![("/", moved)]));
        let gateway = world.gateway_behind(Some(port), kind, vec![]);
        let answer = Http1::connect(gateway).await.get("/x").await;
        assert_eq!(answer.headers["location"], location);
        assert_eq!(world.record().await.destination.port(), port);
    }
}

#[tokio::test]
async fn a_gateway_does_not_believe_what_clients_say_of_themselves() {
    let backend = serve(Speaks::Http1, |request| async move {
        let of = |name: &str| {
            let all: Vec<_> = request.headers().get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
            all.join(",")
        };
        Response::new(text(format!("{}|{}|{}", of("x-forwarded-for"), of("x-real-ip"), of("connection"))))
    })
    .await;
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let world = World::new();
    let routes = router(vec![("/", rule(0, vec![backend_ref(&target)]))]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![target]);
    let request = Request::get("/")
        .header("host", "h")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-real-ip", "6.6.6.6")
        .header("connection", "keep-alive, x-foo")
        .body(no_body())
        .unwrap();
    assert_eq!(Http1::connect(gateway).await.send(request).await.unwrap().text(), "127.0.0.1||");
}

#[tokio::test]
async fn garbage_is_answered_or_closed_and_the_worker_serves_on() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    for bytes in [
        &b"\0\0\0\0\0\0\0\0"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET\r\n\r\n",
        &[b'A'; 100],
    ] {
        let answer = raw(pod, bytes).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
    }
    for (head, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", "400"),
        (b"GET /..%2fadmin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "405"),
    ] {
        let answer = String::from_utf8_lossy(&raw(pod, head).await).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!(backend.requests(), 0);
    assert_eq!(get(pod, "/").await.text(), "fine");
}

#[tokio::test]
async fn a_client_that_stays_silent_is_not_waited_for_without_end() {
    let backend = named(Speaks::Http1, "fine").await;
    let limits = Limits { detect_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut world = World::with(limits);
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    for opening in [&b""[..], b"PRI * HT", b"GE"] {
        assert!(raw(pod, opening).await.is_empty());
        assert_eq!(world.rejected().await, Reason::ClientTimeout);
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up_and_an_idle_connection_is_closed() {
    let backend = named(Speaks::Http1, "fine").await;
    let limits = Limits {
        request_head_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(200),
        http2_idle_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut world = World::with(limits);
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let answer = raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "));
    let record = world.record().await;
    assert_eq!((record.reason, record.method), (Some(Reason::ClientTimeout), None));
    let answer = raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let mut client = Http2::connect(pod).await;
    within(async {
        while client.0.ready().await.is_ok() && !client.0.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let mut stream = tokio::net::TcpStream::connect(pod).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_upstream() {
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let backend = super::backend::accept(move |mut stream| {
        let asked = asked.clone();
        async move {
            super::backend::read_head(&mut stream).await;
            asked.send(()).await.unwrap();
            let ended = stream.read(&mut [0; 16]).await;
            assert!(matches!(ended, Ok(0) | Err(_)));
            asked.send(()).await.unwrap();
        }
    })
    .await;
    let limits = Limits { half_close_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut world = World::with(limits);
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let mut stream = tokio::net::TcpStream::connect(pod).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    within(was_asked.recv()).await.unwrap();
    drop(stream);
    within(was_asked.recv()).await.unwrap();
    assert_eq!(world.record().await.reason, Some(Reason::ClientClosed));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_504_with_its_reason() {
    let backend = serve(Speaks::Http1, |_| std::future::pending()).await;
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let mut slow = rule(0, vec![backend_ref(&target)]);
    slow.timeouts.request = Some(Duration::from_millis(50));
    let mut attempt = rule(1, vec![backend_ref(&target)]);
    attempt.timeouts = Timeouts { request: Some(MINUTE), backend_request: Some(Duration::from_millis(20)) };
    attempt.retry = Some(RetryPolicy { attempts: 2, codes: vec![], backoff: Duration::ZERO });
    let world = World::new();
    let routes = router(vec![("/slow", slow), ("/attempt", attempt)]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![target]);
    let mut client = Http1::connect(gateway).await;
    let refused = client.get("/slow").await;
    assert_eq!(refused.status.as_u16(), 504);
    assert_eq!(refused.proxy_status(), "weir; error=http_response_timeout; details=\"upstream_timeout\"");
    assert_eq!(world.record().await.attempts, 1);
    assert_eq!(client.get("/attempt").await.status.as_u16(), 504);
    assert_eq!(world.record().await.attempts, 3);
}

#[tokio::test]
async fn a_service_without_endpoints_is_unavailable_and_says_so() {
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[]));
    let refused = get(pod, "/").await;
    assert_eq!(refused.status.as_u16(), 503);
    assert!(refused.proxy_status().ends_with("details=\"no_healthy_endpoint\""));
}

#[tokio::test]
async fn a_broken_backend_gets_its_share_of_errors_only() {
    let fine = named(Speaks::Http1, "fine").await;
    let target = cluster(0, UpstreamProtocol::Http, &[fine.address]);
    let broken = Backend { weight: 1, cluster: Err(Reason::InvalidBackend), filters: vec![] };
    let world = World::new();
    let routes = router(vec![("/", rule(0, vec![backend_ref(&target), broken]))]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![target]);
    let mut client = Http1::connect(gateway).await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(client.get("/").await.status.as_u16() == 500);
    }
    assert!((50..150).contains(&failed), "{failed} of 200");
}

#[tokio::test]
async fn a_dial_that_no_capture_led_here_is_closed_and_counted() {
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[]);
    let pod = world.service(PortProtocol::Http, &target);
    world.dialled.0.lock().unwrap().clear();
    assert!(raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_empty());
    assert_eq!(world.rejected().await, Reason::SelfCall);
}

#[tokio::test]
async fn a_pod_with_too_many_connections_gets_no_more_and_others_do() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::with(Limits { pod_connections_max: 2, ..Limits::default() });
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = Http1::connect(pod).await;
        client.get("/").await;
        kept.push(client);
    }
    assert!(raw(pod, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_empty());
    assert_eq!(world.rejected().await, Reason::Overflow);
    let other = world.pod(&frontend(&target, PortProtocol::Http, None));
    assert_eq!(get(other, "/").await.text(), "fine");
}

#[tokio::test]
async fn too_many_header_fields_are_refused_in_both_versions() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::with(Limits { header_fields_max: 10, ..Limits::default() });
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let with_fields = |uri: &str| {
        let mut request = Request::get(uri).header("host", "h");
        for i in 0..20 {
            request = request.header(format!("x-{i}"), "1");
        }
        request.body(no_body()).unwrap()
    };
    let answer = Http1::connect(pod).await.send(with_fields("/")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 431);
    let answer = Http2::connect(pod).await.send(with_fields("http://h/")).await.unwrap();
    assert_eq!(answer.status.as_u16(), 431);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_large_body_passes_both_ways_whole() {
    let backend = serve(Speaks::Http1, |request| async move {
        Response::new(request.into_body().collect().await.unwrap().to_bytes()).map(text)
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let sent: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let request = Request::post("/").header("host", "h").body(body(sent.clone())).unwrap();
    let answer = Http1::connect(pod).await.send(request).await.unwrap();
    assert!(answer.body == sent);
}

#[tokio::test]
async fn the_methods_that_have_no_answer_body_leave_a_good_record() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let mut client = Http1::connect(pod).await;
    for _ in 0..2 {
        let request = Request::builder().method(Method::HEAD).uri("/").header("host", "h");
        let answer = client.send(request.body(no_body()).unwrap()).await.unwrap();
        assert_eq!(answer.headers["content-length"], "4");
        assert_eq!(world.record().await.reason, None);
    }
    let refused = Request::builder().method(Method::HEAD).uri("/%00").header("host", "h");
    assert_eq!(client.send(refused.body(no_body()).unwrap()).await.unwrap().status.as_u16(), 400);
    assert_eq!(world.record().await.reason, Some(Reason::ClientProtocol));
}

/// Answers each request by these bytes.
async fn saying(bytes: &'static [u8]) -> backend::Backend {
    backend::accept(move |mut stream| async move {
        while !backend::read_head(&mut stream).await.is_empty() {
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
    })
    .await
}

const HINTS: &[u8] =
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-a\r\n\
    x-a: b\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

#[tokio::test]
async fn early_hints_reach_clients_that_know_them_before_the_answer() {
    let backend = saying(HINTS).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let ask = |version: &str| format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(raw(pod, ask("1.1").as_bytes()).await).unwrap();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(answer.starts_with(hints) && answer.ends_with("\r\n\r\nfine"), "{answer}");
    let answer = String::from_utf8(raw(pod, ask("1.0").as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nfine"), "{answer}");
}

#[tokio::test]
async fn early_hints_of_an_http2_backend_reach_an_http2_client() {
    let backend = backend::accept(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            for status in [103, 100, 102] {
                let hints = Response::builder().status(status).header("link", "</a.css>").body(()).unwrap();
                respond.send_informational(hints).unwrap();
            }
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let stream = tokio::net::TcpStream::connect(pod).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("http://h/").body(()).unwrap();
    let (mut answer, _) = client.send_request(request, true).unwrap();
    let mut hints = Vec::new();
    while let Some(hint) = within(std::future::poll_fn(|cx| answer.poll_informational(cx))).await {
        let hint = hint.unwrap();
        assert_eq!(hint.headers()["link"], "</a.css>");
        hints.push(hint.status().as_u16());
    }
    assert_eq!(hints, [103, 102]);
    assert_eq!(within(answer).await.unwrap().status(), 200);
}
