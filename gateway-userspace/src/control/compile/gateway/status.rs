//! Pure: conditions of Gateways and listeners.

use super::{GatewayState, ListenerState, refused};
use crate::control::compile::interned::Interned;
use crate::control::compile::listener_claims::Refusal;
use crate::control::config::resources::Kind;
use crate::control::config::route::GATEWAY_GROUP;
use crate::control::diagnostic::Diagnostic;
use crate::control::report::{Condition, GatewayStatus, ListenerStatus, SupportedKind};

/// Statuses by namespace and name.
pub(in crate::control::compile) fn statuses(
    gateways: &[GatewayState],
    interned: &Interned,
    findings: &mut Vec<Diagnostic>,
) -> Vec<GatewayStatus> {
    let mut statuses: Vec<GatewayStatus> =
        gateways.iter().map(|g| gateway_status(g, interned, findings)).collect();
    statuses.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    statuses
}

fn gateway_status(
    gateway: &GatewayState,
    interned: &Interned,
    findings: &mut Vec<Diagnostic>,
) -> GatewayStatus {
    let subject = &gateway.subject;
    let broken = gateway.listeners.iter().filter(|l| is_broken(l)).count();
    let all = gateway.listeners.len();
    let closed: Vec<Option<String>> =
        gateway.listeners.iter().map(|l| not_opened(gateway, l, interned)).collect();
    for (index, why) in closed.iter().enumerate().filter_map(|(i, why)| Some((i, why.as_ref()?))) {
        let fix = "free that port, or give Weir the right to open it (CAP_NET_BIND_SERVICE below 1024)";
        let refusal = Refusal::new("PortUnavailable", why, fix);
        findings.push(refused(subject, &refusal, &format!("spec.listeners[{index}].port")));
    }
    let accepted = match &gateway.refusal {
        Some(refusal) => subject.condition("Accepted", false, refusal.reason, &*refusal.message),
        None if broken > 0 => {
            let message = format!("{broken} of {all} listeners are not valid");
            subject.condition("Accepted", broken < all, "ListenersNotValid", message)
        }
        None => subject.yes("Accepted", "Accepted"),
    };
    let programmed = if !accepted.status {
        subject.condition("Programmed", false, "Invalid", "the Gateway is not accepted")
    } else if let Some(why) = closed.iter().flatten().next() {
        let reason = if gateway.named_addresses { "AddressNotUsable" } else { "PortUnavailable" };
        subject.condition("Programmed", false, reason, why)
    } else {
        subject.yes("Programmed", "Programmed")
    };
    let addresses = gateway.addresses.iter().filter(|_| gateway.named_addresses && accepted.status);
    GatewayStatus {
        namespace: gateway.key.namespace.to_string(),
        name: gateway.key.name.to_string(),
        addresses: addresses.map(ToString::to_string).collect(),
        listeners: gateway
            .listeners
            .iter()
            .zip(&closed)
            .map(|(listener, why)| listener_status(gateway, listener, why.as_deref()))
            .collect(),
        conditions: vec![accepted, programmed],
    }
}

/// A listener that serves nothing, whatever attaches.
fn is_broken(listener: &ListenerState) -> bool {
    listener.refusal.is_some() || listener.kinds.is_empty()
}

/// Why a listener that should be open is not.
fn not_opened(gateway: &GatewayState, listener: &ListenerState, interned: &Interned) -> Option<String> {
    if gateway.refusal.is_some() || listener.refusal.is_some() {
        return None;
    }
    gateway
        .socket_addresses(listener)
        .find_map(|address| Some(format!("{address} cannot be opened: {}", interned.unusable(&address)?)))
}

fn listener_status(gateway: &GatewayState, listener: &ListenerState, closed: Option<&str>) -> ListenerStatus {
    let supported = |kind: &Kind| SupportedKind { group: GATEWAY_GROUP, kind: kind.as_str() };
    ListenerStatus {
        name: listener.spec.name.clone(),
        port: listener.spec.port,
        bound_port: listener.bound_port,
        supported_kinds: listener.kinds.iter().map(supported).collect(),
        attached_routes: listener.attached,
        conditions: conditions(gateway, listener, closed),
    }
}

fn conditions(gateway: &GatewayState, listener: &ListenerState, closed: Option<&str>) -> Vec<Condition> {
    let subject = &gateway.subject;
    let refusal = listener.refusal.as_ref();
    let accepted = match (refusal, closed) {
        (Some(refusal), _) => subject.condition("Accepted", false, refusal.reason, &*refusal.message),
        (None, Some(why)) => subject.condition("Accepted", false, "PortUnavailable", why),
        (None, None) => subject.yes("Accepted", "Accepted"),
    };
    let programmed = match refusal {
        Some(refusal) if refusal.conflicted => {
            subject.condition("Programmed", false, refusal.reason, &*refusal.message)
        }
        Some(refusal) => subject.condition("Programmed", false, "Invalid", &*refusal.message),
        None if gateway.refusal.is_some() => {
            subject.condition("Programmed", false, "Invalid", "the Gateway is not accepted")
        }
        None if listener.kinds.is_empty() => {
            subject.condition("Programmed", false, "Invalid", "no kind of route can attach")
        }
        None => match closed {
            Some(why) => subject.condition("Programmed", false, "PortUnavailable", why),
            None => subject.yes("Programmed", "Programmed"),
        },
    };
    let resolved = if listener.bad_kinds.is_empty() {
        subject.yes("ResolvedRefs", "ResolvedRefs")
    } else {
        let message = format!("these kinds cannot attach: {}", listener.bad_kinds.join(", "));
        subject.condition("ResolvedRefs", false, "InvalidRouteKinds", message)
    };
    let conflicted = match refusal.filter(|r| r.conflicted) {
        Some(refusal) => subject.condition("Conflicted", true, refusal.reason, &*refusal.message),
        None => subject.condition("Conflicted", false, "NoConflicts", ""),
    };
    vec![accepted, programmed, resolved, conflicted]
}
