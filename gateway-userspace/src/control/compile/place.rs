//! Pure: where this gateway runs, and which addresses are therefore no endpoints for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::control::config::meta::ObjectKey;
use crate::control::config::resources::ResourceSet;

/// What this gateway knows of its own place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of its Node. Where nobody says, the one Node that is among the objects counts.
    pub node: Option<Arc<str>>,
    /// Topology zone. Where nobody says, that of the Node object counts.
    pub zone: Option<Arc<str>>,
    /// Addresses of the node and of the gateway itself. What listens there is not for those who write
    /// EndpointSlices to an API server.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Gateways are reached through Services of their own: their ports are opened at target ports, and
    /// addresses that they ask for are not this host's.
    pub behind_services: bool,
    /// Networks whose addresses may be endpoints whatever else they are: the operator's word.
    pub allowed: Vec<IpNet>,
}

/// Node and zone, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Locality {
    pub(super) node: Option<Arc<str>>,
    pub(super) zone: Option<Arc<str>>,
}

impl Place {
    pub(super) fn locality(&self, set: &ResourceSet) -> Locality {
        let named = |name: &str| set.nodes.get(&ObjectKey::new("", name));
        let entry = match &self.node {
            Some(name) => named(name),
            None if set.nodes.len() == 1 => set.nodes.iter().next().map(|(_, entry)| entry),
            None => None,
        };
        let object = entry.map(|entry| &entry.object);
        let name = || object.map(|node| node.metadata.name.as_str().into());
        let zone = || object.and_then(|node| node.zone()).map(Into::into);
        Locality { node: self.node.clone().or_else(name), zone: self.zone.clone().or_else(zone) }
    }

    /// Why an address that was found in an API server is never dialled.
    pub(super) fn forbids(&self, ip: IpAddr) -> Option<&'static str> {
        let ip = ip.to_canonical();
        if self.allowed.iter().any(|network| network.contains(&ip)) {
            return None;
        }
        if self.own_addresses.contains(&ip) {
            return Some("an address of this node or of Weir");
        }
        match ip {
            IpAddr::V4(ip) => forbidden_v4(ip),
            IpAddr::V6(ip) => match embedded_v4(ip) {
                Some(inner) => self.forbids(IpAddr::V4(inner)),
                None => forbidden_v6(ip),
            },
        }
    }
}

/// Where clouds answer with credentials of the machine, beside 169.254.169.254, which is link-local.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [169, 254, 169, 254] => Some("the metadata service of a cloud"),
        _ if METADATA_V4.contains(&ip) => Some("the metadata service of a cloud"),
        [0, ..] => Some("an unspecified address"),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if METADATA_V6.contains(&ip) {
        Some("the metadata service of a cloud")
    } else if ip.is_unspecified() {
        Some("an unspecified address")
    } else if ip.is_loopback() {
        Some("a loopback address")
    } else if ip.is_unicast_link_local() {
        Some("a link-local address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

/// The IPv4 address that a translator on the way would dial (RFC 6052), or that is written in the old
/// compatible form.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = ip.segments();
    let translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible =
        [a, b, c, d, e, f, high] == [0; 7] && low > 1 || [a, b, c, d, e, f] == [0; 6] && high > 0;
    let [h, l] = [high.to_be_bytes(), low.to_be_bytes()];
    (translated || compatible).then(|| Ipv4Addr::new(h[0], h[1], l[0], l[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::provider::file;

    #[test]
    fn addresses_that_are_no_pods_are_forbidden_in_every_form() {
        let place = Place { own_addresses: ["10.9.0.1".parse().unwrap()].into(), ..Place::default() };
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "10.9.0.1",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.9.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.9.0.1",
        ] {
            assert!(place.forbids(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.1.0.1", "192.168.0.1", "8.8.8.8", "fd00::1", "2001:db8::1", "64:ff9b::8.8.8.8"] {
            assert_eq!(place.forbids(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_not_forbidden() {
        let place = Place {
            own_addresses: ["10.9.0.1".parse().unwrap()].into(),
            allowed: vec!["10.9.0.0/16".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
            ..Place::default()
        };
        for text in ["10.9.0.1", "127.0.0.1", "::ffff:127.0.0.1"] {
            assert_eq!(place.forbids(text.parse().unwrap()), None, "{text}");
        }
        assert!(place.forbids("169.254.169.254".parse().unwrap()).is_some());
    }

    fn locality(place: Place, nodes: &[&str]) -> (Option<String>, Option<String>) {
        let text: String = nodes
            .iter()
            .map(|name| {
                format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: z-{name}}}}}\n")
            })
            .collect();
        let Locality { node, zone } = place.locality(&file::from_text("nodes.yaml", &text).set);
        (node.map(|n| n.to_string()), zone.map(|z| z.to_string()))
    }

    #[test]
    fn node_and_zone_come_from_settings_first_and_else_from_the_node_object() {
        let both = |node: &str, zone: &str| (Some(node.to_owned()), Some(zone.to_owned()));
        assert_eq!(locality(Place::default(), &["a"]), both("a", "z-a"));
        assert_eq!(locality(Place::default(), &["a", "b"]), (None, None));
        assert_eq!(locality(Place::default(), &[]), (None, None));
        let named = Place { node: Some("b".into()), ..Place::default() };
        assert_eq!(locality(named.clone(), &["a", "b"]), both("b", "z-b"));
        assert_eq!(locality(named.clone(), &[]), (Some("b".to_owned()), None));
        assert_eq!(locality(Place { zone: Some("z".into()), ..named }, &["b"]), both("b", "z"));
    }
}
