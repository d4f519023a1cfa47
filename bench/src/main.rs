//! The parts of a benchmark as processes: each does one thing, on the CPUs that its parent has pinned it to.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use gateway_bench::load::{Load, MEASURING};
use gateway_bench::{backend, connect, floor, grpc, idle, load, relay};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One part of a benchmark of Weir. `cargo xtask bench` starts these.
#[derive(Debug, Parser)]
enum Part {
    /// A backend for HTTP/1.1.
    Backend {
        #[arg(long)]
        listen: SocketAddr,
        /// What it calls itself in its answers.
        #[arg(long, default_value = "a")]
        name: String,
    },
    /// A backend for gRPC: what comes goes back.
    GrpcBackend {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A server that sends one byte back.
    Echo {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A proxy on bare hyper.
    Floor {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
        #[arg(long, value_enum, default_value = "http1")]
        speaks: floor::Speaks,
        #[arg(long, default_value_t = 1)]
        workers: usize,
    },
    /// A relay of TCP that copies.
    Relay {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// HTTP/1.1 requests in a closed loop, or so many a second.
    Load {
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        target: Target,
        /// A connection for each request.
        #[arg(long)]
        churn: bool,
        /// Requests a second, whatever becomes of those before; `--connections` is the most there may be.
        #[arg(long)]
        rate: Option<u32>,
    },
    /// gRPC calls in a closed loop.
    GrpcLoad {
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        target: Target,
        /// Calls at once on each connection.
        #[arg(long, default_value_t = 32)]
        streams: usize,
        /// Calls stay open, and messages count.
        #[arg(long)]
        streaming: bool,
    },
    /// Connections that have had one answer and wait until standard input ends.
    Idle {
        #[command(flatten)]
        target: Target,
    },
    /// Connects one after the other.
    Connect {
        #[command(flatten)]
        span: Span,
        #[arg(long)]
        connect: SocketAddr,
        /// Send a byte and wait for it to come back.
        #[arg(long)]
        echo: bool,
        /// Connects a second; as many as go when 0.
        #[arg(long, default_value_t = 0)]
        rate: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Span {
    /// Not counted.
    #[arg(long, default_value_t = 500)]
    warm_up_ms: u64,
    /// Counted.
    #[arg(long, default_value_t = 2000)]
    measured_ms: u64,
}

impl Span {
    fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    fn measured(&self) -> Duration {
        Duration::from_millis(self.measured_ms)
    }
}

#[derive(Debug, clap::Args)]
struct Target {
    #[arg(long)]
    connect: SocketAddr,
    /// Path and query.
    #[arg(long, default_value = "/")]
    target: String,
    #[arg(long, default_value = "bench.test")]
    host: String,
    #[arg(long, default_value_t = 1)]
    connections: usize,
}

fn main() -> anyhow::Result<()> {
    match Part::parse() {
        Part::Backend { listen, name } => backend::serve(&backend::listen(listen)?, &name),
        Part::GrpcBackend { listen } => grpc::serve(listen),
        Part::Echo { listen } => connect::serve(listen),
        Part::Floor { listen, upstream, speaks, workers } => floor::serve(listen, upstream, speaks, workers),
        Part::Relay { listen, upstream } => relay::serve(listen, upstream),
        Part::Load { span, target, churn, rate } => {
            let load = Load {
                address: target.connect,
                target: target.target,
                host: target.host,
                connections: target.connections,
                churn,
                warm_up: span.warm_up(),
                measured: span.measured(),
            };
            tell(&match rate {
                Some(rate) => load::open::run(&load, rate, measuring)?,
                None => load::run(&load, measuring)?,
            })
        }
        Part::GrpcLoad { span, target, streams, streaming } => {
            let calls = grpc::Calls {
                address: target.connect,
                path: target.target,
                host: target.host,
                connections: target.connections,
                streams,
                streaming,
                warm_up: span.warm_up(),
                measured: span.measured(),
            };
            tell(&grpc::run(&calls, measuring)?)
        }
        Part::Idle { target } => {
            let opened = idle::open(target.connect, &target.target, &target.host, target.connections)?;
            measuring();
            std::io::stdin().read_to_end(&mut Vec::new())?;
            drop(opened);
            Ok(())
        }
        Part::Connect { span, connect, echo, rate } => {
            let plan = connect::Plan {
                address: connect,
                echo,
                rate,
                warm_up: span.warm_up(),
                measured: span.measured(),
            };
            tell(&connect::run(&plan, measuring))
        }
    }
}

/// Whoever reads along looks at the processes now.
fn measuring() {
    println!("{MEASURING}");
    // Nobody reads along, or somebody does: the measurement goes on.
    let _ = std::io::stdout().flush();
}

fn tell(outcome: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(outcome)?);
    Ok(())
}
