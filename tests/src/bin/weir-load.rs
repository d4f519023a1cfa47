//! A load for the demo and the tests: counts what became of every request.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use gateway_tests::load::{self, Load, Until};
use gateway_tests::wait::stdin_closed;
use http::{HeaderName, HeaderValue, Method, Uri};

/// Sends requests in a closed loop and prints one line of JSON that says what became of them.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to ask for, e.g. http://10.96.0.10/path. Its host is also where to connect.
    #[arg(long)]
    url: Uri,
    /// Connect there instead, e.g. 10.96.0.10:80.
    #[arg(long)]
    connect: Option<SocketAddr>,
    /// Method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Header, as `name: value`; repeatable.
    #[arg(long = "header", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Stop after so many requests (or connects).
    #[arg(long)]
    requests: Option<u64>,
    /// Stop after so long.
    #[arg(long)]
    duration_ms: Option<u64>,
    /// Stop when standard input ends.
    #[arg(long)]
    until_stdin_closes: bool,
    /// Requests, or connects, a second in all; unbounded when absent.
    #[arg(long)]
    rate: Option<u32>,
    /// A new connection for each request.
    #[arg(long)]
    no_keepalive: bool,
    /// HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
    /// Only connect and close.
    #[arg(long)]
    connect_only: bool,
    /// Longest wait for an answer.
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
}

fn header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').context("expected `name: value`")?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

impl Arguments {
    fn until(&self) -> anyhow::Result<Until> {
        match (self.requests, self.duration_ms, self.until_stdin_closes) {
            (Some(requests), None, false) => Ok(Until::Requests(requests)),
            (None, Some(ms), false) => Ok(Until::Elapsed(Duration::from_millis(ms))),
            (None, None, true) => Ok(Until::Told),
            _ => bail!("give one of --requests, --duration-ms, --until-stdin-closes"),
        }
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        if let Some(address) = self.connect {
            return Ok(address);
        }
        let host = self.url.host().context("the URL has no host")?;
        let port = self.url.port_u16().unwrap_or(80);
        (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()?
            .next()
            .with_context(|| format!("{host} has no address"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (until, address) = (arguments.until()?, arguments.address()?);
    let told = stdin_closed();
    if arguments.connect_only {
        let connects = load::connect_only(address, arguments.rate, until, told).await;
        println!("{}", serde_json::to_string(&connects)?);
        return Ok(());
    }
    let load = Load {
        address,
        uri: arguments.url,
        method: arguments.method,
        headers: arguments.headers,
        connections: arguments.connections,
        http2: arguments.http2,
        keep_alive: !arguments.no_keepalive,
        rate: arguments.rate,
        timeout: Duration::from_millis(arguments.timeout_ms),
    };
    let tally = load::run(load, until, told).await;
    println!("{}", serde_json::to_string(&tally)?);
    // A thread that still waits for standard input must not keep the process.
    std::process::exit(0)
}
