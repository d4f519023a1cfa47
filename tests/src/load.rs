//! Requests in a closed loop, and an honest count of what became of each.

mod client;
mod tally;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Uri};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

pub use tally::{Connects, Tally};

use client::Client;

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to connect.
    pub address: SocketAddr,
    /// Request target and Host.
    pub uri: Uri,
    /// Method; bodies are empty.
    pub method: Method,
    /// Sent with every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Connections at once.
    pub connections: usize,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub http2: bool,
    /// False: a new connection for each request.
    pub keep_alive: bool,
    /// Requests a second in all; as many as go when absent.
    pub rate: Option<u32>,
    /// No request takes longer.
    pub timeout: Duration,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After so many requests in all.
    Requests(u64),
    /// After so long.
    Elapsed(Duration),
    /// When the future given to `run` resolves.
    Told,
}

#[derive(Debug)]
struct Plan {
    started: u64,
    limit: Option<u64>,
    stopped: bool,
}

impl Plan {
    fn next(&mut self) -> Option<u64> {
        if self.stopped || self.limit.is_some_and(|limit| self.started >= limit) {
            return None;
        }
        self.started += 1;
        Some(self.started - 1)
    }
}

/// Runs the load on this thread; a request that is under way at the end is waited for.
pub async fn run(load: Load, until: Until, told: impl Future<Output = ()>) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let limit = match until {
        Until::Requests(count) => Some(count),
        Until::Elapsed(_) | Until::Told => None,
    };
    let plan = Rc::new(RefCell::new(Plan { started: 0, limit, stopped: false }));
    let load = Rc::new(load);
    let tasks = LocalSet::new();
    let begin = Instant::now();
    let mut loops = Vec::with_capacity(load.connections);
    for _ in 0..load.connections.max(1) {
        loops.push(tasks.spawn_local(drive(Rc::clone(&load), Rc::clone(&plan), Rc::clone(&tally), begin)));
    }
    tasks
        .run_until(async {
            let ended = async {
                for one in loops {
                    // A loop that panicked is missing from the sums, which the reader sees.
                    let _ = one.await;
                }
            };
            let mut ended = std::pin::pin!(ended);
            tokio::select! {
                () = &mut ended => return,
                () = stop_when(until, told) => {}
            }
            plan.borrow_mut().stopped = true;
            ended.await;
        })
        .await;
    tally.take()
}

async fn stop_when(until: Until, told: impl Future<Output = ()>) {
    match until {
        Until::Requests(_) => std::future::pending().await,
        Until::Elapsed(time) => tokio::time::sleep(time).await,
        Until::Told => told.await,
    }
}

async fn drive(load: Rc<Load>, plan: Rc<RefCell<Plan>>, tally: Rc<RefCell<Tally>>, begin: Instant) {
    let mut client = Client::new(&load);
    loop {
        let Some(number) = plan.borrow_mut().next() else { break };
        if let Some(rate) = load.rate {
            tokio::time::sleep_until(due(begin, number, rate)).await;
        }
        let outcome = match tokio::time::timeout(load.timeout, client.request()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                client.reset();
                Err("timeout".into())
            }
        };
        tally.borrow_mut().add(outcome);
    }
}

/// When the request or connect of this number is due, at `rate` a second.
fn due(begin: Instant, number: u64, rate: u32) -> tokio::time::Instant {
    (begin + Duration::from_secs_f64(number as f64 / f64::from(rate.max(1)))).into()
}

/// Connects and closes, over and over, until `until`; counts refusals apart from other failures. Without a
/// `rate` a client that does nothing else runs out of ports after about 28,000 connects to one address.
pub async fn connect_only(
    address: SocketAddr,
    rate: Option<u32>,
    until: Until,
    told: impl Future<Output = ()>,
) -> Connects {
    let begin = Instant::now();
    let mut connects = Connects::default();
    let mut stop = std::pin::pin!(stop_when(until, told));
    loop {
        if matches!(until, Until::Requests(count) if connects.connects >= count) {
            return connects;
        }
        let next = async {
            if let Some(rate) = rate {
                tokio::time::sleep_until(due(begin, connects.connects, rate)).await;
            }
            TcpStream::connect(address).await
        };
        tokio::select! {
            biased;
            () = &mut stop => return connects,
            outcome = next => connects.add(outcome),
        }
    }
}
