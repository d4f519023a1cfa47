//! What can be measured.

use std::fmt;

use clap::ValueEnum;

use super::cpus::Sharing;
use super::measure::{self, Requests, Traffic};
use super::report::Report;
use super::{Bench, idle, overload, propagation, scale, steer};

/// Routes where a scenario does not say otherwise.
pub(super) const ROUTES: usize = 200;
/// A large answer, bytes.
const LARGE: usize = 256 << 10;
/// An ordinary answer, bytes.
const SMALL: usize = 1024;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One connection, everything on one CPU: what a request costs, and the most repeatable of all.
    One,
    /// 64 connections, the proxy alone on a CPU.
    Sat,
    /// The same with two workers on two CPUs.
    Sat2,
    /// HTTP/2 to the client, HTTP/1.1 to the backend.
    H2,
    /// gRPC: calls of one message, and streams.
    Grpc,
    /// A connection for each request.
    Churn,
    /// Answers of 256 KiB.
    Big,
    /// 1 to 10,000 routes.
    Routes,
    /// Three times as many requests as can be served. Needs root.
    Overload,
    /// Memory of an idle keep-alive connection.
    Idle,
    /// 10,000 Services, 100,000 endpoints, 5,000 routes: memory, and the time to compile them.
    Scale,
    /// From a change to its first effect, at that size.
    Propagation,
    /// A connect with and without interception. Needs root.
    Steer,
    /// A captured pod's opaque TCP against a bare relay. Needs root.
    Tcp,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "one",
            Self::Sat => "sat",
            Self::Sat2 => "sat2",
            Self::H2 => "h2",
            Self::Grpc => "grpc",
            Self::Churn => "churn",
            Self::Big => "big",
            Self::Routes => "routes",
            Self::Overload => "overload",
            Self::Idle => "idle",
            Self::Scale => "scale",
            Self::Propagation => "propagation",
            Self::Steer => "steer",
            Self::Tcp => "tcp",
        })
    }
}

impl Scenario {
    /// Measures it for all peers.
    pub(super) fn run(self, bench: &Bench<'_>, report: &mut Report) {
        match self {
            Self::Overload => overload::run(bench, report),
            Self::Idle => idle::run(bench, report),
            Self::Scale => scale::run(bench, report),
            Self::Propagation => propagation::run(bench, report),
            Self::Steer => steer::run(bench, report),
            Self::Tcp => steer::passthrough(bench, report),
            _ => {
                self.traffic(bench.options.quick).iter().for_each(|one| measure::traffic(bench, one, report))
            }
        }
    }

    /// How the proxies are loaded, where it is by traffic alone.
    fn traffic(self, quick: bool) -> Vec<Traffic> {
        let small = |connections| Requests::Http1 { connections, bytes: SMALL };
        let with = |scenario, sharing, requests| Traffic {
            scenario,
            variant: "",
            sharing,
            requests,
            routes: ROUTES,
        };
        let alone = Sharing::Apart(1);
        match self {
            Self::One => vec![with("one", Sharing::OneCpu, small(1))],
            Self::Sat => vec![with("sat", alone, small(64))],
            Self::Sat2 => vec![with("sat2", Sharing::Apart(2), small(64))],
            Self::H2 => vec![with("h2", alone, Requests::Http2)],
            Self::Grpc => [("unary", false), ("streaming", true)]
                .map(|(variant, streaming)| Traffic {
                    variant,
                    ..with("grpc", alone, Requests::Grpc { streaming })
                })
                .to_vec(),
            Self::Churn => vec![with("churn", alone, Requests::Churn { connections: 8 })],
            Self::Big => vec![with("big", alone, Requests::Http1 { connections: 16, bytes: LARGE })],
            Self::Routes => {
                let counts = [("1", 1), ("10", 10), ("100", 100), ("1000", 1000), ("10000", 10_000)];
                let some = if quick { &counts[1..3] } else { &counts[..] };
                let one = with("routes", Sharing::OneCpu, small(1));
                some.iter().map(|(variant, routes)| Traffic { variant, routes: *routes, ..one }).collect()
            }
            Self::Overload | Self::Idle | Self::Scale | Self::Propagation | Self::Steer | Self::Tcp => {
                Vec::new()
            }
        }
    }
}
