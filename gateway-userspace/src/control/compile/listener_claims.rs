//! Pure: listeners that want the same port: within a Gateway they conflict, between Gateways the
//! older one has it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::hostname;
use crate::control::config::gateway::Listener;

/// Why a listener is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Reason of the API.
    pub(super) reason: &'static str,
    /// True when another listener of the same Gateway wants the same.
    pub(super) conflicted: bool,
    pub(super) message: String,
    pub(super) fix: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason, conflicted: false, message: message.into(), fix: fix.into() }
    }
}

/// Protocols that can share a port, told apart by hostname; a protocol that nobody knows conflicts
/// with nothing.
fn family(protocol: &str) -> Option<&'static str> {
    match protocol {
        "HTTP" => Some("HTTP"),
        "HTTPS" | "TLS" => Some("TLS"),
        "TCP" => Some("TCP"),
        _ => None,
    }
}

/// The conflict of listener `index` with another one of its Gateway. None of two indistinct
/// listeners is accepted, so that neither depends on their order.
pub(super) fn conflict(listeners: &[Listener], index: usize) -> Option<Refusal> {
    let this = listeners.get(index)?;
    let family_of = family(&this.protocol)?;
    let host = hostname::normal(this.hostname.as_deref());
    listeners.iter().enumerate().filter(|(i, other)| *i != index && other.port == this.port).find_map(
        |(_, other)| {
            let (reason, message) = if family(&other.protocol)? != family_of {
                (
                    "ProtocolConflict",
                    format!(
                        "listener {} has port {} with protocol {}",
                        other.name, other.port, other.protocol
                    ),
                )
            } else if hostname::normal(other.hostname.as_deref()) == host {
                let what = host.as_deref().unwrap_or("any host");
                (
                    "HostnameConflict",
                    format!("listener {} has port {} for {what} too", other.name, other.port),
                )
            } else {
                return None;
            };
            let fix = "give one of them another port or hostname".to_owned();
            Some(Refusal { reason, conflicted: true, message, fix })
        },
    )
}

/// Who has which address, port and hostname.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<(IpAddr, u16, Option<String>), String>);

impl Claims {
    /// Takes the port on all `addresses` for the listener called `name`, or says who has it.
    pub(super) fn take(
        &mut self,
        addresses: &[IpAddr],
        port: u16,
        hostname: Option<&str>,
        name: &str,
    ) -> Result<(), Refusal> {
        let keys: Vec<_> = addresses.iter().map(|ip| (*ip, port, hostname.map(str::to_owned))).collect();
        if let Some(owner) = keys.iter().find_map(|key| self.0.get(key)) {
            let host = hostname.unwrap_or("any host");
            let message = format!("port {port} for {host} is listener {owner} already");
            let fix = "give this Gateway an address of its own (spec.addresses), or the listener another port or hostname";
            return Err(Refusal::new("PortUnavailable", message, fix));
        }
        self.0.extend(keys.into_iter().map(|key| (key, name.to_owned())));
        Ok(())
    }
}
