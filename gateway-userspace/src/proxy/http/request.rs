//! One request, top to bottom: check, route, filters, upstream, filters back, record.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, request, response};

use super::body::{Relayed, ResponseBody};
use super::connection::{Connection, Serving};
use super::headers::forwarded::{self, Forwarded};
use super::headers::{self, HeadError, authority};
use super::interim::Interim;
use super::respond::{self, Manner, Refusal};
use super::upgrade::Upgrade;
use super::{grpc, path, translate};
use crate::proxy::filter::{self, FilterContext, Outcome};
use crate::proxy::recorder::Recorder;
use crate::proxy::upstream::body::RequestBody;
use crate::proxy::upstream::pool::Speak;
use crate::proxy::upstream::{self, Answer, Call};
use crate::proxy::{Downstream, Ingress};
use crate::reason::Reason;
use crate::snapshot::cluster::{Cluster, UpstreamProtocol};
use crate::snapshot::filter::Filter;
use crate::snapshot::router::{RequestHead, Rule, Timeouts};
use crate::telemetry::record::text::Text;
use crate::telemetry::record::{Protocol, Record};

/// What a request's scheme is: TLS is not spoken downstream.
const SCHEME: &str = "http";

/// Serves one request. The response's body reports it when it has ended.
/// Interim answers to it come into `interim` while this is polled.
pub async fn handle(
    connection: Rc<Connection>,
    request: Request<RequestBody>,
    interim: &Interim,
) -> Response<ResponseBody> {
    let mut recorder = Recorder::new(&connection.proxy, &connection.downstream, connection.protocol);
    let (parts, body) = request.into_parts();
    recorder.upload = body.upload();
    let is_grpc = grpc::is_grpc(&parts.headers);
    describe(&mut recorder.record, &parts, is_grpc, connection.proxy.limits.log_field_bytes);
    let manner =
        Manner { grpc: is_grpc, without_body: parts.method == Method::HEAD, http1: connection.is_http1() };
    match connection.downstream.admission.take_on().await {
        Ok(taken_on) => recorder.taken_on = Some(taken_on),
        Err(reason) => return respond::refuse(reason.into(), manner, recorder),
    }
    let serving = connection.serving();
    let exchange = Exchange { connection: &connection, serving: &serving, interim };
    match exchange.serve(parts, body, &mut recorder).await {
        Ok(served) => served.into_response(&exchange, manner, recorder),
        Err(refusal) => respond::refuse(refusal, manner, recorder),
    }
}

/// What a record says of the head, as the client sent it.
fn describe(record: &mut Record, parts: &request::Parts, is_grpc: bool, bytes_max: usize) {
    if is_grpc && record.protocol == Protocol::Http2 {
        record.protocol = Protocol::Grpc;
    }
    let cut = |text| cut(text, bytes_max);
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    record.method = Some(parts.method.clone());
    let user_agent = parts.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let path = parts.uri.path().as_bytes();
    record.text = Text::new(cut(authority.or(host).unwrap_or_default()), cut(path), cut(user_agent));
    record.trace_id = headers::trace_context(&parts.headers).map(|trace| trace.trace_id);
}

fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    &text[..text.len().min(bytes_max)]
}

/// A request and what it is served by.
struct Exchange<'a> {
    connection: &'a Rc<Connection>,
    serving: &'a Serving,
    interim: &'a Interim,
}

/// Where a request goes.
struct Route<'a> {
    /// `None`: the Service has no routes.
    rule: Option<&'a Rule>,
    cluster: &'a Arc<Cluster>,
    backend_filters: &'a [Filter],
}

/// An answer from upstream.
struct Served<'a> {
    route: Route<'a>,
    answer: Answer,
    upgrade: Option<Upgrade>,
}

impl<'a> Exchange<'a> {
    async fn serve(
        &self,
        mut parts: request::Parts,
        body: RequestBody,
        recorder: &mut Recorder,
    ) -> Result<Served<'a>, Refusal> {
        let upgrade = self.check(&mut parts, recorder)?;
        let route = self.route(&mut parts, recorder)?;
        recorder.enter(route.cluster)?;
        let speak = self.speak(route.cluster);
        let downstream = &self.connection.downstream;
        let dialled = || downstream.destination.to_string();
        let upgrade = upgrade.filter(|_| speak == Speak::Http1);
        match speak {
            Speak::Http1 => {
                let protocol = upgrade.as_ref().map(|u| u.protocol().clone());
                translate::to_http1(&mut parts, protocol, dialled);
            }
            Speak::Http2 => {
                translate::to_http2(&mut parts, dialled).ok_or(Refusal::Reason(Reason::ClientProtocol))?;
            }
        }
        let timeouts = route.rule.map_or_else(Timeouts::default, |rule| rule.timeouts);
        let interim = |mut parts: response::Parts| {
            filter::on_response(route.backend_filters, &mut parts);
            filter::on_response(route.rule.map_or(&[][..], |rule| &rule.filters), &mut parts);
            self.interim.put(parts)
        };
        let call = Call {
            interim: &interim,
            proxy: &self.connection.proxy,
            ingress: &downstream.ingress,
            asking: downstream.asking(recorder.record.client),
            cluster: route.cluster,
            retry: route.rule.and_then(|rule| rule.retry.as_ref()),
            speak,
            deadline: timeouts.request.filter(|t| !t.is_zero()).map(|t| recorder.begin() + t),
            attempt_timeout: timeouts.backend_request.filter(|t| !t.is_zero()),
        };
        let answer = upstream::send(&call, Request::from_parts(parts, body), recorder).await?;
        Ok(Served { route, answer, upgrade })
    }

    /// Refuses what has more than one meaning, and brings the rest into the form that everything
    /// after this goes by: routes, filters, the record and the endpoint see the same request.
    fn check(&self, parts: &mut request::Parts, recorder: &mut Recorder) -> Result<Option<Upgrade>, Refusal> {
        let limits = &self.connection.proxy.limits;
        if parts.headers.len() > limits.header_fields_max {
            return Err(Refusal::HeaderFields);
        }
        if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target_bytes_max) {
            return Err(Refusal::TargetLength);
        }
        headers::check_request(parts.version, &parts.method, &parts.uri, &parts.headers)?;
        let target = parts.uri.path_and_query().map(path::normalize_target);
        if let Some(normal) = target.transpose().map_err(|_| Refusal::Path)?.flatten() {
            let mut uri = std::mem::take(&mut parts.uri).into_parts();
            recorder.record.text.set_path(cut(normal.path().as_bytes(), limits.log_field_bytes));
            uri.path_and_query = Some(normal);
            parts.uri = http::Uri::from_parts(uri).map_err(|_| Refusal::Path)?;
        }
        if matches!(self.connection.downstream.ingress, Ingress::Gateway(_))
            && parts.uri.scheme_str().is_some_and(|scheme| scheme != SCHEME)
        {
            return Err(HeadError::Scheme.into());
        }
        // Routes look at what the endpoint gets.
        headers::join_cookies(&mut parts.headers);
        let upgrade = Upgrade::of(parts);
        headers::strip_hop_by_hop(&mut parts.headers);
        let Connection { proxy, downstream: Downstream { peer, ingress, .. }, .. } = &**self.connection;
        let forwarded = match ingress {
            Ingress::Pod(_) => Forwarded::Pass,
            Ingress::Gateway(_) => Forwarded::Overwrite(&proxy.trusted),
        };
        if matches!(ingress, Ingress::Gateway(_))
            && forwarded::count_pass(&mut parts.headers) > limits.passes_max
        {
            return Err(Reason::Loop.into());
        }
        let authority = String::from_utf8_lossy(recorder.record.text.authority());
        recorder.record.client =
            forwarded::set_forwarded(&mut parts.headers, forwarded, peer.ip(), SCHEME, &authority);
        let id = headers::ensure_request_id(&mut parts.headers, fastrand::u128(..));
        recorder.record.text.set_request_id(id);
        Ok(upgrade)
    }

    /// Finds the rule, applies its filters and picks one of its backends.
    fn route(&self, parts: &mut request::Parts, recorder: &mut Recorder) -> Result<Route<'a>, Refusal> {
        recorder.record.frontend = self.serving.frontend_id();
        let authority = authority::of_request(parts.version, &parts.uri, &parts.headers)?;
        let Some(router) = self.serving.router() else {
            return match self.serving {
                Serving::Frontend(frontend) => {
                    Ok(Route { rule: None, cluster: &frontend.cluster, backend_filters: &[] })
                }
                Serving::Listener(_) | Serving::Nothing => Err(Reason::NoRoute.into()),
            };
        };
        let head = RequestHead {
            host: &authority.host,
            path: parts.uri.path(),
            query: parts.uri.query(),
            method: &parts.method,
            headers: &parts.headers,
        };
        let found = router.find(&head).ok_or(Reason::NoRoute)?;
        let (rule, prefix_len) = (&**found.rule, found.prefix_len);
        recorder.record.rule = Some(rule.id);
        let backend = rule.backends.pick(fastrand::u64(..));
        let backend_filters = backend.map_or(&[][..], |backend| &backend.filters);
        if !(rule.filters.is_empty() && backend_filters.is_empty()) {
            let host = authority.host.into_owned();
            self.filter(&rule.filters, parts, &host, prefix_len)?;
            self.filter(backend_filters, parts, &host, prefix_len)?;
        }
        let cluster = backend.ok_or(Reason::InvalidBackend)?.cluster.as_ref().map_err(|reason| *reason)?;
        Ok(Route { rule: Some(rule), cluster, backend_filters })
    }

    fn filter(
        &self,
        filters: &[Filter],
        parts: &mut request::Parts,
        host: &str,
        prefix_len: usize,
    ) -> Result<(), Refusal> {
        let listener_port = self.connection.downstream.destination.port();
        let context = FilterContext { prefix_len, scheme: SCHEME, listener_port, host };
        match filter::on_request(filters, parts, &context) {
            Outcome::Continue => Ok(()),
            Outcome::Redirect { status, location } => Err(Refusal::Redirect { status, location }),
            Outcome::Refuse(reason) => Err(reason.into()),
        }
    }

    /// A pod that itself spoke HTTP/2 would have spoken it to the endpoint.
    fn speak(&self, cluster: &Cluster) -> Speak {
        let is_pod = matches!(self.connection.downstream.ingress, Ingress::Pod(_));
        match cluster.protocol {
            UpstreamProtocol::Http2 => Speak::Http2,
            UpstreamProtocol::Http if is_pod && !self.connection.is_http1() => Speak::Http2,
            UpstreamProtocol::Http | UpstreamProtocol::Tcp => Speak::Http1,
        }
    }
}

impl Served<'_> {
    fn into_response(
        self,
        exchange: &Exchange<'_>,
        manner: Manner,
        mut recorder: Box<Recorder>,
    ) -> Response<ResponseBody> {
        let connection = exchange.connection;
        let Answer { response, lease, in_flight, deadline } = self.answer;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = self.upgrade else {
                return respond::refuse(Reason::UpstreamProtocol.into(), manner, recorder);
            };
            return upgrade.accept(connection, response, lease, in_flight, recorder);
        }
        let (mut parts, incoming) = response.into_parts();
        translate::to_downstream(&mut parts, connection.is_http1());
        filter::on_response(self.route.backend_filters, &mut parts);
        filter::on_response(self.route.rule.map_or(&[][..], |rule| &rule.filters), &mut parts);
        recorder.record.status = Some(parts.status);
        recorder.record.grpc_status = grpc::status_of(&parts.headers);
        let is_skipped =
            manner.without_body || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let relayed = Relayed::new(incoming, lease, in_flight, deadline, &connection.proxy.limits);
        Response::from_parts(parts, ResponseBody::upstream(relayed, recorder, is_skipped))
    }
}
