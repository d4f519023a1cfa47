//! Long-lived clients for the soak and the tests: counts each time that one of them is cut.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use gateway_tests::streams::{Streams, keep};
use gateway_tests::wait::stdin_closed;

/// Keeps streams open until standard input ends, and prints one line of JSON that says what became of them.
#[derive(Debug, Parser)]
struct Arguments {
    /// An HTTP port with weir-echo behind it.
    #[arg(long)]
    address: SocketAddr,
    /// A port without HTTP, with weir-echo's TCP side behind it.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// The host that requests name.
    #[arg(long, default_value = "calm.demo")]
    host: String,
    /// Upgraded connections.
    #[arg(long, default_value_t = 0)]
    websockets: usize,
    /// Bidirectional gRPC streams.
    #[arg(long, default_value_t = 0)]
    grpc: usize,
    /// Requests whose answer takes its time.
    #[arg(long, default_value_t = 0)]
    polls: usize,
    /// TCP connections.
    #[arg(long, default_value_t = 0)]
    relays: usize,
    /// Clients that reset their connections.
    #[arg(long, default_value_t = 0)]
    resets: usize,
    /// Clients that take their time.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Milliseconds between two messages.
    #[arg(long, default_value_t = 200)]
    pause_ms: u64,
    /// Milliseconds, about, after which a client ends its stream and begins another.
    #[arg(long, default_value_t = 10_000)]
    lifetime_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let streams = Streams {
        address: arguments.address,
        tcp: arguments.tcp,
        host: arguments.host,
        websockets: arguments.websockets,
        grpc: arguments.grpc,
        polls: arguments.polls,
        relays: arguments.relays,
        resets: arguments.resets,
        slow: arguments.slow,
        pause: Duration::from_millis(arguments.pause_ms),
        lifetime: Duration::from_millis(arguments.lifetime_ms),
    };
    let kept = keep(streams, stdin_closed()).await;
    println!("{}", serde_json::to_string(&kept)?);
    // A thread that still waits for standard input must not keep the process.
    std::process::exit(0)
}
