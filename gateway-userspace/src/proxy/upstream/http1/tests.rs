use std::time::Duration;

use http::Request;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Http1Body, Http1Connection, Unanswered, exchange};
use crate::limits::Limits;
use crate::proxy::http::interim::Interim;
use crate::proxy::http1::framing::BodyLength;
use crate::proxy::upstream::body::RequestBody;
use crate::proxy::upstream::retry::Reached;
use crate::reason::Reason;

/// A connection, and the endpoint's end of it.
async fn pair(limits: &Limits) -> (Box<Http1Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Box::new(Http1Connection::new(client.unwrap(), limits)), accepted.unwrap().0)
}

async fn post(
    connection: Box<Http1Connection>,
    limits: &Limits,
) -> Result<(http::response::Parts, Http1Body), Unanswered> {
    let parts = Request::post("/order").header("host", "shop").body(()).unwrap().into_parts().0;
    let interim = Interim::default();
    let put = |parts| interim.put(parts);
    exchange(connection, &parts, RequestBody::empty(limits), BodyLength::Empty, limits, &put).await
}

async fn read_head(endpoint: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(endpoint.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_request_that_met_a_closed_connection_provably_did_not_arrive() {
    let limits = Limits::default();
    let (mut connection, mut endpoint) = pair(&limits).await;
    // One whole exchange before, as a pooled connection has had.
    let serving = async {
        read_head(&mut endpoint).await;
        endpoint.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    let (answered, ()) = tokio::join!(post(connection, &limits), serving);
    connection = answered.ok().and_then(|(_, mut body)| body.take_reusable()).unwrap();
    SockRef::from(&endpoint).set_linger(Some(Duration::ZERO)).unwrap();
    drop(endpoint);
    let unanswered = post(connection, &limits).await.err().unwrap();
    assert_eq!(unanswered.broken.reached, Reached::Unprocessed);
    assert!(unanswered.body.is_some(), "it can be sent again");
}

#[tokio::test]
async fn a_request_that_was_read_may_have_been_acted_upon() {
    let limits = Limits::default();
    let (connection, mut endpoint) = pair(&limits).await;
    let serving = async {
        read_head(&mut endpoint).await;
        drop(endpoint);
    };
    let (answered, ()) = tokio::join!(post(connection, &limits), serving);
    let broken = answered.err().unwrap().broken;
    assert_eq!((broken.reached, broken.reason), (Reached::Unknown, Reason::UpstreamReset));
}

#[tokio::test]
async fn a_connection_with_more_bytes_than_its_answer_is_not_used_again() {
    let limits = Limits::default();
    let (connection, mut endpoint) = pair(&limits).await;
    let serving = async {
        read_head(&mut endpoint).await;
        let two = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        endpoint.write_all(two).await.unwrap();
    };
    let (answered, ()) = tokio::join!(post(connection, &limits), serving);
    let mut body = answered.ok().unwrap().1;
    assert!(body.take_reusable().is_none());
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_counted() {
    let limits = Limits::default();
    for (count, is_answered) in [(3, true), (100, false)] {
        let (connection, mut endpoint) = pair(&limits).await;
        let serving = async {
            read_head(&mut endpoint).await;
            let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
            bytes.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
            let _ = endpoint.write_all(&bytes).await;
        };
        let (answered, ()) = tokio::join!(post(connection, &limits), serving);
        assert_eq!(answered.is_ok(), is_answered);
    }
}
