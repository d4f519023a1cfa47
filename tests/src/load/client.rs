//! One connection of a load, made again when it is gone.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Load;

/// What a request failed of, as the tally names it.
pub(super) type Failure = Cow<'static, str>;

/// The server ends the connection in good order and has not looked at the request (RFC 9113 6.8), or it was
/// not sent any more: what any HTTP/2 client sends again on a new connection.
const UNPROCESSED: &str = "goaway";
/// So often a request is sent again.
const REPEATS_MAX: u64 = 3;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How often the request was sent again after a GOAWAY.
    pub(super) repeats: u64,
    pub(super) replica: Option<String>,
    /// Why Weir answered itself, in its word.
    pub(super) reason: Option<String>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug)]
pub(super) struct Client<'l> {
    load: &'l Load,
    sender: Option<Sender>,
}

/// The reason in a `Proxy-Status` field (RFC 9209).
fn reason_of(field: &http::HeaderValue) -> Option<String> {
    let (_, details) = field.to_str().ok()?.split_once("details=\"")?;
    Some(details.split_once('"')?.0.to_owned())
}

impl<'l> Client<'l> {
    pub(super) fn new(load: &'l Load) -> Self {
        Self { load, sender: None }
    }

    /// Forgets the connection.
    pub(super) fn reset(&mut self) {
        self.sender = None;
    }

    pub(super) async fn request(&mut self) -> Result<Answer, Failure> {
        let mut repeats = 0;
        loop {
            let outcome = self.exchange().await;
            if outcome.is_err() || !self.load.keep_alive {
                self.reset();
            }
            match outcome {
                Err(kind) if kind == UNPROCESSED && repeats < REPEATS_MAX => repeats += 1,
                outcome => return outcome.map(|answer| Answer { repeats, ..answer }),
            }
        }
    }

    async fn exchange(&mut self) -> Result<Answer, Failure> {
        let request = self.build()?;
        let sender = self.sender().await?;
        let response = match sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        let response = response.map_err(|error| kind_of(&error))?;
        let status = response.status().as_u16();
        let replica =
            response.headers().get("x-replica").and_then(|name| name.to_str().ok()).map(str::to_owned);
        let reason = response.headers().get("proxy-status").and_then(reason_of);
        let closes = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        response.into_body().collect().await.map_err(|error| kind_of(&error))?;
        if closes {
            self.reset();
        }
        Ok(Answer { status, repeats: 0, replica, reason })
    }

    fn build(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let uri = &self.load.uri;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.load.method.clone();
        if self.load.http2 {
            *request.uri_mut() = uri.clone();
        } else {
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            *request.uri_mut() = target.parse().map_err(|_| Failure::from("bad_target"))?;
            let host = uri.authority().map_or("localhost", |authority| authority.as_str());
            let host = HeaderValue::from_str(host).map_err(|_| Failure::from("bad_host"))?;
            request.headers_mut().insert(header::HOST, host);
        }
        for (name, value) in &self.load.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    /// The connection, made if there is none that is ready. A keep-alive connection that the peer ended
    /// between two requests is not a failure of the next one.
    async fn sender(&mut self) -> Result<&mut Sender, Failure> {
        let ready = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            self.sender = None;
        }
        match &mut self.sender {
            Some(sender) => Ok(sender),
            empty => Ok(empty.insert(connect(self.load).await?)),
        }
    }
}

async fn connect(load: &Load) -> Result<Sender, Failure> {
    let stream = TcpStream::connect(load.address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::from("connect_refused"),
        kind => format!("connect: {kind}").into(),
    })?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    if load.http2 {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| kind_of(&error))?;
        tokio::task::spawn_local(connection);
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::handshake(io).await.map_err(|error| kind_of(&error))?;
    tokio::task::spawn_local(connection);
    Ok(Sender::Http1(sender))
}

fn kind_of(error: &hyper::Error) -> Failure {
    if error.is_incomplete_message() {
        return "closed_before_answer".into();
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>()
            && error.is_go_away()
            && error.is_remote()
            && error.reason() == Some(h2::Reason::NO_ERROR)
        {
            return UNPROCESSED.into();
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.kind().to_string().into();
        }
        source = cause.source();
    }
    error.to_string().into()
}
