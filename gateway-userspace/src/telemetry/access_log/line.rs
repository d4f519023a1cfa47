//! One record as one line: a JSON object under OpenTelemetry's attribute names, or text for people.
//!
//! Much of a record is what a client sent. Whatever bytes those are, a line stays one line.

use std::time::SystemTime;

use super::figures;
use super::json::Object;
use crate::telemetry::directory::Directory;
use crate::telemetry::record::{Protocol, Record};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line of text.
    Text,
}

/// Writes lines. Keeps nothing between them but its settings.
#[derive(Debug, Clone)]
pub struct LineWriter {
    /// How lines look.
    pub format: LogFormat,
    /// Names for the numbers in records.
    pub directory: Directory,
    /// Longest field, bytes; the rest of a longer one is cut off.
    pub field_bytes_max: usize,
}

/// `http`, `grpc`, `websocket`: told apart by who reads it, not by what is on the wire.
const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => "http",
        Protocol::Upgrade => "websocket",
        Protocol::Tcp => "tcp",
    }
}

/// `network.protocol.version`, where there is one.
pub(crate) const fn protocol_version(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::Http1 | Protocol::Upgrade => Some("1.1"),
        Protocol::Http2 | Protocol::Grpc => Some("2"),
        Protocol::Tcp => None,
    }
}

/// `error.type` of OpenTelemetry: Weir's reason, else a status that says failure.
fn error_type(record: &Record) -> Option<String> {
    if let Some(reason) = record.reason {
        return Some(reason.as_str().to_owned());
    }
    let status = record.status.filter(|s| s.is_client_error() || s.is_server_error());
    status.map(|s| s.as_str().to_owned()).or_else(|| {
        let code = record.grpc_status.filter(|code| *code != 0)?;
        Some(format!("grpc_{code}"))
    })
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    shown(|out| figures::put_timestamp(out, time))
}

fn shown(put: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    put(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn trace_id(record: &Record) -> Option<String> {
    record.trace_id.map(|id| shown(|out| figures::put_hex(out, &id)))
}

impl LineWriter {
    /// Appends one line with its newline.
    pub fn write(&self, record: &Record, out: &mut Vec<u8>) {
        match self.format {
            LogFormat::Json => self.json(record, out),
            LogFormat::Text => self.text(record, out),
        }
        out.push(b'\n');
    }

    fn cut<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.field_bytes_max)]
    }

    fn json(&self, record: &Record, out: &mut Vec<u8>) {
        let mut line = Object::begin(out);
        line.time("time", record.start);
        self.json_request(record, &mut line);
        line.millis("duration_ms", record.duration);
        self.json_peers(record, &mut line);
        line.text("network.protocol.name", protocol_name(record.protocol));
        line.optional("network.protocol.version", protocol_version(record.protocol));
        match record.client {
            None => {
                line.ip("client.address", record.downstream.ip());
                line.integer("client.port", record.downstream.port());
            }
            Some(client) => {
                line.ip("client.address", client);
                line.ip("network.peer.address", record.downstream.ip());
                line.integer("network.peer.port", record.downstream.port());
            }
        }
        line.integer("attempts", record.attempts);
        if let Some(endpoint) = record.endpoint {
            line.socket("upstream.address", endpoint);
        }
        if let Some(duration) = record.upstream_duration {
            line.millis("upstream.duration_ms", duration);
        }
        line.optional("weir.reason", record.reason.map(|reason| reason.as_str()));
        line.integer("bytes_received", record.bytes_received);
        line.integer("bytes_sent", record.bytes_sent);
        line.nonempty("request_id", self.cut(record.text.request_id()));
        if let Some(id) = record.trace_id {
            line.hex("trace_id", &id);
        }
        line.nonempty("user_agent.original", self.cut(record.text.user_agent()));
        line.end();
    }

    fn json_request(&self, record: &Record, line: &mut Object<'_>) {
        if let Some(method) = &record.method {
            line.bytes("http.request.method", self.cut(method.as_str().as_bytes()));
        }
        line.nonempty("authority", self.cut(record.text.authority()));
        line.nonempty("url.path", self.cut(record.text.path()));
        if let Some(status) = record.status {
            line.integer("http.response.status_code", status.as_u16());
        }
        if let Some(code) = record.grpc_status {
            line.integer("rpc.grpc.status_code", code);
        }
        line.optional("error.type", error_type(record).as_deref());
    }

    fn json_peers(&self, record: &Record, line: &mut Object<'_>) {
        if let Some(pod) = self.directory.pod(record.pod) {
            line.text("service.namespace", &pod.namespace);
            line.text("service.name", &pod.service);
            line.text("k8s.pod.name", &pod.name);
        }
        match record.frontend.and_then(|id| self.directory.service(id)) {
            Some(service) => line.text("server.address", &service.host()),
            None => line.ip("server.address", record.destination.ip()),
        }
        line.integer("server.port", record.destination.port());
        line.optional("http.route", record.rule.and_then(|id| self.directory.rule(id)).as_deref());
        if let Some(peer) = record.cluster.and_then(|id| self.directory.service(id)) {
            line.text("service.peer.namespace", peer.namespace());
            line.text("service.peer.name", peer.service());
        }
    }

    /// `time caller method authority path status duration -> service endpoint key=value...`
    fn text(&self, record: &Record, out: &mut Vec<u8>) {
        let mut words = vec![timestamp(record.start)];
        words.push(match self.directory.pod(record.pod) {
            Some(pod) => pod.to_string(),
            None => record.client.map_or_else(|| record.downstream.to_string(), |client| client.to_string()),
        });
        match &record.method {
            Some(method) => words.push(self.word(method.as_str().as_bytes())),
            None => words.push(protocol_name(record.protocol).to_uppercase()),
        }
        words.push(self.word(record.text.authority()));
        words.push(self.word(record.text.path()));
        words.push(record.status.map_or_else(|| "-".to_owned(), |s| s.as_str().to_owned()));
        words.push(shown(|out| figures::put_millis(out, record.duration)) + "ms");
        words.push("->".to_owned());
        let peer = record.cluster.or(record.frontend).and_then(|id| self.directory.service(id));
        words.push(peer.map_or_else(|| "-".to_owned(), |service| service.as_str().to_owned()));
        words.push(record.endpoint.map_or_else(|| "-".to_owned(), |address| address.to_string()));
        let pairs = [
            ("route", record.rule.and_then(|id| self.directory.rule(id)).map(|name| name.to_string())),
            ("reason", record.reason.map(|reason| reason.to_string())),
            ("grpc", record.grpc_status.map(|code| code.to_string())),
            ("attempts", (record.attempts > 1).then(|| record.attempts.to_string())),
            ("id", Some(self.word(record.text.request_id())).filter(|id| id != "-")),
            ("trace", trace_id(record)),
        ];
        words.extend(pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
        out.extend_from_slice(words.join(" ").as_bytes());
    }

    /// A field as one word: quoted as in JSON when it has a space or anything that is not visible.
    fn word(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(self.cut(bytes));
        if text.is_empty() {
            "-".to_owned()
        } else if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            text.into_owned()
        } else {
            text.escape_debug().fold(String::from("\""), |quoted, c| quoted + c.encode_utf8(&mut [0; 4]))
                + "\""
        }
    }
}
