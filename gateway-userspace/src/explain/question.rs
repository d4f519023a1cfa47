//! Pure: the call that is asked about, as it was typed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::snapshot::tier;

/// Who would make the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A pod of this node.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Somebody who dials a Gateway's port on this host.
    Gateway,
}

/// A call that somebody might make.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who.
    pub caller: Caller,
    /// Method.
    pub method: Method,
    /// As typed.
    pub uri: Uri,
    /// Host of the URL, lower case, without brackets.
    pub host: String,
    /// Port of the URL, or its scheme's.
    pub port: u16,
    /// Headers as given; `Host` replaces the URL's in the request, not as the destination.
    pub headers: HeaderMap,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Neither a pod nor the gateway.
    #[error("{0:?} is neither NAMESPACE/POD nor `gateway`")]
    Caller(String),
    /// No URL.
    #[error("{0:?} is no URL; write one as http://cart.shop:80/items")]
    Url(String),
    /// A scheme that Weir does not serve.
    #[error("{0:?} URLs are not served; use http")]
    Scheme(String),
    /// No method.
    #[error("{0:?} is no HTTP method")]
    Method(String),
    /// No header.
    #[error("{0:?} is no header; write NAME:VALUE")]
    Header(String),
}

impl Question {
    /// Reads what was typed. `headers` are `NAME:VALUE`.
    ///
    /// # Errors
    /// Says which part is wrong and how to write it.
    pub fn parse(caller: &str, url: &str, method: &str, headers: &[&str]) -> Result<Self, QuestionError> {
        let caller = parse_caller(caller).ok_or_else(|| QuestionError::Caller(caller.to_owned()))?;
        let bad_url = || QuestionError::Url(url.to_owned());
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = text.parse().map_err(|_| bad_url())?;
        let default_port = match uri.scheme_str() {
            Some("http" | "ws" | "grpc" | "tcp") => 80,
            scheme => return Err(QuestionError::Scheme(scheme.unwrap_or_default().to_owned())),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad_url)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method(method.to_owned()))?;
        let headers = headers.iter().map(|text| parse_header(text)).collect::<Result<_, _>>()?;
        Ok(Self { caller, method, port: uri.port_u16().unwrap_or(default_port), host, uri, headers })
    }

    /// The destination as an address, when the URL names one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The caller as far as the choice of an endpoint depends on it.
    pub fn asks_as(&self) -> tier::Caller {
        match (&self.caller, self.address()) {
            (Caller::Gateway, _) => tier::Caller::GATEWAY,
            (Caller::Pod { .. }, Some(dialled)) => tier::Caller::pod(dialled.ip()),
            (Caller::Pod { .. }, None) => tier::Caller::ANY_POD,
        }
    }

    /// `Host` of the request, without port, lower case.
    pub fn request_host(&self) -> String {
        let given = self.headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
        match given.and_then(|text| text.parse::<http::uri::Authority>().ok()) {
            Some(authority) => authority.host().to_ascii_lowercase(),
            None => self.host.clone(),
        }
    }

    /// Namespace and name of the Service that the host means to this caller: `cart`, `cart.shop`,
    /// `cart.shop.svc` or `cart.shop.svc.` and whatever the cluster's domain is.
    pub fn service(&self) -> Option<(&str, &str)> {
        let mut labels = self.host.split('.');
        let service = labels.next().filter(|label| !label.is_empty())?;
        match (labels.next(), labels.next()) {
            (None, _) => match &self.caller {
                Caller::Pod { namespace, .. } => Some((namespace, service)),
                Caller::Gateway => None,
            },
            (Some(namespace), None | Some("svc")) => Some((namespace, service)),
            (Some(_), Some(_)) => None,
        }
    }
}

fn parse_caller(text: &str) -> Option<Caller> {
    if text == "gateway" {
        return Some(Caller::Gateway);
    }
    let (namespace, name) = text.split_once('/')?;
    let good = |part: &str| !part.is_empty() && !part.contains('/');
    (good(namespace) && good(name))
        .then(|| Caller::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), QuestionError> {
    let bad = || QuestionError::Header(text.to_owned());
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| bad())?;
    Ok((name, HeaderValue::try_from(value.trim()).map_err(|_| bad())?))
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(caller: &str, url: &str) -> Question {
        Question::parse(caller, url, "GET", &[]).unwrap()
    }

    #[test]
    fn a_host_means_the_service_that_it_would_mean_to_the_pod() {
        for (host, expected) in [
            ("cart", Some(("shop", "cart"))),
            ("cart.other", Some(("other", "cart"))),
            ("cart.other.svc", Some(("other", "cart"))),
            ("Cart.other.svc.cluster.local", Some(("other", "cart"))),
            ("www.example.com", None),
        ] {
            assert_eq!(ask("shop/web", &format!("http://{host}/x")).service(), expected, "{host}");
        }
        assert_eq!(ask("gateway", "http://cart/").service(), None);
    }

    #[test]
    fn a_url_may_lack_its_scheme_and_may_name_an_address() {
        assert_eq!(ask("a/b", "cart:8080/x").port, 8080);
        assert_eq!(ask("a/b", "http://10.96.0.1").address(), Some("10.96.0.1:80".parse().unwrap()));
        assert_eq!(ask("a/b", "http://[fd00::1]:81/").address(), Some("[fd00::1]:81".parse().unwrap()));
    }

    #[test]
    fn the_host_header_is_what_the_request_says() {
        let question =
            Question::parse("gateway", "http://127.0.0.1:80/", "GET", &["Host: Shop.Example.com:80"]);
        assert_eq!(question.unwrap().request_host(), "shop.example.com");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_how_to_write_it() {
        let parse = |caller, url, method, header| {
            Question::parse(caller, url, method, &[header]).unwrap_err().to_string()
        };
        assert!(parse("web", "http://a/", "GET", "a:b").contains("NAMESPACE/POD"));
        assert!(parse("a/b", "http://", "GET", "a:b").contains("is no URL"));
        assert!(parse("a/b", "ftp://a/", "GET", "a:b").contains("use http"));
        assert!(parse("a/b", "http://a/", "G T", "a:b").contains("no HTTP method"));
        assert!(parse("a/b", "http://a/", "GET", "nonsense").contains("NAME:VALUE"));
    }
}
