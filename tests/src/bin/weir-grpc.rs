//! A gRPC client for the demo and the tests: many calls over one connection.

use std::net::SocketAddr;

use clap::Parser;
use gateway_tests::grpc;

/// Calls echo.Echo over one connection and prints one line of JSON: who answered how often.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the service is, e.g. 10.96.0.11:80.
    #[arg(long)]
    address: SocketAddr,
    /// Calls, or messages of the stream.
    #[arg(long, default_value_t = 30)]
    calls: u64,
    /// One bidirectional stream instead of unary calls.
    #[arg(long)]
    stream: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { address, calls, stream } = Arguments::parse();
    let mut client = grpc::connect(address).await?;
    let outcome = if stream {
        grpc::stream(&mut client, calls).await?
    } else {
        grpc::unary(&mut client, calls).await?
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}
