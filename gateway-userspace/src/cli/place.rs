//! Where the gateway runs, as flags.

use std::net::IpAddr;
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
    /// An address of the node or of this gateway: never sent to because an EndpointSlice of an API server
    /// names it; can be repeated
    #[arg(long, value_name = "IP", env = "WEIR_OWN_ADDRESSES", value_delimiter = ',')]
    own_address: Vec<IpAddr>,
    /// A network whose addresses may be endpoints although they are the node's, link-local or the like;
    /// can be repeated
    #[arg(long, value_name = "CIDR", env = "WEIR_ALLOW_ENDPOINTS", value_delimiter = ',')]
    allow_endpoints: Vec<IpNet>,
}

impl From<PlaceArgs> for Place {
    fn from(args: PlaceArgs) -> Self {
        let name = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Arc::from);
        Self {
            node: name(args.node_name),
            zone: name(args.zone),
            own_addresses: args.own_address.into_iter().map(|ip| ip.to_canonical()).collect(),
            allowed: args.allow_endpoints,
        }
    }
}
