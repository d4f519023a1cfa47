//! Opaque TCP: every end is passed on as what it is.

use std::net::Shutdown;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::{Backend as Server, accept};
use super::client::within;
use super::*;

/// Says hello first, then sends back what it gets until its client has ended.
async fn greeter() -> Server {
    accept(|mut stream| async move {
        stream.write_all(b"hello").await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.write_all(b"bye").await;
    })
    .await
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_and_a_half_close_stays_one() {
    let backend = greeter().await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    let mut hello = [0; 5];
    within(stream.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"hello");
    stream.write_all(b"1234").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"1234bye");
    let record = world.record().await;
    assert_eq!((record.bytes_received, record.bytes_sent, record.reason), (4, 12, None));
    assert_eq!((record.endpoint, record.cluster), (Some(backend.address), Some(ClusterId(0))));
}

#[tokio::test]
async fn megabytes_pass_whole_in_both_directions_at_once() {
    let backend = accept(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let stream = TcpStream::connect(pod).await.unwrap();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut reader, mut writer) = stream.into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    within(reader.read_to_end(&mut received)).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected);
}

#[tokio::test]
async fn a_reset_by_the_server_is_a_reset_for_the_client() {
    let backend = accept(|mut stream| async move {
        let _ = stream.read_u8().await;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let error = within(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(world.record().await.reason, Some(Reason::UpstreamReset));
}

#[tokio::test]
async fn a_reset_by_the_client_is_a_reset_for_the_server() {
    let (sender, mut ended) = tokio::sync::mpsc::channel(1);
    let backend = accept(move |mut stream| {
        let sender = sender.clone();
        async move {
            let _ = stream.read_u8().await;
            let error = stream.read_u8().await.unwrap_err();
            sender.send(error.kind()).await.unwrap();
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(within(ended.recv()).await, Some(io::ErrorKind::ConnectionReset));
    assert_eq!(world.record().await.reason, Some(Reason::ClientClosed));
}

#[tokio::test]
async fn a_refusing_endpoint_is_passed_over_and_none_at_all_is_a_reset() {
    let (backend, refusing) = (greeter().await, Refusing::new());
    let mut world = World::new();
    let some = cluster(0, UpstreamProtocol::Tcp, &[refusing.address(), backend.address]);
    let none = cluster(1, UpstreamProtocol::Tcp, &[refusing.address()]);
    let frontends =
        vec![frontend(&some, PortProtocol::Opaque, None), frontend(&none, PortProtocol::Opaque, None)];
    world.publish(frontends.clone(), vec![]);
    let (reaches, refused) = (world.pod(&frontends[0]), world.pod(&frontends[1]));
    for _ in 0..10 {
        let mut stream = TcpStream::connect(reaches).await.unwrap();
        assert_eq!(within(stream.read_u8()).await.unwrap(), b'h');
    }
    let mut stream = TcpStream::connect(refused).await.unwrap();
    let error = within(stream.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let reason = world
        .event(|event| match event {
            Event::Ended(record) => record.reason.filter(|_| record.cluster == Some(ClusterId(1))),
            _ => None,
        })
        .await;
    assert_eq!(reason, Reason::ConnectRefused);
}

#[tokio::test]
async fn a_silent_relay_ends_after_its_limit() {
    let backend = accept(|stream| async move {
        let _ = stream.readable().await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = Limits { tcp_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut world = World::with(limits);
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    assert!(within(stream.read_u8()).await.is_err());
    assert_eq!(world.record().await.reason, Some(Reason::IdleTimeout));
}

#[tokio::test]
async fn a_tcp_listener_relays_to_its_backends() {
    let backend = greeter().await;
    let target = cluster(0, UpstreamProtocol::Tcp, &[backend.address]);
    let world = World::new();
    let kind = ListenerKind::Tcp(WeightedBackends::new(vec![backend_ref(&target)]));
    let gateway = world.gateway(kind, vec![target]);
    let stream = TcpStream::connect(gateway).await.unwrap();
    SockRef::from(&stream).shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(&mut { stream }, &mut all)).await.unwrap();
    assert_eq!(all, b"hellobye");
}

#[tokio::test]
async fn a_client_that_has_ended_its_sending_and_then_breaks_is_noticed() {
    let (sender, mut ended) = tokio::sync::mpsc::channel(1);
    let backend = accept(move |mut stream| {
        let sender = sender.clone();
        async move {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            stream.write_all(b"x").await.unwrap();
            let _ = stream.ready(tokio::io::Interest::ERROR).await;
            sender.send(()).await.unwrap();
        }
    })
    .await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Opaque, &cluster(0, UpstreamProtocol::Tcp, &[backend.address]));
    let mut stream = TcpStream::connect(pod).await.unwrap();
    stream.shutdown().await.unwrap();
    within(stream.read_u8()).await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    within(ended.recv()).await.unwrap();
    assert_eq!(world.record().await.reason, Some(Reason::ClientClosed));
}
