//! Generated requests, good, odd and damaged: a backend sees what the slow reader by the grammar reads, or nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend::{Speaks, serve, text};
use super::client::within;
use super::{PortProtocol, UpstreamProtocol, World, cluster};
use crate::proxy::http::reference::messages::{any_damage, any_request, damaged};
use crate::proxy::http::reference::{
    DISGUISED, Message, REPEATED_LENGTH, Sizes, Stop, read_answer, read_request,
};

/// Larger than what is generated.
const SIZES: Sizes = Sizes { head: 16 * 1024, target: 4096, fields: 64 };
const MESSAGES: usize = 2_000;

/// The bytes with a `Host` after the first line: most of what is generated has none.
fn with_host(bytes: &[u8]) -> Vec<u8> {
    let begin = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    match bytes[begin..].windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => {
            let (line, rest) = bytes.split_at(begin + at + 2);
            [line, b"Host: shop.example\r\n", rest].concat()
        }
        None => bytes.to_vec(),
    }
}

/// Beyond its grammar there is nothing to refuse in it.
fn is_plain(message: &Message) -> bool {
    let hosts = message.fields.iter().filter(|(name, _)| name == "host").count();
    let target = String::from_utf8_lossy(&message.target);
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    // PRI begins the preface of HTTP/2, and no request.
    let is_known = message.method.iter().all(is_letter) && message.method != b"PRI";
    is_known && message.is_target_plain && hosts == 1 && target.starts_with('/') && !target.contains('%')
}

/// What a backend says of a request: its method, its body in one piece and a letter before each.
fn told(method: &[u8], body: &[u8]) -> Vec<u8> {
    [b"M", method, b"B", body].concat()
}

/// Writes a message in two pieces, says that nothing follows unless it is whole, and reads one answer, or to the end.
async fn ask(address: SocketAddr, message: &[u8], cut: usize, is_whole: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (first, second) = message.split_at(cut);
    let mut answer = Vec::new();
    // The gateway may have refused and closed by any of these.
    let _ = stream.write_all(first).await;
    tokio::task::yield_now().await;
    let _ = stream.write_all(second).await;
    if !is_whole {
        let _ = stream.shutdown().await;
    }
    let is_answered =
        |answer: &[u8]| is_whole && read_answer(answer, &SIZES, false).is_ok_and(|read| read.ends);
    while !is_answered(&answer) && matches!(within(stream.read_buf(&mut answer)).await, Ok(1..)) {}
    answer
}

#[tokio::test]
async fn a_backend_sees_what_the_grammar_says_or_nothing() {
    let whole = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&whole);
    let backend = serve(Speaks::Http1, move |request: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        async move {
            let method = request.method().as_str().as_bytes().to_vec();
            let Ok(body) = request.into_body().collect().await else { return Response::new(text("cut")) };
            counted.fetch_add(1, Ordering::SeqCst);
            Response::new(text(Bytes::from(told(&method, &body.to_bytes()))))
        }
    })
    .await;
    let mut world = World::new();
    let address = world.service(PortProtocol::Http, &cluster(1, UpstreamProtocol::Http, &[backend.address]));

    let mut runner = TestRunner::deterministic();
    let generated = (any_request(), prop::option::weighted(0.25, any_damage()), any::<prop::sample::Index>());
    let (mut served, mut refused) = (0, 0);
    for _ in 0..MESSAGES {
        let (message, damage, cut) = generated.new_tree(&mut runner).unwrap().current();
        let message = with_host(&damage.iter().fold(message, damaged));
        let cut = cut.index(message.len() + 1);
        let wanted = read_request(&message, &SIZES);
        // One of equal lengths may pass, and a name that is disguised in trailers frames nothing.
        if let Err(Stop::Refused(REPEATED_LENGTH | DISGUISED)) = wanted {
            continue;
        }
        let answer = ask(address, &message, cut, wanted.is_ok()).await;
        let shown = (String::from_utf8_lossy(&message), String::from_utf8_lossy(&answer));
        let is_served = answer.get(8..13) == Some(b" 200 ");
        match &wanted {
            Ok(read) => {
                assert!(is_served || !is_plain(read), "{wanted:?}: {shown:?}");
                let told = told(&read.method, &read.body);
                let same = answer.windows(told.len()).any(|window| window == told);
                assert!(!is_served || same, "{wanted:?}: {shown:?}");
            }
            Err(Stop::NeedMore | Stop::Refused(_)) => assert!(!is_served, "{wanted:?}: {shown:?}"),
        }
        *(if is_served { &mut served } else { &mut refused }) += 1;
    }
    assert!(served > MESSAGES / 20 && refused > MESSAGES / 10, "{served} served, {refused} refused");
    assert_eq!(whole.load(Ordering::SeqCst), served, "a backend has seen a request that was refused");
}
