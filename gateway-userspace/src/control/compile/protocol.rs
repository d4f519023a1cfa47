//! Pure: what a Service port speaks: its appProtocol, then the prefix of its name, else unknown.

use crate::control::config::service::ServicePort;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1, perhaps HTTP/2 with prior knowledge.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, which Weir does not open.
    Tls,
    /// Something else.
    Opaque,
}

/// What a port speaks, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `appProtocol`: binding.
    Declared(Speaks),
    /// The name's prefix: a convention, which a route overrules.
    Named(Speaks),
    /// Nobody: bytes, until a route says otherwise.
    Unknown,
}

impl Protocol {
    /// What to assume without any route.
    pub(super) fn speaks(self) -> Speaks {
        match self {
            Self::Declared(speaks) | Self::Named(speaks) => speaks,
            Self::Unknown => Speaks::Opaque,
        }
    }
}

/// What a port says of itself.
pub(super) fn of_port(port: &ServicePort) -> Protocol {
    if let Some(declared) = port.app_protocol.as_deref().filter(|p| !p.is_empty()) {
        return Protocol::Declared(declared_protocol(declared));
    }
    port.name.as_deref().and_then(named_protocol).map_or(Protocol::Unknown, Protocol::Named)
}

/// Values of `appProtocol` that users write; any other one means bytes.
fn declared_protocol(text: &str) -> Speaks {
    match text.to_ascii_lowercase().as_str() {
        "http" | "http/1.1" | "grpc-web" | "kubernetes.io/ws" => Speaks::Http,
        "http2" | "h2c" | "grpc" | "kubernetes.io/h2c" => Speaks::Http2,
        "https" | "tls" | "kubernetes.io/wss" => Speaks::Tls,
        _ => Speaks::Opaque,
    }
}

/// The convention of other meshes: the word before the first `-`.
fn named_protocol(name: &str) -> Option<Speaks> {
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return Some(Speaks::Http);
    }
    match name.split('-').next().unwrap_or_default() {
        "http" => Some(Speaks::Http),
        "http2" | "h2c" | "grpc" => Some(Speaks::Http2),
        "https" | "tls" => Some(Speaks::Tls),
        "tcp" | "udp" | "mongo" | "redis" | "mysql" | "postgres" => Some(Speaks::Opaque),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, ServicePort, Speaks, of_port};

    fn port(name: Option<&str>, app_protocol: Option<&str>) -> ServicePort {
        ServicePort {
            name: name.map(str::to_owned),
            protocol: None,
            app_protocol: app_protocol.map(str::to_owned),
            port: 80,
            target_port: None,
            node_port: None,
        }
    }

    #[test]
    fn the_application_protocol_counts_before_the_name() {
        assert_eq!(of_port(&port(Some("http"), Some("tcp"))), Protocol::Declared(Speaks::Opaque));
        assert_eq!(of_port(&port(Some("x"), Some("kubernetes.io/h2c"))), Protocol::Declared(Speaks::Http2));
        assert_eq!(of_port(&port(None, Some("weir.dev/opaque"))), Protocol::Declared(Speaks::Opaque));
    }

    #[test]
    fn a_name_counts_up_to_its_first_dash() {
        assert_eq!(of_port(&port(Some("http-web"), None)), Protocol::Named(Speaks::Http));
        assert_eq!(of_port(&port(Some("grpc-web-x"), None)), Protocol::Named(Speaks::Http));
        assert_eq!(of_port(&port(Some("grpc"), None)), Protocol::Named(Speaks::Http2));
        assert_eq!(of_port(&port(Some("https"), None)), Protocol::Named(Speaks::Tls));
        assert_eq!(of_port(&port(Some("httpx"), None)), Protocol::Unknown);
        assert_eq!(of_port(&port(None, None)), Protocol::Unknown);
    }
}
