//! Asks the running gateway, over its Unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{Failure, Verdict};
use crate::admin::server::FINDINGS_HEADER;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the gateway answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// It says that something must be looked at.
    pub findings: bool,
}

impl Answer {
    /// Writes the body to stdout, or says why there is none.
    ///
    /// # Errors
    /// `Failure::Failed` with what the gateway says.
    pub fn print(&self) -> Result<Verdict, Failure> {
        let text = String::from_utf8_lossy(&self.body);
        if !self.status.is_success() {
            let said = serde_json::from_str::<serde_json::Value>(&text).ok();
            let said = said.as_ref().and_then(|v| v["error"].as_str()).unwrap_or(text.trim());
            return Err(Failure::Failed(said.to_owned()));
        }
        super::output::write(&text)?;
        Ok(if self.findings { Verdict::Findings } else { Verdict::Fine })
    }
}

/// Sends one request without a body, from a thread that has no runtime.
///
/// # Errors
/// `Failure::Unreachable` when nobody answers, in time or at all.
pub fn ask(socket: &Path, method: Method, path_and_query: &str) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    runtime.block_on(send(socket, method, path_and_query))
}

/// Sends one request without a body.
///
/// # Errors
/// As `ask`.
pub async fn send(socket: &Path, method: Method, path_and_query: &str) -> Result<Answer, Failure> {
    match tokio::time::timeout(TIMEOUT, exchange(socket, method, path_and_query)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Unreachable(format!(
            "the gateway at {} accepts but does not answer within {} s; is it stopped or overloaded?",
            socket.display(),
            TIMEOUT.as_secs()
        ))),
    }
}

async fn exchange(socket: &Path, method: Method, path_and_query: &str) -> Result<Answer, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|e| unreachable(socket, &e))?;
    let lost =
        |e: hyper::Error| Failure::Unreachable(format!("the gateway at {} hung up: {e}", socket.display()));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(http::header::HOST, "weir")
        .body(Empty::<Bytes>::new())
        .map_err(|e| Failure::Usage(format!("cannot ask for {path_and_query}: {e}")))?;
    let read = async {
        let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|e| {
            Failure::Unreachable(format!("the answer of the gateway at {} broke off: {e}", socket.display()))
        })?;
        let findings = head.headers.contains_key(FINDINGS_HEADER);
        Ok(Answer { status: head.status, body: body.to_bytes(), findings })
    };
    tokio::pin!(read);
    tokio::select! {
        answer = &mut read => answer,
        _ = connection => read.await,
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    Failure::Unreachable(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "no gateway at {socket}: start one with `weir run --config DIR`, or say with --admin-socket where it is"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("nobody answers at {socket}: the gateway that made it has ended; start it again")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{socket} may not be used by you: run this as the user that runs the gateway, or as root")
        }
        _ => format!("cannot reach the gateway at {socket}: {error}"),
    })
}
