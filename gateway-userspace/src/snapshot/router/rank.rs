//! Pure: where an entry stands among all entries of a router.

use std::sync::Arc;

use super::RouteEntry;
use super::precedence::Precedence;

/// When a route was made, and what it is called: of two matches that are else equal, that of the lesser
/// route comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RouteAge {
    /// RFC 3339, UTC. Absent counts as oldest.
    pub created: Option<Arc<str>>,
    /// Namespace of the route.
    pub namespace: Arc<str>,
    /// Name of the route.
    pub name: Arc<str>,
    /// True for a GRPCRoute.
    pub grpc: bool,
}

/// Compares less when it comes first: no two entries of a router compare equal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) precedence: Precedence,
    age: Arc<RouteAge>,
    position: u32,
}

/// An entry and its rank. One allocation for all routers that it is in.
#[derive(Debug)]
pub struct RankedEntry {
    pub(super) rank: Rank,
    /// The entry.
    pub entry: RouteEntry,
}

impl RankedEntry {
    /// An entry of the route of that age; `position` is its own among the route's entries.
    pub fn new(entry: RouteEntry, age: &Arc<RouteAge>, position: u32) -> Arc<Self> {
        let rank = Rank { precedence: Precedence::of(&entry), age: Arc::clone(age), position };
        Arc::new(Self { rank, entry })
    }
}
