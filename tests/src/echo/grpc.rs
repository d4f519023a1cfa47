//! The gRPC side of the echo backend: each message comes back behind the replica's name.
//!
//! Messages are plain text, so that neither side needs generated code; the framing is gRPC's own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Channel};
use hyper::body::{Body, Incoming};

use super::EchoBody;

/// Length of the flag and size in front of each message.
const PREFIX: usize = 5;

pub(super) fn is_grpc(request: &Request<impl Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

pub(super) fn answer(name: &str, request: Request<Incoming>) -> Response<EchoBody> {
    let (mut sender, body) = Channel::<Bytes, hyper::Error>::new(16);
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut request = request.into_body();
        let mut received = BytesMut::new();
        while let Some(Ok(frame)) = request.frame().await {
            if let Ok(data) = frame.into_data() {
                received.put(data);
            }
            while let Some(message) = take_message(&mut received) {
                if sender.send_data(reply(&name, &message)).await.is_err() {
                    return;
                }
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = sender.send_trailers(trailers).await;
    });
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let size = u32::from_be_bytes(received.get(1..PREFIX)?.try_into().ok()?) as usize;
    if received.len() < PREFIX + size {
        return None;
    }
    received.advance(PREFIX);
    Some(received.split_to(size).freeze())
}

fn reply(name: &str, message: &[u8]) -> Bytes {
    let mut reply = BytesMut::with_capacity(PREFIX + name.len() + 2 + message.len());
    reply.put_u8(0);
    reply.put_u32((name.len() + 2 + message.len()) as u32);
    reply.put_slice(name.as_bytes());
    reply.put_slice(b": ");
    reply.put_slice(message);
    reply.freeze()
}
