//! Where the gateway runs, as flags.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;

use crate::control::compile::Place;

/// Flags that each verb has that runs a gateway.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceArgs {
    /// Name of the Node that this gateway runs on: for Services that keep or prefer calls on their node
    #[arg(long, value_name = "NAME", env = "WEIR_NODE_NAME")]
    node_name: Option<String>,
    /// Zone of that node, for Services that prefer endpoints of their zone [default: that of the Node object]
    #[arg(long, value_name = "NAME", env = "WEIR_ZONE")]
    zone: Option<String>,
    /// Addresses of the node and of this gateway, with commas: never sent to because an EndpointSlice of an
    /// API server names them; can be repeated
    #[arg(long, value_name = "IP,...", env = "WEIR_OWN_ADDRESSES")]
    own_address: Vec<List<IpAddr>>,
    /// Networks whose addresses may be endpoints although they are the node's, link-local or the like, with
    /// commas; can be repeated
    #[arg(long, value_name = "CIDR,...", env = "WEIR_ALLOW_ENDPOINTS")]
    allow_endpoints: Vec<List<IpNet>>,
}

/// Values with commas. A part may be empty: an API server that knows no address leaves it so.
#[derive(Debug, Clone)]
struct List<T>(Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl PlaceArgs {
    /// The node, where one is given.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref().filter(|name| !name.is_empty())
    }
}

impl From<PlaceArgs> for Place {
    fn from(args: PlaceArgs) -> Self {
        let name = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Arc::from);
        let own = args.own_address.into_iter().flat_map(|list| list.0);
        Self {
            node: name(args.node_name),
            zone: name(args.zone),
            own_addresses: own.map(|ip| ip.to_canonical()).collect(),
            behind_services: false,
            allowed: args.allow_endpoints.into_iter().flat_map(|list| list.0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        place: PlaceArgs,
    }

    fn place(arguments: &[&str]) -> Place {
        Cli::try_parse_from([&["weir"], arguments].concat()).unwrap().place.into()
    }

    #[test]
    fn addresses_come_one_by_one_or_with_commas_and_may_be_missing() {
        let named = place(&[
            "--node-name=a",
            "--zone=",
            "--own-address=10.0.0.1,fd00::1",
            "--own-address=,::ffff:10.0.0.2,",
            "--own-address=",
            "--allow-endpoints=10.1.0.0/16, fd01::/16",
        ]);
        assert_eq!((named.node.as_deref(), named.zone), (Some("a"), None));
        let own: Vec<String> = named.own_addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(own, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        assert_eq!(named.allowed.len(), 2);
        assert!(Cli::try_parse_from(["weir", "--own-address=10.0.0.300"]).is_err());
    }
}
