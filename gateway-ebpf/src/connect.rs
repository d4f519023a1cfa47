//! connect: to the proxy's listener in the pod, to an endpoint, to where it is refused, or untouched.

use aya_log_ebpf::info;
use gateway_common::addr::{Address, Port, Socket};
use gateway_common::capture::{self, Proxy, Service, Untouched, Verdict};
use gateway_common::counter::Counter;
use gateway_common::decision::Decision;
use gateway_common::endpoint::EndpointKey;
use gateway_common::flow::SocketMark;
use gateway_common::pod::{PodKey, PodValue};
use gateway_common::service::{FailPolicy, Mode, ServiceKey, ServiceValue};

use crate::context::{self, SockAddr};
use crate::maps::{ENDPOINTS, PODS, SERVICES, WEIR_LOG, WEIR_OWN_CGROUP};
use crate::{proxy, stats};

/// Reads of a map value that is being replaced are repeated once; it takes two updates of one Service in
/// the time of two lookups to fail.
const READS: usize = 2;

/// Looks at one connect, does what is to be done, and says what that was.
#[inline(always)]
pub fn try_connect<const V4: bool>(ctx: &SockAddr<'_, V4>) -> Result<Verdict, Untouched> {
    let original = ctx.socket();
    if let Some(why) = capture::screen(&ctx.caller(WEIR_OWN_CGROUP.load())) {
        return Err(why);
    }
    let pod_key = PodKey { netns_cookie: ctx.netns_cookie() };
    let pod = pod(&pod_key).ok_or(Untouched::NotEnrolled)?;
    let service_key = ServiceKey { socket: original };
    let Some(service) = service(&service_key) else {
        ctx.forget_mark();
        return Err(Untouched::NotService);
    };

    let now_ns = context::now_ns();
    let listener = listener(&pod, &original);
    let mut decision = Decision {
        time_ns: now_ns,
        netns_cookie: pod_key.netns_cookie,
        cgroup: context::cgroup(),
        original,
        actual: original,
        service: service.id,
        pod: pod.pod,
        process: context::process(),
        outcome: 0,
        cause: u32::MAX,
        reserved: 0,
    };
    let facts = Service {
        mode: Mode::from_raw(service.mode),
        fail_policy: FailPolicy::from_raw(service.fail_policy),
        has_endpoints: service.endpoints > 0 && proxy::knows_endpoints(now_ns),
    };
    let mut verdict = capture::decide(&facts, || {
        let proxy = proxy::state(ctx, &listener, now_ns);
        note(&mut decision, proxy);
        proxy
    });
    if verdict == Verdict::Steer && !steer(ctx, &mut decision, &pod, &listener) {
        decision.cause = Counter::MarkFailed.raw();
        stats::count(Counter::MarkFailed);
        verdict = capture::without_proxy(&facts);
    }
    match verdict {
        Verdict::Steer => decision.actual = listener,
        Verdict::PickEndpoint(_) => match pick(&service_key, service) {
            Some(endpoint) => send(ctx, &mut decision, endpoint),
            None => verdict = Verdict::Untouched(Untouched::NoEndpoint),
        },
        Verdict::Refuse => {
            decision.actual = Socket::new(loopback(&original), Port::NONE);
            ctx.set_socket(&decision.actual);
        }
        Verdict::Untouched(_) => ctx.forget_mark(),
    }
    decision.outcome = verdict.counter().raw();
    stats::record(&decision);
    log(ctx, &decision);
    Ok(verdict)
}

/// The pod's listener for the family on the wire.
#[inline(always)]
fn listener(pod: &PodValue, original: &Socket) -> Socket {
    let port = if original.address.is_v4() { pod.port_v4 } else { pod.port_v6 };
    Socket::new(loopback(original), port)
}

#[inline(always)]
fn loopback(original: &Socket) -> Address {
    if original.address.is_v4() { Address::LOOPBACK_V4 } else { Address::LOOPBACK_V6 }
}

/// Counts what is wrong with the proxy, and keeps it for the record.
#[inline(always)]
fn note(decision: &mut Decision, proxy: Proxy) {
    let cause = match proxy {
        Proxy::Alive => return,
        Proxy::Dead => Counter::ProxyDead,
        Proxy::Hung => Counter::ProxyHung,
        Proxy::NoListener => Counter::NoListener,
    };
    decision.cause = cause.raw();
    stats::count(cause);
}

/// Sends the connect to the proxy. False when the socket takes no mark: without it nobody would know
/// where the connection was going.
#[inline(always)]
fn steer<const V4: bool>(
    ctx: &SockAddr<'_, V4>,
    decision: &mut Decision,
    pod: &PodValue,
    listener: &Socket,
) -> bool {
    decision.actual = *listener;
    if !mark(ctx, decision, SocketMark::STEERED) {
        decision.actual = decision.original;
        return false;
    }
    let own = if listener.address.is_v4() { pod.ip_v4 } else { pod.ip_v6 };
    if !own.is_none() && !ctx.bind(&own) {
        stats::count(Counter::BindFailed);
    }
    ctx.set_socket(listener);
    true
}

/// Sends the connect to an endpoint. Without a mark it works as well; `getpeername` then tells the
/// endpoint.
#[inline(always)]
fn send<const V4: bool>(ctx: &SockAddr<'_, V4>, decision: &mut Decision, endpoint: Socket) {
    decision.actual = endpoint;
    if !mark(ctx, decision, SocketMark::PICKED) {
        stats::count(Counter::MarkFailed);
    }
    ctx.set_socket(&endpoint);
}

#[inline(always)]
fn mark<const V4: bool>(ctx: &SockAddr<'_, V4>, decision: &Decision, kind: u32) -> bool {
    ctx.set_mark(&mut SocketMark {
        netns_cookie: decision.netns_cookie,
        original: decision.original,
        actual: decision.actual,
        service: decision.service,
        kind,
    })
}

#[inline(always)]
fn pod(key: &PodKey) -> Option<PodValue> {
    for _ in 0..READS {
        let pod = context::copy(PODS.get_ptr(key)?);
        if pod.is_sealed(key) {
            return Some(pod);
        }
        stats::count(Counter::Torn);
    }
    None
}

#[inline(always)]
fn service(key: &ServiceKey) -> Option<ServiceValue> {
    for _ in 0..READS {
        let service = context::copy(SERVICES.get_ptr(key)?);
        if service.is_sealed(key) {
            return Some(service);
        }
        stats::count(Counter::Torn);
    }
    None
}

/// One endpoint, any as likely as the other. An empty slot means that the list was replaced since
/// `service` was read: then the new list is asked.
#[inline(always)]
fn pick(key: &ServiceKey, mut current: ServiceValue) -> Option<Socket> {
    for _ in 0..READS {
        if current.endpoints == 0 {
            return None;
        }
        let slot = context::random() % current.endpoints;
        let slot = EndpointKey { service: current.id, epoch: current.epoch, slot };
        if let Some(found) = ENDPOINTS.get_ptr(slot) {
            let endpoint = context::copy(found);
            if endpoint.is_sealed(&slot) {
                return Some(endpoint.socket);
            }
        }
        stats::count(Counter::Torn);
        current = service(key)?;
    }
    None
}

#[inline(always)]
fn log<const V4: bool>(ctx: &SockAddr<'_, V4>, decision: &Decision) {
    if WEIR_LOG.load() == 0 {
        return;
    }
    info!(
        ctx.context,
        "connect from process {} to service {}: outcome {}, port {}",
        decision.process,
        decision.service,
        decision.outcome,
        decision.actual.port.get()
    );
}
