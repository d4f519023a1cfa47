//! What an HTTP/2 client may say, how long it may take, and whom it meets on the way.

use std::sync::atomic::Ordering;

use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use super::backend::{self, Speaks, serve};
use super::client::{Body, Http2, body, no_body, within};
use super::*;

type Frames = mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::convert::Infallible>>;

fn stream(mut frames: Frames) -> backend::Body {
    StreamBody::new(futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx))).boxed()
}

/// Says in its body which headers and trailers it got.
async fn mirror(speaks: Speaks) -> backend::Backend {
    serve(speaks, |request| async move {
        let (head, body) = request.into_parts();
        let collected = body.collect().await.unwrap();
        let text = format!("{:?} {:?}", head.headers, collected.trailers());
        Response::new(backend::text(text))
    })
    .await
}

fn get(uri: &str, fields: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::get(uri.parse::<Uri>().unwrap()).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_static(value));
    }
    request.body(no_body()).unwrap()
}

/// A listener of a Gateway with one backend behind it.
fn gateway(world: &World, backend: &backend::Backend, protocol: UpstreamProtocol) -> SocketAddr {
    let target = cluster(0, protocol, &[backend.address]);
    let routes = router(vec![("/", rule(0, vec![backend_ref(&target)]))]);
    world.gateway(ListenerKind::Http(routes), vec![target])
}

#[tokio::test]
async fn a_request_of_two_meanings_is_refused_and_reaches_no_backend() {
    let backend = mirror(Speaks::Http1).await;
    let world = World::new();
    let address = gateway(&world, &backend, UpstreamProtocol::Http);
    let mut client = Http2::connect(address).await;
    let here = "http://cart.shop/";
    for (request, status) in [
        (get(here, &[("host", "evil.shop")]), 400),
        (get(here, &[("host", "cart.shop"), ("host", "cart.shop")]), 400),
        (get("http://user@cart.shop/", &[]), 400),
        (get("http://cart.shop:0/", &[]), 400),
        (get("https://cart.shop/", &[]), 421),
        (get(here, &[("x-a", " b")]), 400),
        (get(here, &[("x-a", "b\t")]), 400),
        (get(here, &[("content_length", "5")]), 400),
        (get(here, &[("expect", "tea")]), 417),
        (get("http://cart.shop/a%2fb", &[]), 400),
        (Request::connect("cart.shop:80").body(no_body()).unwrap(), 405),
    ] {
        let said = format!("{request:?}");
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, status, "{said}");
        assert!(!answer.proxy_status().is_empty(), "{said}");
        assert_eq!(world.record().await.reason, Some(Reason::ClientProtocol), "{said}");
    }
    assert_eq!(backend.requests(), 0);
    // And the connection is as good as before.
    assert_eq!(client.send(get(here, &[("host", "CART.shop")])).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_pod_behind_a_tls_gateway_may_still_say_https() {
    let backend = mirror(Speaks::Http2).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let answer = Http2::connect(pod).await.send(get("https://cart.shop/", &[])).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn split_cookies_reach_the_backend_as_one_and_trailers_only_when_they_are_known() {
    for (speaks, protocol) in
        [(Speaks::Http1, UpstreamProtocol::Http), (Speaks::Http2, UpstreamProtocol::Http2)]
    {
        let backend = mirror(speaks).await;
        let world = World::new();
        let mut client = Http2::connect(gateway(&world, &backend, protocol)).await;
        let crumbs = get("http://cart.shop/", &[("cookie", "a=1"), ("cookie", "b=2")]);
        let answer = client.send(crumbs).await.unwrap();
        assert!(answer.text().contains(r#""cookie": "a=1; b=2""#), "{}", answer.text());
        let (sender, frames) = mpsc::unbounded_channel();
        let trailers =
            [("x-checksum-sha256", "good"), ("host", "evil"), ("x-user", "admin"), ("content-length", "9")];
        let trailers = trailers.map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        sender.send(Ok(Frame::data(Bytes::from_static(b"hello")))).unwrap();
        sender.send(Ok(Frame::trailers(HeaderMap::from_iter(trailers)))).unwrap();
        drop(sender);
        let upload =
            Request::post("http://cart.shop/").header("trailer", "x-checksum-sha256").body(stream(frames));
        let answer = client.send(upload.unwrap()).await.unwrap();
        assert!(!answer.text().contains("evil") && !answer.text().contains("admin"), "{}", answer.text());
        if matches!(speaks, Speaks::Http2) {
            assert!(answer.text().contains(r#"Some({"x-checksum-sha256": "good"})"#), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn two_pods_never_share_a_connection_to_their_backend() {
    let backend = backend::named(Speaks::Http2, "fine").await;
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http2, &[backend.address]);
    let frontend = frontend(&target, PortProtocol::Http2, None);
    world.publish(vec![Arc::clone(&frontend)], vec![]);
    let pods = [world.pod(&frontend), world.pod(&frontend)];
    let mut clients = Vec::new();
    for pod in pods {
        clients.push(Http2::connect(pod).await);
    }
    for round in 0..5 {
        for client in &mut clients {
            assert_eq!(client.get("/").await.text(), "fine", "{round}");
        }
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 2);
}

/// Answers with as many frames of one byte as the path says, then `grpc-status: 0`.
async fn chatty() -> backend::Backend {
    serve(Speaks::Http2, |request| async move {
        let count: usize = request.uri().path()[1..].parse().unwrap();
        let (sender, frames) = mpsc::unbounded_channel();
        for _ in 0..count {
            sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
        }
        let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        sender.send(Ok(Frame::trailers(HeaderMap::from_iter([status])))).unwrap();
        Response::builder().header("content-type", "application/grpc").body(stream(frames)).unwrap()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tiny_messages_to_slow_readers_cut_nothing_on_either_side() {
    const STREAMS: usize = 100;
    const MESSAGES: usize = 100;
    let backend = chatty().await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        let request = Request::post(format!("http://cart.shop/{MESSAGES}"))
            .header("content-type", "application/grpc")
            .body(no_body());
        within(client.0.ready()).await.unwrap();
        answers.push(within(client.0.send_request(request.unwrap())).await.unwrap());
    }
    // Nobody reads before the backend has said all it has to say.
    for answer in answers {
        let collected = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes().len(), MESSAGES);
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1, "the backend's connection was cut");
    assert_eq!(client.send(get("http://cart.shop/1", &[])).await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tiny_messages_from_clients_to_a_slow_backend_cut_nothing_on_either_side() {
    const STREAMS: usize = 100;
    const MESSAGES: usize = 100;
    let (read, reading) = tokio::sync::watch::channel(false);
    let backend = serve(Speaks::Http2, move |request| {
        let mut reading = reading.clone();
        async move {
            reading.wait_for(|read| *read).await.unwrap();
            let body = request.into_body().collect().await.unwrap();
            Response::new(backend::text(body.to_bytes().len().to_string()))
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let client = Http2::connect(pod).await;
    let mut calls = Vec::new();
    for _ in 0..STREAMS {
        let (sender, frames) = mpsc::unbounded_channel();
        for _ in 0..MESSAGES {
            sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
        }
        let mut client = client.clone();
        let request = Request::post("http://cart.shop/").body(stream(frames)).unwrap();
        calls.push(tokio::spawn(async move { client.send(request).await }));
        drop(sender);
    }
    within(async {
        while backend.requests() < STREAMS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    read.send(true).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().text(), MESSAGES.to_string());
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1, "the backend's connection was cut");
}

#[tokio::test]
async fn who_gives_up_a_hundred_calls_at_once_keeps_the_connection_and_ends_the_work() {
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let backend = serve(Speaks::Http2, move |request| {
        let asked = asked.clone();
        async move {
            if request.uri().path() == "/" {
                return Response::new(backend::text("fine"));
            }
            asked.send(()).unwrap();
            std::future::pending().await
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let mut calls = Vec::new();
    for _ in 0..90 {
        within(client.0.ready()).await.unwrap();
        calls.push(client.0.send_request(get("http://cart.shop/wait", &[])));
    }
    for _ in 0..90 {
        within(was_asked.recv()).await.unwrap();
    }
    drop(calls);
    for _ in 0..90 {
        assert_eq!(world.record().await.reason, Some(Reason::ClientClosed));
    }
    assert_eq!(client.get("/").await.text(), "fine");
    assert!(world.drained().await.iter().all(|event| !matches!(event, Event::Rejected(_))));
}

#[tokio::test]
async fn a_body_without_end_for_a_client_that_takes_none_of_it_is_given_up() {
    let backend = serve(Speaks::Http2, |_| async {
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while sender.send(Ok(Frame::data(Bytes::from(vec![0; 16 * 1024])))).is_ok() {
                tokio::task::yield_now().await;
            }
        });
        Response::new(stream(frames))
    })
    .await;
    let limits = Limits { response_stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let mut world = World::with(limits);
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let answer = within(client.0.send_request(get("http://cart.shop/", &[]))).await.unwrap();
    // Held, and not read: its window stays at zero.
    let record = world.record().await;
    assert_eq!(record.reason, Some(Reason::ClientTimeout));
    drop(answer);
    assert!(!client.0.is_closed());
}

#[tokio::test]
async fn a_request_whose_body_does_not_go_on_is_answered_408_in_time() {
    let backend = mirror(Speaks::Http1).await;
    let limits = Limits { stream_idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits);
    let mut client = Http2::connect(gateway(&world, &backend, UpstreamProtocol::Http)).await;
    let (sender, frames) = mpsc::unbounded_channel();
    sender.send(Ok(Frame::data(Bytes::from_static(b"he")))).unwrap();
    let upload = Request::post("http://cart.shop/").body(stream(frames)).unwrap();
    let answer = client.send(upload).await.unwrap();
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(world.record().await.reason, Some(Reason::ClientTimeout));
    assert_eq!(
        client.send(Request::post("http://cart.shop/").body(body("x")).unwrap()).await.unwrap().status,
        200
    );
    drop(sender);
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_silence_before_its_answer_comes() {
    for (speaks, protocol) in
        [(Speaks::Http1, UpstreamProtocol::Http), (Speaks::Http2, UpstreamProtocol::Http2)]
    {
        let backend = mirror(speaks).await;
        let limits = Limits { stream_idle_timeout: Duration::from_millis(400), ..Limits::default() };
        let world = World::with(limits);
        let mut client = Http2::connect(gateway(&world, &backend, protocol)).await;
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..60 {
                pace.tick().await;
                sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
            }
        });
        let upload = Request::post("http://cart.shop/").body(stream(frames)).unwrap();
        assert_eq!(client.send(upload).await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let backend = mirror(Speaks::Http1).await;
    let world = World::new();
    let address = gateway(&world, &backend, UpstreamProtocol::Http);
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut client = within(client.ready()).await.unwrap();
    let request = Request::post("http://cart.shop/").header("expect", "100-continue").body(()).unwrap();
    let (mut answer, mut upload) = client.send_request(request, false).unwrap();
    let asked = within(std::future::poll_fn(|cx| answer.poll_informational(cx))).await;
    assert_eq!(asked.unwrap().unwrap().status(), StatusCode::CONTINUE);
    upload.send_data(Bytes::from_static(b"hello"), true).unwrap();
    assert_eq!(within(answer).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_hundred_streams_given_up_in_the_middle_cost_no_connection_on_either_side() {
    // More than a window of it, and no end.
    let backend = serve(Speaks::Http2, |_| async {
        let (sender, frames) = mpsc::unbounded_channel();
        for _ in 0..80 {
            sender.send(Ok(Frame::data(Bytes::from_static(&[0; 1024])))).unwrap();
        }
        tokio::spawn(async move { sender.closed().await });
        Response::new(stream(frames))
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    for _ in 0..24 {
        let mut answers = Vec::new();
        for _ in 0..50 {
            within(client.0.ready()).await.unwrap();
            answers.push(within(client.0.send_request(get("http://cart.shop/", &[]))).await.unwrap());
        }
        for answer in &mut answers {
            within(answer.body_mut().frame()).await.unwrap().unwrap();
        }
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1, "the backend's connection was cut");
}
