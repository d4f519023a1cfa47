//! Which client stays with which endpoint (`sessionAffinity: ClientIP`).
//!
//! A client's first endpoint is the one that scores best for it, which is the same for every worker,
//! process and node. So a change of endpoints moves only those clients whose endpoint went, and, once
//! they are forgotten, the share of a new one. Clients that called within the Service's timeout are
//! remembered, and stay where they are also when endpoints are added.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::outlier_detection::Millis;
use crate::snapshot::cluster::ClusterId;

/// Whose calls belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// A captured pod, by the number of its network namespace: there is one for its addresses.
    Pod(u64),
    /// Who calls through a Gateway.
    Address(IpAddr),
}

impl Client {
    fn hash(self) -> u64 {
        match self {
            Self::Pod(cookie) => mix(cookie ^ 0x706f_6400),
            Self::Address(ip) => mix_ip(0, ip),
        }
    }

    /// How well an endpoint suits this client; the least is the best. Of all clients, each endpoint is
    /// the best for as many as its weight says.
    pub fn score(self, endpoint: SocketAddr, weight: u32) -> f64 {
        let hash = mix(mix_ip(self.hash(), endpoint.ip()) ^ u64::from(endpoint.port()));
        let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / f64::from(weight.max(1))
    }
}

fn mix_ip(seed: u64, ip: IpAddr) -> u64 {
    let bits = match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    mix(mix(seed ^ bits as u64) ^ (bits >> 64) as u64)
}

/// Spreads what differs in one bit over all of them (splitmix64).
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Clients that called not long ago, known to all workers of the process. Touched by Services with an
/// affinity alone.
#[derive(Debug, Default)]
pub struct Sessions([Mutex<Shard>; SHARDS]);

/// Workers seldom wait for each other.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    sessions: FxHashMap<(ClusterId, Client), Session>,
    purged: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    endpoint: SocketAddr,
    until: Millis,
}

/// How often a full shard is searched for what has expired.
const PURGE_EVERY: Duration = Duration::from_secs(1);

impl Sessions {
    /// The endpoint that a client had, if it has not been away for too long.
    pub fn get(&self, cluster: ClusterId, client: Client, now: Millis) -> Option<SocketAddr> {
        let shard = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let session = shard.sessions.get(&(cluster, client))?;
        (now.0 < session.until.0).then_some(session.endpoint)
    }

    /// Remembers the endpoint of a client from now on for `timeout`. With `clients_max` clients in all
    /// that are not to be forgotten yet, further ones have no memory but their score.
    pub fn put(
        &self,
        cluster: ClusterId,
        client: Client,
        endpoint: SocketAddr,
        (now, timeout): (Millis, Duration),
        clients_max: usize,
    ) {
        let mut shard = self.shard(client).lock().unwrap_or_else(PoisonError::into_inner);
        let session = Session { endpoint, until: after(now, timeout) };
        if let Some(known) = shard.sessions.get_mut(&(cluster, client)) {
            *known = session;
            return;
        }
        let max = clients_max.div_ceil(SHARDS);
        if shard.sessions.len() >= max && now.0 >= after(shard.purged, PURGE_EVERY).0 {
            shard.sessions.retain(|_, session| now.0 < session.until.0);
            shard.purged = now;
        }
        if shard.sessions.len() < max {
            shard.sessions.insert((cluster, client), session);
        }
    }

    fn shard(&self, client: Client) -> &Mutex<Shard> {
        &self.0[(client.hash() >> 32) as usize % SHARDS]
    }
}

fn after(now: Millis, duration: Duration) -> Millis {
    Millis(now.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([10, 1, 0, last], 80))).collect()
    }

    fn clients() -> impl Iterator<Item = Client> {
        (0..10_000_u32).map(|n| Client::Address(IpAddr::from((0x0a02_0000 + n).to_be_bytes())))
    }

    fn best(client: Client, endpoints: &[SocketAddr], weight: impl Fn(SocketAddr) -> u32) -> SocketAddr {
        let score = |e: &SocketAddr| client.score(*e, weight(*e));
        *endpoints.iter().min_by(|a, b| score(a).total_cmp(&score(b))).unwrap()
    }

    #[test]
    fn a_change_of_endpoints_moves_only_the_clients_that_it_must() {
        let (few, many) = (endpoints(9), endpoints(10));
        let mut moved = 0;
        for client in clients() {
            let (before, after) = (best(client, &few, |_| 1), best(client, &many, |_| 1));
            assert!(before == after || after == many[9], "{client:?} went from {before} to {after}");
            moved += usize::from(before != after);
        }
        assert!((800..1_200).contains(&moved), "a tenth belongs to the new one, not {moved}");
    }

    #[test]
    fn clients_are_shared_by_weight_whether_they_are_pods_or_addresses() {
        let two = endpoints(2);
        let weight = |e: SocketAddr| if e == two[0] { 3 } else { 1 };
        let pods = (0..10_000).map(Client::Pod);
        for clients in [clients().collect::<Vec<_>>(), pods.collect()] {
            let heavy = clients.iter().filter(|c| best(**c, &two, weight) == two[0]).count();
            assert!((7_200..7_800).contains(&heavy), "{heavy}");
        }
    }

    #[test]
    fn one_client_in_two_notations_is_one_client() {
        let [mapped, plain] = ["::ffff:10.1.0.1", "10.1.0.1"].map(|ip| Client::Address(ip.parse().unwrap()));
        assert_eq!(mapped.score(endpoints(1)[0], 1), plain.score(endpoints(1)[0], 1));
    }

    const CLUSTER: ClusterId = ClusterId(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_client_is_remembered_until_it_was_away_for_the_timeout() {
        let (sessions, client, endpoint) = (Sessions::default(), Client::Pod(7), endpoints(1)[0]);
        sessions.put(CLUSTER, client, endpoint, (Millis(0), MINUTE), 100);
        assert_eq!(sessions.get(CLUSTER, client, Millis(59_999)), Some(endpoint));
        assert_eq!(sessions.get(CLUSTER, client, Millis(60_000)), None);
        assert_eq!(sessions.get(ClusterId(2), client, Millis(0)), None, "another Service");
        sessions.put(CLUSTER, client, endpoint, (Millis(59_000), MINUTE), 100);
        assert_eq!(sessions.get(CLUSTER, client, Millis(118_999)), Some(endpoint), "each call counts anew");
    }

    #[test]
    fn so_many_clients_are_remembered_and_those_who_left_make_room() {
        let (sessions, endpoint) = (Sessions::default(), endpoints(1)[0]);
        let put = |range: std::ops::Range<u64>, now| {
            range.for_each(|n| sessions.put(CLUSTER, Client::Pod(n), endpoint, (now, MINUTE), 160));
        };
        let known = |range: std::ops::Range<u64>, now| {
            range.filter(|n| sessions.get(CLUSTER, Client::Pod(*n), now).is_some()).count()
        };
        put(0..10_000, Millis(0));
        assert_eq!(known(0..10_000, Millis(1)), 160);
        put(10_000..20_000, Millis(61_000));
        assert_eq!(known(0..10_000, Millis(61_000)), 0);
        assert_eq!(known(10_000..20_000, Millis(61_000)), 160);
    }
}
