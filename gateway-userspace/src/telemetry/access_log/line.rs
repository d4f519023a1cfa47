//! One record as one line: a JSON object under OpenTelemetry's attribute names, or text for people.
//!
//! Much of a record is what a client sent. Whatever bytes those are, a line stays one line.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

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

/// Milliseconds with microseconds behind the point.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "-".to_owned(),
    }
}

pub(crate) fn trace_id(record: &Record) -> Option<String> {
    record.trace_id.map(|id| format!("{:032x}", u128::from_be_bytes(id)))
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

    fn field<'a>(&self, bytes: &'a [u8]) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(&bytes[..bytes.len().min(self.field_bytes_max)])
    }

    fn json(&self, record: &Record, out: &mut Vec<u8>) {
        let mut line = Object::begin(out);
        line.text("time", &timestamp(record.start));
        self.json_request(record, &mut line);
        line.number("duration_ms", millis(record.duration));
        self.json_peers(record, &mut line);
        line.optional("network.protocol.name", Some(protocol_name(record.protocol)));
        line.optional("network.protocol.version", protocol_version(record.protocol));
        match record.client {
            None => {
                line.text("client.address", &record.downstream.ip().to_string());
                line.number("client.port", record.downstream.port());
            }
            Some(client) => {
                line.text("client.address", &client.to_string());
                line.text("network.peer.address", &record.downstream.ip().to_string());
                line.number("network.peer.port", record.downstream.port());
            }
        }
        line.number("attempts", record.attempts);
        if let Some(endpoint) = record.endpoint {
            line.text("upstream.address", &endpoint.to_string());
        }
        if let Some(duration) = record.upstream_duration {
            line.number("upstream.duration_ms", millis(duration));
        }
        line.optional("weir.reason", record.reason.map(|reason| reason.as_str()));
        line.number("bytes_received", record.bytes_received);
        line.number("bytes_sent", record.bytes_sent);
        line.nonempty("request_id", &self.field(record.text.request_id()));
        line.optional("trace_id", trace_id(record).as_deref());
        line.nonempty("user_agent.original", &self.field(record.text.user_agent()));
        line.end();
    }

    fn json_request(&self, record: &Record, line: &mut Object<'_>) {
        if let Some(method) = &record.method {
            line.text("http.request.method", &self.field(method.as_str().as_bytes()));
        }
        line.nonempty("authority", &self.field(record.text.authority()));
        line.nonempty("url.path", &self.field(record.text.path()));
        if let Some(status) = record.status {
            line.number("http.response.status_code", status.as_u16());
        }
        if let Some(code) = record.grpc_status {
            line.number("rpc.grpc.status_code", code);
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
            None => line.text("server.address", &record.destination.ip().to_string()),
        }
        line.number("server.port", record.destination.port());
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
        words.push(format!("{}ms", millis(record.duration)));
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
        let text = self.field(bytes);
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

/// DEL, C1 controls, line separators, marks of direction and of no width: some readers end a line at
/// them, some act on them, and some do not show them.
const fn obeyed(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// A JSON object that is written field by field.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    fn key(&mut self, key: &str) {
        self.out.push(self.separator);
        self.separator = b',';
        self.string(key);
        self.out.push(b':');
    }

    fn string(&mut self, text: &str) {
        if text.bytes().any(|byte| byte >= 0x7f) && text.chars().any(obeyed) {
            return self.escaped(text);
        }
        let start = self.out.len();
        if serde_json::to_writer(&mut *self.out, text).is_err() {
            self.out.truncate(start);
            self.out.extend_from_slice(b"null");
        }
    }

    /// JSON need not escape these, and a terminal that shows the line obeys them.
    fn escaped(&mut self, text: &str) {
        self.out.push(b'"');
        for character in text.chars() {
            // Writing to a vector cannot fail.
            let _ = match character {
                '"' | '\\' => write!(self.out, "\\{character}"),
                _ if character.is_ascii_control() || obeyed(character) => {
                    write!(self.out, "\\u{:04x}", u32::from(character))
                }
                _ => write!(self.out, "{character}"),
            };
        }
        self.out.push(b'"');
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn nonempty(&mut self, key: &str, value: &str) {
        self.optional(key, Some(value).filter(|value| !value.is_empty()));
    }

    /// `value` must print as a JSON number: integers and finite floats do.
    fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
