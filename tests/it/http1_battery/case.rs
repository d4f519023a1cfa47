//! One row of the battery: what is sent, what the client is told and what the backend sees.

/// What must come of a request.
pub(crate) enum Want {
    /// One of these answers, or none for 0, and the connection is closed; the backend sees nothing.
    Refused(&'static [u16]),
    /// The backend sees these requests, and nothing else, and each is answered.
    Served(Vec<Seen>),
    /// The same, but the connection may be closed behind the first.
    ServedOrClosed(Vec<Seen>),
    /// Served, or refused.
    Either(Vec<Seen>, &'static [u16]),
    /// Refused, but its head may have gone on: the backend sees no whole request, and that it has ended.
    Broken,
    /// The backend agrees to switch, and then gets these bytes.
    Switched(Seen, &'static [u8]),
}

/// One row.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) writes: Vec<Vec<u8>>,
    /// The client closes its sending side behind that.
    pub(crate) finishes: bool,
    pub(crate) want: Want,
}

/// A request as the backend sees it, without framing and what the gateway itself adds.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) start: &'static str,
    /// `None` for a value: the address that was dialled.
    pub(crate) fields: Vec<&'static str>,
    /// Where a Gateway passes on less than a pod's listener.
    pub(crate) not_by_gateway: Vec<&'static str>,
    pub(crate) body: Vec<u8>,
}

/// Stands for the address that was dialled.
pub(crate) const HOST_DIALLED: &str = "host: (dialled)";

pub(crate) const BAD: &[u16] = &[400];
/// What is no HTTP may be answered by nothing.
pub(crate) const BAD_OR_NOTHING: &[u16] = &[0, 400];
pub(crate) const CODING: &[u16] = &[400, 501];

impl Seen {
    /// With the host `h` and no body.
    pub(crate) fn new(start: &'static str) -> Self {
        let none = Vec::new();
        Self { start, fields: vec!["host: h"], not_by_gateway: none, body: Vec::new() }
    }

    /// With another host.
    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.fields[0] = host;
        self
    }

    pub(crate) fn and(mut self, field: &'static str) -> Self {
        self.fields.push(field);
        self
    }

    pub(crate) fn and_from_pods(mut self, field: &'static str) -> Self {
        self.not_by_gateway.push(field);
        self.and(field)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// A row whose bytes are written at once.
pub(crate) fn case(name: impl Into<String>, raw: impl Into<Vec<u8>>, want: Want) -> Case {
    Case { name: name.into(), writes: vec![raw.into()], finishes: false, want }
}

/// Refused with one of these statuses.
pub(crate) fn refused(name: impl Into<String>, raw: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    case(name, raw, Want::Refused(statuses))
}

/// One clean request.
pub(crate) fn served(name: impl Into<String>, raw: impl Into<Vec<u8>>, seen: Seen) -> Case {
    case(name, raw, Want::Served(vec![seen]))
}

/// A GET of `/` for the host `h` with these field lines, each with its end.
pub(crate) fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

/// A POST to `/` for the host `h` with these field lines and this body.
pub(crate) fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}")
}
