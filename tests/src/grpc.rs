//! A gRPC client as applications have it: tonic, with one channel, hence one connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What became of the calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Calls made.
    pub calls: u64,
    /// Answered with status OK.
    pub ok: u64,
    /// Failures by gRPC status.
    pub errors: BTreeMap<String, u64>,
    /// Answers by replica.
    pub replicas: BTreeMap<String, u64>,
}

/// Connects once; every call goes over this connection.
pub async fn connect(address: SocketAddr) -> anyhow::Result<Grpc<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = endpoint.connect().await.with_context(|| format!("cannot connect to {address}"))?;
    Ok(Grpc::new(channel))
}

/// Unary calls, one after the other.
pub async fn unary(client: &mut Grpc<Channel>, count: u64) -> anyhow::Result<Calls> {
    let mut calls = Calls::default();
    for number in 0..count {
        client.ready().await.context("the connection is gone")?;
        let request = Request::new(Bytes::from(format!("call {number}")));
        let path = PathAndQuery::from_static("/echo.Echo/Unary");
        let answer = client.unary(request, path, TextCodec).await;
        calls.add(answer.map(tonic::Response::into_inner));
    }
    Ok(calls)
}

/// One bidirectional stream; each message waits for the answer to the one before.
pub async fn stream(client: &mut Grpc<Channel>, messages: u64) -> anyhow::Result<Calls> {
    client.ready().await.context("the connection is gone")?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let outgoing = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let path = PathAndQuery::from_static("/echo.Echo/Stream");
    sender.send(Bytes::from_static(b"message 0")).await?;
    let mut incoming = client.streaming(Request::new(outgoing), path, TextCodec).await?.into_inner();
    let mut calls = Calls::default();
    for number in 1..=messages {
        let answer = incoming.message().await.and_then(|m| m.ok_or_else(|| Status::aborted("ended early")));
        calls.add(answer);
        if number < messages {
            sender.send(Bytes::from(format!("message {number}"))).await?;
        }
    }
    drop(sender);
    anyhow::ensure!(incoming.message().await?.is_none(), "more answers than messages");
    Ok(calls)
}

impl Calls {
    fn add(&mut self, answer: Result<Bytes, Status>) {
        self.calls += 1;
        match answer {
            Ok(message) => {
                self.ok += 1;
                let text = String::from_utf8_lossy(&message);
                let replica = text.split(':').next().unwrap_or_default().to_owned();
                *self.replicas.entry(replica).or_default() += 1;
            }
            Err(status) => *self.errors.entry(format!("{:?}", status.code())).or_default() += 1,
        }
    }
}

/// Messages are text: no generated code on either side.
#[derive(Debug, Clone, Copy)]
struct TextCodec;

impl Codec for TextCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for TextCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for TextCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
