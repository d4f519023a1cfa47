//! A backend for the demo and the tests: answers with its own name.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use gateway_tests::echo::{self, Echo};
use tokio::signal::unix::{SignalKind, signal};

/// A backend that answers with its own name, over HTTP/1.1, HTTP/2, gRPC (echo.Echo) and raw TCP.
#[derive(Debug, Parser)]
struct Arguments {
    /// What it calls itself.
    #[arg(long)]
    name: String,
    /// Port for HTTP/1.1, HTTP/2 with prior knowledge and gRPC.
    #[arg(long)]
    port: u16,
    /// Port that greets and then echoes raw bytes.
    #[arg(long)]
    tcp_port: Option<u16>,
    /// Milliseconds before each HTTP answer.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// So many requests are answered 503 first.
    #[arg(long, default_value_t = 0)]
    fail_first: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { name, port, tcp_port, delay_ms, fail_first } = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = echo::listen(port).with_context(|| format!("cannot listen on port {port}"))?;
    if let Some(port) = tcp_port {
        let raw = echo::listen(port).with_context(|| format!("cannot listen on port {port}"))?;
        tokio::spawn(echo::serve_tcp(raw, name.clone()));
    }
    println!("ready");
    let echo = Echo { name, delay: Duration::from_millis(delay_ms), fail_first };
    echo::serve(listener, echo, async move {
        terminate.recv().await;
    })
    .await;
    Ok(())
}
