//! gRPC over HTTP/2: spread by call, trailers, streams both ways.

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use super::backend::{self, Speaks, serve};
use super::client::{Http1, Http2, body, within};
use super::*;

type Frames = mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::convert::Infallible>>;

fn stream(mut frames: Frames) -> backend::Body {
    StreamBody::new(futures_util::stream::poll_fn(move |cx| frames.poll_recv(cx))).boxed()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))])
}

fn call(path: &str, message: backend::Body) -> Request<backend::Body> {
    Request::post(format!("http://cart.shop{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(message)
        .unwrap()
}

/// Sends back each message as it comes, then `grpc-status: 0`.
async fn echo(name: &'static str) -> backend::Backend {
    serve(Speaks::Http2, move |request| async move {
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let _ = sender.send(Ok(frame));
            }
            let _ = sender.send(Ok(Frame::trailers(status("0"))));
        });
        Response::builder()
            .header("content-type", "application/grpc")
            .header("x-replica", name)
            .body(stream(frames))
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn calls_on_one_connection_are_spread_over_the_replicas() {
    let (a, b) = (echo("a").await, echo("b").await);
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http2, &[a.address, b.address]);
    let pod = world.service(PortProtocol::Http2, &target);
    let mut client = Http2::connect(pod).await;
    for _ in 0..20 {
        let answer = client.send(call("/cart.Cart/Add", body("\0\0\0\0\x01x"))).await.unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        let record = world.record().await;
        assert_eq!((record.grpc_status, record.reason), (Some(0), None));
        assert_eq!(record.protocol, crate::telemetry::record::Protocol::Grpc);
    }
    assert_eq!((a.requests(), b.requests()), (10, 10));
    assert_eq!(a.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_flows_both_ways_at_once() {
    let backend = echo("a").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let (sender, frames) = mpsc::unbounded_channel();
    let response = within(client.0.send_request(call("/chat", stream(frames)))).await.unwrap();
    let mut incoming = response.into_body();
    for i in 0..1000_u32 {
        sender.send(Ok(Frame::data(Bytes::from(format!("{i:04}"))))).unwrap();
        let frame = within(incoming.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("{i:04}"));
    }
    drop(sender);
    let trailers = within(incoming.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let record = world.record().await;
    assert_eq!((record.bytes_received, record.bytes_sent), (4000, 4000));
}

#[tokio::test]
async fn many_small_messages_on_many_streams_break_nothing() {
    let backend = echo("a").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let client = Http2::connect(pod).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = client.clone();
        calls.spawn(async move {
            let (sender, frames) = mpsc::unbounded_channel();
            for _ in 0..200 {
                sender.send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
            }
            drop(sender);
            let answer = client.send(call("/many", stream(frames))).await.unwrap();
            assert_eq!(answer.body.len(), 200);
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn a_refusal_is_a_grpc_status() {
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[]));
    let answer = Http2::connect(pod).await.send(call("/cart.Cart/Add", body("x"))).await.unwrap();
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.headers["grpc-status"], "14");
    assert!(answer.proxy_status().ends_with("details=\"no_healthy_endpoint\""));
    assert_eq!(world.record().await.grpc_status, Some(14));
}

#[tokio::test]
async fn trailers_reach_an_http1_client_that_asks_for_them() {
    let backend = echo("a").await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let request = Request::post("/x")
        .header("host", "h")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body("abc"))
        .unwrap();
    let answer = Http1::connect(pod).await.send(request).await.unwrap();
    assert_eq!(
        (answer.text(), &answer.trailers.as_ref().unwrap()["grpc-status"]),
        ("abc", &HeaderValue::from_static("0"))
    );
}

#[tokio::test]
async fn a_call_that_the_client_cancels_is_cancelled_at_the_replica() {
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let backend = serve(Speaks::Http2, move |request| {
        let ended = ended.clone();
        async move {
            let (sender, frames) = mpsc::unbounded_channel();
            sender.send(Ok(Frame::data(Bytes::from_static(b"first")))).unwrap();
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                sender.closed().await;
                ended.send(()).unwrap();
            });
            Response::new(stream(frames))
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let (sender, frames) = mpsc::unbounded_channel();
    let response = within(client.0.send_request(call("/watch", stream(frames)))).await.unwrap();
    let mut incoming = response.into_body();
    within(incoming.frame()).await.unwrap().unwrap();
    drop(sender);
    drop(incoming);
    within(has_ended.recv()).await.unwrap();
    assert_eq!(world.record().await.reason, Some(Reason::ClientClosed));
}

#[tokio::test]
async fn a_replica_that_resets_streams_is_not_taken_for_a_broken_one() {
    let backend = serve(Speaks::Http2, |_| async { panic!("the application breaks") }).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    for _ in 0..10 {
        let answer = client.send(call("/x", body("x"))).await.unwrap();
        assert!(answer.proxy_status().ends_with("details=\"upstream_reset\""), "{answer:?}");
    }
    let events = world.drained().await;
    assert!(!events.iter().any(|event| matches!(event, Event::Ejected(_))), "{events:?}");
    assert_eq!(backend.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// Asks its clients to go elsewhere after a few calls on each connection.
async fn restless() -> backend::Backend {
    backend::accept(|stream| async move {
        let served = std::sync::Arc::new(tokio::sync::Notify::new());
        let (count, enough) = (std::sync::atomic::AtomicUsize::new(0), Arc::clone(&served));
        let service = hyper::service::service_fn(move |_| {
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 5 {
                enough.notify_one();
            }
            async { Ok::<_, std::convert::Infallible>(Response::new(backend::text("done"))) }
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        let mut serving = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = serving.as_mut() => return drop(ended),
            () = served.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    })
    .await
}

#[tokio::test]
async fn replicas_that_send_their_clients_away_cost_no_call() {
    let (a, b) = (restless().await, restless().await);
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http2, &[a.address, b.address]);
    let pod = world.service(PortProtocol::Http2, &target);
    let client = Http2::connect(pod).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = client.clone();
        calls.spawn(async move {
            for _ in 0..100 {
                assert_eq!(client.send(call("/x", body("x"))).await.unwrap().text(), "done");
            }
        });
    }
    calls.join_all().await;
    assert!(a.connections.load(std::sync::atomic::Ordering::SeqCst) > 10);
}
