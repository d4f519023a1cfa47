//! Clients that keep what they have open, and count each time it breaks: upgrades, gRPC streams, long polls, TCP.

mod rude;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// No answer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// gRPC streams of one connection.
const STREAMS_PER_CONNECTION: usize = 20;

/// How long a long poll waits for its answer, milliseconds.
const POLL_MILLIS: u64 = 700;

/// What is to be kept open.
#[derive(Debug, Clone)]
pub struct Streams {
    /// An HTTP port with an echo backend behind it.
    pub address: SocketAddr,
    /// A port that speaks no HTTP, for TCP connections.
    pub tcp: Option<SocketAddr>,
    /// The name that requests ask for.
    pub host: String,
    /// Upgraded connections.
    pub websockets: usize,
    /// Bidirectional gRPC streams.
    pub grpc: usize,
    /// Requests whose answer takes its time.
    pub polls: usize,
    /// Connections without HTTP, where there is a port for them.
    pub relays: usize,
    /// Clients that reset connections in the middle of a request.
    pub resets: usize,
    /// Clients that send and read byte by byte.
    pub slow: usize,
    /// Between two messages of a stream.
    pub pause: Duration,
    /// After this its client ends it in good order and begins another.
    pub lifetime: Duration,
}

/// What became of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Streams begun, by kind.
    pub opened: BTreeMap<String, u64>,
    /// Messages that came back, by kind.
    pub messages: BTreeMap<String, u64>,
    /// Streams that ended before their client ended them, or could not be opened, by what went wrong.
    pub broken: BTreeMap<String, u64>,
}

impl Kept {
    /// What became of others, too.
    pub fn add(&mut self, other: Self) {
        let all = [
            (&mut self.opened, other.opened),
            (&mut self.messages, other.messages),
            (&mut self.broken, other.broken),
        ];
        for (sums, more) in all {
            for (kind, count) in more {
                *sums.entry(kind).or_default() += count;
            }
        }
    }

    /// All that broke.
    pub fn breaks(&self) -> u64 {
        self.broken.values().sum()
    }
}

type Shared = Rc<RefCell<Kept>>;

/// One stream's way through its life.
struct Life {
    kind: &'static str,
    streams: Rc<Streams>,
    kept: Shared,
    told: Rc<RefCell<bool>>,
    until: Instant,
}

impl Life {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until || *self.told.borrow()
    }

    fn opened(&self) {
        *self.kept.borrow_mut().opened.entry(self.kind.to_owned()).or_default() += 1;
    }

    async fn exchanged(&self) {
        *self.kept.borrow_mut().messages.entry(self.kind.to_owned()).or_default() += 1;
        tokio::time::sleep(self.streams.pause).await;
    }
}

/// Keeps them all open until `stop`, on this thread.
pub async fn keep(streams: Streams, stop: impl Future<Output = ()>) -> Kept {
    let (streams, kept) = (Rc::new(streams), Shared::default());
    let told = Rc::new(RefCell::new(false));
    let local = LocalSet::new();
    let mut all = Vec::new();
    let kinds = [
        ("websocket", streams.websockets),
        ("grpc", streams.grpc.div_ceil(STREAMS_PER_CONNECTION)),
        ("poll", streams.polls),
        ("tcp", if streams.tcp.is_some() { streams.relays } else { 0 }),
        ("reset", streams.resets),
        ("slow", streams.slow),
    ];
    for (kind, count) in kinds {
        for number in 0..count {
            let (streams, kept, told) = (Rc::clone(&streams), Rc::clone(&kept), Rc::clone(&told));
            all.push(local.spawn_local(live(kind, number, streams, kept, told)));
        }
    }
    local
        .run_until(async {
            pin!(stop).await;
            *told.borrow_mut() = true;
            for one in all {
                // One that panicked is missing from the sums.
                let _ = one.await;
            }
        })
        .await;
    kept.take()
}

/// One stream after the other.
async fn live(
    kind: &'static str,
    number: usize,
    streams: Rc<Streams>,
    kept: Shared,
    told: Rc<RefCell<bool>>,
) {
    while !*told.borrow() {
        // Not all of them at once.
        let lifetime = streams.lifetime.mul_f64(0.5 + fastrand::f64());
        let until = Instant::now() + lifetime;
        let life = Life {
            kind,
            streams: Rc::clone(&streams),
            kept: Rc::clone(&kept),
            told: Rc::clone(&told),
            until,
        };
        let ended = match kind {
            "websocket" => websocket(&life).await,
            "grpc" => grpc_connection(&life, number).await,
            "poll" => poll(&life).await,
            "tcp" => relay(&life).await,
            // What these are told, or not, is as they deserve.
            "reset" => rude::reset(&life).await.or(Ok(())),
            _ => rude::slow(&life).await.or(Ok(())),
        };
        if let Err(error) = ended {
            *kept.borrow_mut().broken.entry(format!("{kind}: {error:#}")).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn within<T>(what: &'static str, future: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done.context(what),
        Err(_) => bail!("{what} took too long"),
    }
}

/// Sends messages of its own and expects each back.
async fn echo(life: &Life, stream: &mut TcpStream) -> Result<()> {
    let mut number = 0_u64;
    while !life.is_over() {
        number += 1;
        let message = format!("{:>15}\n", number);
        within("a message out", stream.write_all(message.as_bytes())).await?;
        let mut back = [0; 16];
        within("a message back", stream.read_exact(&mut back)).await?;
        ensure!(back == *message.as_bytes(), "another message came back");
        life.exchanged().await;
    }
    within("the end", stream.shutdown()).await?;
    let mut rest = Vec::new();
    within("the other end", stream.read_to_end(&mut rest)).await?;
    ensure!(rest.is_empty(), "more than was sent");
    Ok(())
}

async fn websocket(life: &Life) -> Result<()> {
    let mut stream = within("connect", TcpStream::connect(life.streams.address)).await?;
    let ask = format!(
        "GET /chat HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        life.streams.host
    );
    within("the request", stream.write_all(ask.as_bytes())).await?;
    let head = read_head(&mut stream).await?;
    ensure!(head.starts_with("HTTP/1.1 101"), "{}", head.lines().next().unwrap_or_default());
    life.opened();
    echo(life, &mut stream).await
}

async fn relay(life: &Life) -> Result<()> {
    let address = life.streams.tcp.context("no port")?;
    let mut stream = within("connect", TcpStream::connect(address)).await?;
    let mut byte = [0];
    while byte != *b"\n" {
        within("the greeting", stream.read_exact(&mut byte)).await?;
    }
    life.opened();
    echo(life, &mut stream).await
}

async fn poll(life: &Life) -> Result<()> {
    let mut stream = within("connect", TcpStream::connect(life.streams.address)).await?;
    life.opened();
    while !life.is_over() {
        let ask = format!("GET /wait/{POLL_MILLIS} HTTP/1.1\r\nHost: {}\r\n\r\n", life.streams.host);
        within("the request", stream.write_all(ask.as_bytes())).await?;
        let head = read_head(&mut stream).await?.to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 200"), "{}", head.lines().next().unwrap_or_default());
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = vec![0; length.context("an answer without a length")?];
        within("the body", stream.read_exact(&mut body)).await?;
        life.exchanged().await;
        if head.contains("connection: close") {
            return Ok(());
        }
    }
    Ok(())
}

async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        within("the answer", stream.read_exact(&mut byte)).await?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A connection with as many streams as one takes.
async fn grpc_connection(life: &Life, number: usize) -> Result<()> {
    let begun = number * STREAMS_PER_CONNECTION;
    let count = (life.streams.grpc - begun).min(STREAMS_PER_CONNECTION);
    let stream = within("connect", TcpStream::connect(life.streams.address)).await?;
    let (sender, connection) = h2::client::handshake(stream).await.context("the handshake")?;
    let connection = tokio::task::spawn_local(connection);
    let all = (0..count).map(|_| grpc(life, sender.clone()));
    for ended in futures_util::future::join_all(all).await {
        if let Err(error) = ended {
            *life.kept.borrow_mut().broken.entry(format!("grpc: {error:#}")).or_default() += 1;
        }
    }
    drop(sender);
    connection.abort();
    Ok(())
}

async fn grpc(life: &Life, sender: SendRequest<Bytes>) -> Result<()> {
    let mut sender = sender.ready().await.context("the connection")?;
    let uri = format!("http://{}/echo.Echo/Stream", life.streams.host);
    let request =
        Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (answer, mut out) = sender.send_request(request, false).context("the request")?;
    let mut answer = Some(answer);
    let mut back = None;
    let mut buffer = Vec::new();
    let message = Bytes::from_static(b"\0\0\0\0\x04ping");
    while !life.is_over() {
        out.send_data(message.clone(), false).context("a message out")?;
        if let Some(answer) = answer.take() {
            let answer =
                tokio::time::timeout(PATIENCE, answer).await.context("the answer took too long")??;
            ensure!(answer.status() == 200, "{}", answer.status());
            life.opened();
            back = Some(answer.into_body());
        }
        let body = back.as_mut().context("no answer")?;
        while !buffer.ends_with(b"ping") {
            let data =
                tokio::time::timeout(PATIENCE, body.data()).await.context("a message took too long")?;
            let data = data.context("the stream ended")?.context("a message back")?;
            body.flow_control().release_capacity(data.len())?;
            buffer.extend_from_slice(&data);
        }
        buffer.clear();
        life.exchanged().await;
    }
    out.send_data(Bytes::new(), true).context("the end")?;
    let Some(mut body) = back else { return Ok(()) };
    while let Some(data) =
        tokio::time::timeout(PATIENCE, body.data()).await.context("the end took too long")?
    {
        data.context("before the end")?;
    }
    let trailers = body.trailers().await?.context("no trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "{trailers:?}");
    Ok(())
}
