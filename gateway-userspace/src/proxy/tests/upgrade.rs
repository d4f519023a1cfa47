//! Upgrades: bytes flow after the 101, and not before.

use ::http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::{Speaks, serve, text};
use super::client::{get, within};
use super::*;
use crate::telemetry::record::Protocol;

const HANDSHAKE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Agrees to every upgrade and sends back what it gets; answers other requests with the path.
async fn switching() -> super::backend::Backend {
    serve(Speaks::Http1, |mut request| async move {
        if !request.headers().contains_key("upgrade") || request.uri().path() == "/no" {
            return Response::new(text(request.uri().path().to_owned()));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..length]).await.unwrap();
            }
            let _ = stream.shutdown().await;
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "key")
            .body(text(""))
            .unwrap()
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn a_websocket_is_relayed_after_both_sides_have_switched() {
    let backend = switching().await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    // The first frame comes with the handshake.
    stream.write_all(&[HANDSHAKE, b"early"].concat()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket") && head.contains("sec-websocket-accept: key"), "{head}");
    let mut buffer = [0; 5];
    within(stream.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"early");
    for _ in 0..100 {
        stream.write_all(b"frame").await.unwrap();
        within(stream.read_exact(&mut buffer)).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    let record = world.record().await;
    assert_eq!((record.protocol, record.status.unwrap().as_u16()), (Protocol::Upgrade, 101));
    assert_eq!((record.bytes_received, record.bytes_sent, record.reason), (505, 505, None));
}

#[tokio::test]
async fn what_follows_an_upgrade_that_was_not_agreed_to_is_another_request_or_not_read() {
    let backend = switching().await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let refused = b"GET /no HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let next = b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answers = super::client::raw(pod, &[&refused[..], next].concat()).await;
    let answers = String::from_utf8(answers).unwrap();
    let count = answers.matches("HTTP/1.1 200").count();
    let last = ["/no", "/next"][count - 1];
    assert!(answers.contains("/no") && answers.ends_with(last), "{answers}");
    assert_eq!(backend.requests(), count);
}

#[tokio::test]
async fn an_endpoint_that_switches_unasked_is_an_error() {
    let backend = super::backend::accept(|mut stream| async move {
        super::backend::read_head(&mut stream).await;
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let answer = get(pod, "/").await;
    assert_eq!(answer.status.as_u16(), 502);
    assert!(answer.proxy_status().contains("upstream_protocol"), "{}", answer.proxy_status());
}
