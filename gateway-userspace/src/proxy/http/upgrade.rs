//! WebSocket and other upgrades (RFC 9110 7.8): after both sides have switched, bytes are relayed.
//!
//! What the client sends before the endpoint's 101 stays with the HTTP codec: it never reaches the
//! endpoint unless that has agreed to switch.

use std::rc::Rc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode, Version, request};

use super::body::ResponseBody;
use super::connection::Connection;
use super::headers;
use crate::proxy::recorder::Recorder;
use crate::proxy::tcp::relay::{Side, relay};
use crate::proxy::upstream::answer::AnswerBody;
use crate::proxy::upstream::http1::Http1Connection;
use crate::proxy::upstream::pool::Lease;
use crate::proxy::upstream::registry::InFlight;
use crate::reason::Reason;
use crate::telemetry::record::Protocol;

/// A client that wants to switch.
pub struct Upgrade {
    protocol: HeaderValue,
}

/// What a switched connection holds until it ends.
pub struct Switched {
    connection: Rc<Connection>,
    endpoint: Option<Box<Http1Connection>>,
    lease: Lease,
    in_flight: InFlight,
    recorder: Box<Recorder>,
}

impl Upgrade {
    /// `None` when the request asks for no switch, or its connection can make none.
    pub fn of(parts: &request::Parts) -> Option<Self> {
        let protocol = (parts.version == Version::HTTP_11).then(|| headers::upgrade(&parts.headers));
        protocol.flatten().map(|protocol| Self { protocol })
    }

    /// What it wants to switch to.
    pub fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// The endpoint has agreed: the client is told, and who told it relays.
    pub fn accept(
        self,
        connection: &Rc<Connection>,
        response: Response<AnswerBody>,
        lease: Lease,
        in_flight: InFlight,
        mut recorder: Box<Recorder>,
    ) -> Response<ResponseBody> {
        let (mut parts, mut body) = response.into_parts();
        let endpoint = body.take_switched();
        let protocol = parts.headers.remove(UPGRADE).unwrap_or(self.protocol);
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.insert(UPGRADE, protocol);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.version = Version::HTTP_11;
        recorder.record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
        recorder.record.protocol = Protocol::Upgrade;
        let connection = Rc::clone(connection);
        let switched = Switched { connection, endpoint, lease, in_flight, recorder };
        Response::from_parts(parts, ResponseBody::switched(Box::new(switched)))
    }
}

impl Switched {
    /// The client was not told: its connection is lost.
    pub fn give_up(mut self) {
        self.recorder.fail(Reason::ClientClosed);
    }

    /// Relays to the end of one side.
    pub async fn relay(mut self, client: Side) {
        let Self { connection, endpoint, lease, in_flight, recorder } = &mut self;
        let Some(endpoint) = endpoint.take() else {
            return recorder.fail(Reason::UpstreamProtocol);
        };
        let idle_timeout = connection.proxy.limits.tcp_idle_timeout;
        relay(client, endpoint.into_side(), idle_timeout, &connection.shutdown, recorder).await;
        let _ = (lease, in_flight);
    }
}
