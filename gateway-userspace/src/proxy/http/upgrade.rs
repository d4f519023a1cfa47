//! WebSocket and other upgrades (RFC 9110 7.8): after both sides have switched, bytes are relayed.
//!
//! What the client sends before the endpoint's 101 stays with the HTTP codec: it never reaches the
//! endpoint unless that has agreed to switch.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode, Version, request};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::body::ResponseBody;
use super::connection::Connection;
use super::headers;
use super::stream::ClientStream;
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
    client: OnUpgrade,
}

/// What a switched connection holds until it ends.
struct Held {
    connection: Rc<Connection>,
    lease: Lease,
    in_flight: InFlight,
    recorder: Box<Recorder>,
}

impl Upgrade {
    /// `None` when the request asks for no switch, or its connection can make none.
    pub fn of(parts: &mut request::Parts) -> Option<Self> {
        let client = parts.extensions.remove::<OnUpgrade>()?;
        headers::upgrade(&parts.headers).map(|protocol| Self { protocol, client })
    }

    /// What it wants to switch to.
    pub fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// The endpoint has agreed: tells the client, then relays.
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
        let held = Held { connection: Rc::clone(connection), lease, in_flight, recorder };
        tokio::task::spawn_local(held.run(self.client, endpoint));
        Response::from_parts(parts, ResponseBody::none())
    }
}

impl Held {
    async fn run(mut self, client: OnUpgrade, endpoint: Option<Box<Http1Connection>>) {
        let Self { connection, lease, in_flight, recorder } = &mut self;
        // It cannot fail but by the end of its connection, and then there is nobody to tell.
        let Ok(client) = client.await else {
            return recorder.fail(Reason::ClientClosed);
        };
        let (Some(client), Some(endpoint)) = (client_side(client), endpoint) else {
            return recorder.fail(Reason::UpstreamProtocol);
        };
        let endpoint = endpoint.into_side();
        let idle_timeout = connection.proxy.limits.tcp_idle_timeout;
        relay(client, endpoint, idle_timeout, &connection.shutdown, recorder).await;
        let _ = (lease, in_flight);
    }
}

fn client_side(upgraded: Upgraded) -> Option<Side> {
    let parts = upgraded.downcast::<TokioIo<ClientStream>>().ok()?;
    let (stream, unread) = parts.io.into_inner().into_parts();
    let read = [parts.read_buf, unread].concat();
    Some(Side { stream, read: Bytes::from(read) })
}
