//! gRPC without its messages' meaning: HTTP/2 streams whose body comes back, and `grpc-status: 0` at the end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::backend::listen;
use crate::histogram::Histogram;
use crate::load::Outcome;

/// Streams at once on a connection.
const STREAMS_MAX: u32 = 1024;
/// What a connection and a stream may have on the way, bytes.
const WINDOW: u32 = 1 << 20;
/// A message with its five bytes of prefix.
const MESSAGE_BYTES: usize = 5 + 128;
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Serves for ever: every message comes back as it comes.
pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = listen(address)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream));
        }
    })
}

async fn connection(stream: TcpStream) -> Result<(), h2::Error> {
    let mut server = h2::server::Builder::new();
    server.max_concurrent_streams(STREAMS_MAX);
    server.initial_window_size(WINDOW).initial_connection_window_size(WINDOW * 4);
    let mut connection = server.handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        tokio::task::spawn_local(async move {
            let mut head = Response::new(());
            head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            let send = respond.send_response(head, false)?;
            echo(request.into_body(), send).await
        });
    }
    Ok(())
}

async fn echo(mut body: RecvStream, mut send: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        send.send_data(data, false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}

/// What to call.
#[derive(Debug, Clone)]
pub struct Calls {
    /// Where to connect.
    pub address: SocketAddr,
    /// Path, as `/package.Service/Method`.
    pub path: String,
    /// `:authority`.
    pub host: String,
    /// Connections.
    pub connections: usize,
    /// Calls at once on each.
    pub streams: usize,
    /// False: each call is one message there and back. True: a call stays open, and each message counts.
    pub streaming: bool,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

#[derive(Debug, Default)]
struct Tally {
    histogram: Histogram,
    failed: u64,
    why: Option<String>,
    done: bool,
}

/// Runs it. `measuring` is called when the warm-up is over.
pub fn run(calls: &Calls, measuring: impl FnOnce()) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let calls = Rc::new(calls.clone());
    LocalSet::new().block_on(&runtime, async {
        for _ in 0..calls.connections.max(1) {
            let stream = TcpStream::connect(calls.address).await.context("connect")?;
            stream.set_nodelay(true)?;
            let mut client = h2::client::Builder::new();
            client.initial_window_size(WINDOW).initial_connection_window_size(WINDOW * 4);
            let (sender, connection) = client.handshake::<_, Bytes>(stream).await?;
            tokio::task::spawn_local(connection);
            for _ in 0..calls.streams.max(1) {
                tokio::task::spawn_local(drive(Rc::clone(&calls), sender.clone(), Rc::clone(&tally)));
            }
        }
        tokio::time::sleep(calls.warm_up).await;
        tally.take();
        measuring();
        let begun = Instant::now();
        tokio::time::sleep(calls.measured).await;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(tally.replace(Tally { done: true, ..Tally::default() }).outcome(seconds))
    })
}

impl Tally {
    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.why = Some(format!("{error:#}"));
    }

    fn outcome(self, seconds: f64) -> Outcome {
        let failed = (self.failed > 0).then(|| (self.why.unwrap_or_default(), self.failed));
        Outcome {
            completed: self.histogram.total(),
            failed: failed.into_iter().collect(),
            seconds,
            latency: self.histogram.times(),
        }
    }
}

async fn drive(calls: Rc<Calls>, sender: SendRequest<Bytes>, tally: Rc<RefCell<Tally>>) {
    while !tally.borrow().done {
        let call = async {
            if calls.streaming {
                stream(&calls, &sender, &tally).await
            } else {
                unary(&calls, &sender, &tally).await
            }
        };
        if let Err(error) = call.await {
            tally.borrow_mut().fail(&error);
            // A peer that refuses everything must not keep this thread busy.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn message() -> Bytes {
    let mut bytes = vec![b'm'; MESSAGE_BYTES];
    bytes[..5].copy_from_slice(&[0, 0, 0, 0, 128]);
    bytes.into()
}

fn begin(calls: &Calls) -> anyhow::Result<Request<()>> {
    let uri = http::Uri::builder().scheme("http").authority(calls.host.as_str());
    let uri = uri.path_and_query(calls.path.as_str()).build()?;
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    Ok(request.body(())?)
}

async fn unary(calls: &Calls, sender: &SendRequest<Bytes>, tally: &RefCell<Tally>) -> anyhow::Result<()> {
    let mut sender = sender.clone().ready().await?;
    let begun = Instant::now();
    let (response, mut send) = sender.send_request(begin(calls)?, false)?;
    send.send_data(message(), true)?;
    let response = within(response).await??;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(data) = within(body.data()).await? {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = within(body.trailers()).await??.context("no trailers")?;
    ensure!(bytes == MESSAGE_BYTES, "{bytes} bytes came back");
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "grpc-status");
    tally.borrow_mut().histogram.add(u64::try_from(begun.elapsed().as_nanos())?);
    Ok(())
}

async fn stream(calls: &Calls, sender: &SendRequest<Bytes>, tally: &RefCell<Tally>) -> anyhow::Result<()> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut send) = sender.send_request(begin(calls)?, false)?;
    send.send_data(message(), false)?;
    let response = within(response).await??;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    let mut begun = Instant::now();
    loop {
        let mut bytes = 0;
        while bytes < MESSAGE_BYTES {
            let data = within(body.data()).await?.context("the stream ended")??;
            bytes += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        tally.borrow_mut().histogram.add(u64::try_from(begun.elapsed().as_nanos())?);
        if tally.borrow().done {
            send.send_data(Bytes::new(), true)?;
            return Ok(());
        }
        begun = Instant::now();
        send.send_data(message(), false)?;
    }
}

async fn within<T>(what: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(ANSWER_MAX, what).await.context("no answer")
}
