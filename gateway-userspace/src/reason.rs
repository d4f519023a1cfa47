//! Pure: the one list of reasons why Weir refused or failed something.
//!
//! A reason is the same word in `Proxy-Status` (RFC 9209), the access log, the metric label and
//! `weir explain`. Adding a variant makes the compiler show every place that must name it.

use http::StatusCode;

/// Why a request or connection did not end as its client wanted. Stored as one byte in log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// No route of this listener or Service matches the request.
    NoRoute,
    /// The matched rule names no usable backend (bad reference, no grant, all weights zero).
    InvalidBackend,
    /// A filter of the rule cannot be applied by this version.
    UnsupportedFilter,
    /// The Service has no endpoint that may take traffic.
    NoHealthyEndpoint,
    /// The endpoint refused the connection.
    ConnectRefused,
    /// The endpoint did not accept the connection in time.
    ConnectTimeout,
    /// The connection could not be made for another cause (no route to host, no descriptors).
    ConnectFailed,
    /// The endpoint closed or reset before its answer was complete.
    UpstreamReset,
    /// The request or backend-request timeout passed.
    UpstreamTimeout,
    /// The endpoint's answer was not valid HTTP.
    UpstreamProtocol,
    /// A limit on connections, pending or parallel requests was reached.
    Overflow,
    /// The retry budget or the number of attempts was used up.
    RetryLimit,
    /// The client went away before its answer was complete.
    ClientClosed,
    /// The client's bytes were not valid for the protocol of the port.
    ClientProtocol,
    /// The client sent no complete request head, or no first byte, in time.
    ClientTimeout,
    /// The request head or body is over its limit.
    TooLarge,
    /// Nothing moved on the connection or stream for too long.
    IdleTimeout,
    /// The gateway is draining and takes no new requests on this connection.
    Draining,
    /// The process is out of memory, descriptors or connection slots.
    Overload,
    /// The request came back to the gateway that sent it.
    Loop,
    /// A connection reached an in-pod listener with no recorded destination.
    SelfCall,
    /// The configuration of this listener, route or Service is broken.
    Config,
    /// The client sent more frames that lead to nothing, or resets, than a connection may.
    ClientFlood,
    /// The Service has endpoints, and Weir dials none of them: they are no addresses of pods.
    EndpointRefused,
    /// The endpoint sent more frames that lead to nothing than a connection may.
    UpstreamFlood,
}

/// What a reason is called elsewhere.
#[derive(Debug, Clone, Copy)]
struct Names {
    code: &'static str,
    /// RFC 9209 section 2.3 error type.
    proxy_error: &'static str,
    /// The Envoy response flag that old dashboards know.
    envoy_flag: &'static str,
    status: u16,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 25] = [
        Self::NoRoute,
        Self::InvalidBackend,
        Self::UnsupportedFilter,
        Self::NoHealthyEndpoint,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamTimeout,
        Self::UpstreamProtocol,
        Self::Overflow,
        Self::RetryLimit,
        Self::ClientClosed,
        Self::ClientProtocol,
        Self::ClientTimeout,
        Self::TooLarge,
        Self::IdleTimeout,
        Self::Draining,
        Self::Overload,
        Self::Loop,
        Self::SelfCall,
        Self::Config,
        Self::ClientFlood,
        Self::EndpointRefused,
        Self::UpstreamFlood,
    ];

    const fn names(self) -> Names {
        const fn n(
            code: &'static str,
            proxy_error: &'static str,
            envoy_flag: &'static str,
            status: u16,
        ) -> Names {
            Names { code, proxy_error, envoy_flag, status }
        }
        match self {
            Self::NoRoute => n("no_route", "destination_not_found", "NR", 404),
            Self::InvalidBackend => n("invalid_backend", "proxy_configuration_error", "NC", 500),
            Self::UnsupportedFilter => n("unsupported_filter", "proxy_configuration_error", "NC", 500),
            Self::NoHealthyEndpoint => n("no_healthy_endpoint", "destination_unavailable", "UH", 503),
            Self::ConnectRefused => n("connect_refused", "connection_refused", "UF", 503),
            Self::ConnectTimeout => n("connect_timeout", "connection_timeout", "UF", 504),
            Self::ConnectFailed => n("connect_failed", "destination_ip_unroutable", "UF", 503),
            Self::UpstreamReset => n("upstream_reset", "connection_terminated", "UC", 502),
            Self::UpstreamTimeout => n("upstream_timeout", "http_response_timeout", "UT", 504),
            Self::UpstreamProtocol => n("upstream_protocol", "http_protocol_error", "UPE", 502),
            Self::Overflow => n("overflow", "connection_limit_reached", "UO", 503),
            Self::RetryLimit => n("retry_limit", "connection_terminated", "URX", 503),
            Self::ClientClosed => n("client_closed", "http_request_error", "DC", 499),
            Self::ClientProtocol => n("client_protocol", "http_request_error", "DPE", 400),
            Self::ClientTimeout => n("client_timeout", "http_request_error", "DT", 408),
            Self::TooLarge => n("too_large", "http_request_error", "DPE", 413),
            Self::IdleTimeout => n("idle_timeout", "connection_timeout", "SI", 504),
            Self::Draining => n("draining", "proxy_internal_response", "DO", 503),
            Self::Overload => n("overload", "proxy_internal_error", "OM", 503),
            Self::Loop => n("loop", "proxy_loop_detected", "-", 508),
            Self::SelfCall => n("self_call", "http_request_denied", "-", 403),
            Self::Config => n("config", "proxy_configuration_error", "NC", 500),
            Self::ClientFlood => n("client_flood", "http_protocol_error", "DPE", 429),
            Self::EndpointRefused => n("endpoint_refused", "destination_ip_prohibited", "UH", 502),
            Self::UpstreamFlood => n("upstream_flood", "http_protocol_error", "UPE", 502),
        }
    }

    /// The word users see, e.g. `no_healthy_endpoint`.
    pub const fn as_str(self) -> &'static str {
        self.names().code
    }

    /// The error type of RFC 9209 section 2.3.
    pub const fn proxy_error(self) -> &'static str {
        self.names().proxy_error
    }

    /// Envoy's response flag for the same thing, for dashboards that know it.
    pub const fn envoy_flag(self) -> &'static str {
        self.names().envoy_flag
    }

    /// The status of an answer that Weir makes itself for this reason.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.names().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_stands_at_its_number() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|r| r.as_str() == reason.as_str()).count(), 1);
        }
    }
}
