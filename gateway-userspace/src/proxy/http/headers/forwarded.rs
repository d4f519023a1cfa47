//! Pure: the headers that say where a request comes from, and whose word for it counts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use smallvec::SmallVec;

use super::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP, authority};

/// How often a request has come through a listener of a Gateway.
const X_WEIR_PASSES: HeaderName = HeaderName::from_static("x-weir-passes");

/// The proxies in front of the gateway that are believed. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where they connect from. Empty: anywhere, when `hops` is not zero.
    pub networks: Vec<IpNet>,
    /// How many of them a request comes through. 0: as many as `networks` has.
    pub hops: usize,
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client, and the trusted proxies between it and the gateway: the last one, which is the
    /// peer, comes first here. Hops are counted from the right: what stands left of the client in
    /// `X-Forwarded-For` is the client's own invention.
    fn way(&self, peer: IpAddr, headers: &HeaderMap) -> SmallVec<[IpAddr; 4]> {
        let mut way: SmallVec<[IpAddr; 4]> = SmallVec::from_slice(&[peer]);
        if self.networks.is_empty() && self.hops == 0 {
            return way;
        }
        let hops = if self.hops == 0 { usize::MAX } else { self.hops };
        let said = headers.get_all(X_FORWARDED_FOR).iter().rev();
        for entry in said.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')).take(hops) {
            match (way.last(), parse_address(entry)) {
                (Some(last), Some(address)) if self.trusts(*last) => way.push(address),
                _ => break,
            }
        }
        way
    }

    /// True when the peer itself may say which scheme and host the client used.
    fn believes(&self, peer: IpAddr) -> bool {
        (self.hops > 0 || !self.networks.is_empty()) && self.trusts(peer)
    }
}

/// What happens to the headers that say where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded<'a> {
    /// They are the business of the two pods. Only what is Weir's own to say goes.
    Pass,
    /// What the client says is replaced by what its connection shows, and these proxies say.
    Overwrite(&'a TrustedProxies),
}

/// Sets or leaves `X-Forwarded-*`, as `forwarded` says. `authority` is the request's host and port.
/// Gives the client, when the peer is a trusted proxy that names it.
pub fn set_forwarded(
    headers: &mut HeaderMap,
    forwarded: Forwarded<'_>,
    peer: IpAddr,
    scheme: &'static str,
    authority: &str,
) -> Option<IpAddr> {
    let proxies = match forwarded {
        Forwarded::Pass => {
            remove(headers, |name| starts_like(name, "x-weir-") && *name != X_WEIR_PASSES);
            return None;
        }
        Forwarded::Overwrite(proxies) => proxies,
    };
    let peer = peer.to_canonical();
    let way = proxies.way(peer, headers);
    let (proto, host) =
        if proxies.believes(peer) { (said_proto(headers), said_host(headers)) } else { (None, None) };
    remove(headers, is_claim);
    headers.insert(X_FORWARDED_FOR, way_value(&way));
    headers.insert(X_FORWARDED_PROTO, proto.unwrap_or(HeaderValue::from_static(scheme)));
    if let Some(host) = host.or_else(|| host_value(headers, authority)) {
        headers.insert(X_FORWARDED_HOST, host);
    }
    way.last().copied().filter(|client| *client != peer)
}

/// Counts a request that has come to a listener of a Gateway: how often it has by now. A client that
/// sends the header itself is only the sooner refused.
pub fn count_pass(headers: &mut HeaderMap) -> u32 {
    let said = headers.get(X_WEIR_PASSES).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let passes = said.unwrap_or(0).saturating_add(1);
    let value = match passes {
        1 => HeaderValue::from_static("1"),
        more => HeaderValue::from(more),
    };
    headers.insert(X_WEIR_PASSES, value);
    passes
}

/// The `Host` field itself, mostly: it is shared, not copied.
fn host_value(headers: &HeaderMap, authority: &str) -> Option<HeaderValue> {
    let same = headers.get(HOST).filter(|host| host.as_bytes() == authority.as_bytes());
    same.cloned().or_else(|| HeaderValue::from_str(authority).ok())
}

fn said_proto(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_FORWARDED_PROTO).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    [&b"http"[..], b"https"].contains(&value.as_bytes()).then(|| value.clone())
}

fn said_host(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_FORWARDED_HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    authority::parse(value.to_str().ok()?).is_ok().then(|| value.clone())
}

/// What only a trusted proxy may say, in any spelling that a server could take for it.
fn is_claim(name: &HeaderName) -> bool {
    *name == FORWARDED
        || is_like(name, &X_REAL_IP)
        || (["x-forwarded-", "x-envoy-", "x-weir-"].iter().any(|prefix| starts_like(name, prefix))
            && *name != X_WEIR_PASSES)
}

/// Whether a name begins with `prefix`, when `_` counts as `-`: for CGI and its heirs it does.
fn starts_like(name: &HeaderName, prefix: &str) -> bool {
    let name = name.as_str().as_bytes();
    name.len() >= prefix.len()
        && prefix.bytes().zip(name).all(|(wanted, byte)| wanted == *byte || (wanted == b'-' && *byte == b'_'))
}

/// Whether a name is `known` to those for whom `_` counts as `-`.
fn is_like(name: &HeaderName, known: &HeaderName) -> bool {
    name.as_str().len() == known.as_str().len() && starts_like(name, known.as_str())
}

fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// An address, with or without a port and brackets: proxies write it in each of these ways.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The client first, the gateway's own peer last.
fn way_value(way: &[IpAddr]) -> HeaderValue {
    // Long enough for one address, which is what there mostly is.
    let mut text: SmallVec<[u8; 48]> = SmallVec::new();
    for address in way.iter().rev() {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to memory cannot fail.
        let _ = write!(text, "{separator}{address}");
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{map, names};
    use super::*;

    const CLAIMS: [(&str, &str); 11] = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-prefix", "/x"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x_real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-envoy-external-address", "127.0.0.1"),
        ("x-weir-identity", "admin"),
        ("x-weir-passes", "1"),
        ("x-real-ip-of-mine", "1"),
        ("accept", "*/*"),
    ];

    #[test]
    fn an_untrusted_client_cannot_say_where_it_comes_from() {
        let peer: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let mut headers = map(&CLAIMS);
        let nobody = TrustedProxies::default();
        set_forwarded(&mut headers, Forwarded::Overwrite(&nobody), peer, "http", "shop.example:8080");
        let kept = ["accept", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        assert_eq!(names(&headers), [&kept[..], &["x-real-ip-of-mine", "x-weir-passes"]].concat());
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.example:8080");
    }

    #[test]
    fn between_pods_only_what_is_weirs_own_to_say_goes() {
        let mut headers = map(&CLAIMS);
        set_forwarded(&mut headers, Forwarded::Pass, "192.0.2.7".parse().unwrap(), "http", "shop.example");
        let mut wanted = map(&CLAIMS);
        wanted.remove("x-weir-identity");
        assert_eq!(headers, wanted);
    }

    /// What the endpoint reads in `X-Forwarded-For` for `said`, from a peer 10.0.0.1.
    fn way(networks: &[&str], hops: usize, said: &[&str]) -> String {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        let proxies = TrustedProxies { networks, hops };
        let peer = "10.0.0.1".parse().unwrap();
        let client =
            set_forwarded(&mut headers, Forwarded::Overwrite(&proxies), peer, "http", "shop.example");
        let way = headers["x-forwarded-for"].to_str().unwrap().to_owned();
        let first = way.split(", ").next().unwrap();
        assert_eq!(client.unwrap_or(peer).to_string(), first);
        way
    }

    #[test]
    fn hops_are_counted_from_the_right_and_the_clients_inventions_go() {
        let ours = &["10.0.0.0/8", "fd00::/8"][..];
        assert_eq!(way(ours, 0, &["203.0.113.9"]), "203.0.113.9, 10.0.0.1");
        assert_eq!(way(ours, 0, &["127.0.0.1, 203.0.113.9"]), "203.0.113.9, 10.0.0.1");
        assert_eq!(way(ours, 0, &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9, 10.0.0.2, 10.0.0.1");
        assert_eq!(way(ours, 0, &["1.1.1.1,203.0.113.9", "fd00::2"]), "203.0.113.9, fd00::2, 10.0.0.1");
        assert_eq!(way(ours, 1, &["203.0.113.9, 10.0.0.2"]), "10.0.0.2, 10.0.0.1");
        assert_eq!(way(&[], 2, &["9.9.9.9, 203.0.113.9, 192.0.2.1"]), "203.0.113.9, 192.0.2.1, 10.0.0.1");
        assert_eq!(way(&["192.0.2.0/24"], 0, &["127.0.0.1"]), "10.0.0.1");
        assert_eq!(way(&["192.0.2.0/24"], 3, &["127.0.0.1"]), "10.0.0.1");
        assert_eq!(way(&[], 0, &["127.0.0.1"]), "10.0.0.1");
        assert_eq!(way(ours, 0, &["[2001:db8::1]:443"]), "2001:db8::1, 10.0.0.1");
        assert_eq!(way(ours, 0, &["::ffff:203.0.113.9"]), "203.0.113.9, 10.0.0.1");
        for nonsense in ["", "unknown", "203.0.113.9, ", "1.2.3.4.5", "_hidden", "localhost"] {
            assert_eq!(way(ours, 0, &[nonsense]), "10.0.0.1", "{nonsense:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_scheme_and_host_once_and_well_formed() {
        let proxies = TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], hops: 0 };
        let said = |fields: &[(&'static str, &str)], peer: &str| {
            let mut headers = map(fields);
            let peer = peer.parse().unwrap();
            set_forwarded(&mut headers, Forwarded::Overwrite(&proxies), peer, "http", "shop.example");
            let text = |name| headers.get::<&str>(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(headers.len(), 3);
            (text("x-forwarded-proto"), text("x-forwarded-host"))
        };
        let (proto, host) = ("x-forwarded-proto", "x-forwarded-host");
        let both = [(proto, "https"), (host, "www.example:443")];
        let own = ("http".to_owned(), "shop.example".to_owned());
        assert_eq!(said(&both, "10.1.2.3"), ("https".to_owned(), "www.example:443".to_owned()));
        assert_eq!(said(&both, "192.0.2.1"), own);
        assert_eq!(said(&[(proto, "gopher"), (host, "a, b")], "10.1.2.3"), own);
        assert_eq!(said(&[(proto, "https"), (proto, "http"), (host, "a"), (host, "b")], "10.1.2.3"), own);
    }

    #[test]
    fn passes_are_counted_whatever_the_header_says() {
        let mut headers = HeaderMap::new();
        assert_eq!((count_pass(&mut headers), count_pass(&mut headers)), (1, 2));
        for (said, counted) in
            [("x", 1), ("-1", 1), ("", 1), ("7", 8), ("4294967295", u32::MAX), ("99999999999", 1)]
        {
            assert_eq!(count_pass(&mut map(&[("x-weir-passes", said)])), counted, "{said:?}");
        }
    }
}
