//! Requests that clients gave up at once, counted per client over all of its connections.
//!
//! The account of a connection ends with it: who is cut for rapid resets (CVE-2023-44487) could come back with
//! a new connection, and begin again. This one stays until what was paid has come back.

use std::cell::RefCell;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::holders::Holder;
use crate::limits::ClientLimits;

/// Accounts among which the one to forget is looked for: it is the one that has paid least.
const LOOKED_AT_MAX: usize = 16;

/// The accounts of one worker's clients that have given up something of late.
#[derive(Debug)]
pub struct Resets {
    accounts: RefCell<FxHashMap<Holder, Bucket>>,
    begin: Instant,
}

impl Default for Resets {
    fn default() -> Self {
        Self { accounts: RefCell::default(), begin: Instant::now() }
    }
}

impl Resets {
    /// One request of this client was given up, or had to be. False when there were too many.
    pub fn count(&self, holder: Holder, workers: usize, limits: &ClientLimits) -> bool {
        let mut accounts = self.accounts.borrow_mut();
        let now = self.begin.elapsed();
        if !accounts.contains_key(&holder) && accounts.len() >= limits.remembered_max {
            make_room(&mut accounts, now);
        }
        let account = accounts.entry(holder).or_insert_with(|| {
            // The kernel deals the connections of a client out among the workers.
            let share = |all: u32| all.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX).max(1));
            Bucket::new(share(limits.resets_burst), share(limits.resets_per_second))
        });
        account.fill(now);
        account.take()
    }
}

/// Forgets those that have paid back, or one that has paid little.
fn make_room(accounts: &mut FxHashMap<Holder, Bucket>, now: Duration) {
    let mut least: Option<(Holder, u32)> = None;
    let mut paid = Vec::new();
    for (holder, account) in accounts.iter_mut().take(LOOKED_AT_MAX) {
        account.fill(now);
        if account.is_full() {
            paid.push(*holder);
        } else if least.is_none_or(|(_, tokens)| account.tokens() > tokens) {
            least = Some((*holder, account.tokens()));
        }
    }
    if let (true, Some((holder, _))) = (paid.is_empty(), least) {
        paid.push(holder);
    }
    for holder in paid {
        accounts.remove(&holder);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(number: u32) -> Holder {
        Holder::Source(Ipv4Addr::from_bits(number).into())
    }

    fn limits() -> ClientLimits {
        ClientLimits { resets_burst: 50, resets_per_second: 10, remembered_max: 100 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_one_account_and_pays_it_back_with_time() {
        let (resets, limits) = (Resets::default(), limits());
        assert!((0..50).all(|_| resets.count(client(1), 1, &limits)));
        assert!(!resets.count(client(1), 1, &limits));
        assert!(resets.count(client(2), 1, &limits), "another has its own");
        tokio::time::advance(Duration::from_secs(1)).await;
        let again = (0..50).filter(|_| resets.count(client(1), 1, &limits)).count();
        assert_eq!(again, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_are_not_many_accounts_and_the_guilty_one_is_remembered() {
        let (resets, limits) = (Resets::default(), limits());
        while resets.count(client(0), 1, &limits) {}
        for number in 1..100_000 {
            resets.count(client(number), 1, &limits);
        }
        assert_eq!(resets.accounts.borrow().len(), 100);
        assert!(!resets.count(client(0), 1, &limits));
    }

    #[tokio::test(start_paused = true)]
    async fn workers_share_what_a_client_may() {
        let (resets, limits) = (Resets::default(), limits());
        let taken = (0..50).filter(|_| resets.count(client(1), 4, &limits)).count();
        assert_eq!(taken, 13);
    }
}
