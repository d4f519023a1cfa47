//! The proxies that are held against each other: how each is configured alike, started and asked for its version.

mod envoy;
mod haproxy;
mod nginx;
mod weir;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(super) use weir::{gateway, route, service, slice};

/// The host of every request.
pub(super) const HOST: &str = "bench.test";

/// Who carries the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Nobody: the load asks the backend itself.
    Direct,
    /// A proxy on bare hyper that only forwards.
    Floor,
    /// Weir.
    Weir,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Floor => "floor",
            Self::Weir => "weir",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        })
    }
}

/// What is spoken on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1.1, HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge, HTTP/1.1.
    Http2,
    /// HTTP/2 with prior knowledge on both.
    Grpc,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Backend, load and floor.
    pub part: PathBuf,
    /// Envoy, if there is one.
    pub envoy: Option<PathBuf>,
}

/// What a proxy is asked to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// A folder of its own.
    pub(super) folder: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) upstream: SocketAddr,
    pub(super) speaks: Speaks,
    /// Routes by path prefix, `/r0/` and so on, all to the same upstream.
    pub(super) routes: usize,
    pub(super) workers: usize,
}

impl Peer {
    /// The program that makes it start.
    pub(super) fn program(self, tools: &Tools) -> Option<PathBuf> {
        match self {
            Self::Direct => None,
            Self::Floor => Some(tools.part.clone()),
            Self::Weir => Some(crate::weir::binary()),
            Self::Nginx => find("nginx"),
            Self::Haproxy => find("haproxy"),
            Self::Envoy => tools.envoy.clone().or_else(|| find("envoy")),
        }
    }

    /// True when it can take part.
    pub(super) fn is_there(self, tools: &Tools) -> bool {
        self == Self::Direct || self.program(tools).is_some_and(|program| program.is_file())
    }

    /// What it says it is; empty when it says nothing.
    pub(super) fn version(self, tools: &Tools) -> String {
        let argument = match self {
            Self::Direct | Self::Floor => return String::new(),
            Self::Weir | Self::Envoy => "--version",
            Self::Nginx | Self::Haproxy => "-v",
        };
        let output =
            self.program(tools).and_then(|program| Command::new(program).arg(argument).output().ok());
        let Some(output) = output else { return String::new() };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }

    /// Writes its configuration; the command that starts it in the foreground.
    pub(super) fn command(self, tools: &Tools, task: &Task<'_>) -> Result<Command> {
        let program = self.program(tools).with_context(|| format!("{self} is not installed"))?;
        let mut command = Command::new(program);
        match self {
            Self::Direct => bail!("nothing to start"),
            Self::Floor => floor(&mut command, task),
            Self::Weir => weir::configure(&mut command, task)?,
            Self::Nginx => nginx::configure(&mut command, task)?,
            Self::Haproxy => haproxy::configure(&mut command, task)?,
            Self::Envoy => envoy::configure(&mut command, task)?,
        }
        Ok(command)
    }
}

fn floor(command: &mut Command, task: &Task<'_>) {
    let speaks = match task.speaks {
        Speaks::Http1 => "http1",
        Speaks::Http2 => "http2",
        Speaks::Grpc => "grpc",
    };
    command.args(["floor", "--listen", &task.listen.to_string(), "--upstream", &task.upstream.to_string()]);
    command.args(["--speaks", speaks, "--workers", &task.workers.to_string()]);
}

/// A program in `PATH`, or where distributions put servers.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// So many ports of loopback that nobody has at this moment, below those that clients get.
pub(super) fn free_ports(count: usize) -> Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    let mut taken = Vec::new();
    while found.len() < count {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(18_000..30_000)));
        if let Ok(listener) = std::net::TcpListener::bind(address) {
            taken.push(listener);
            found.push(address);
        }
    }
    Ok(found)
}

/// The route that requests ask for: the middle one, which costs as much as the average of all.
pub(super) fn target(routes: usize) -> String {
    format!("/r{}/x", routes / 2)
}
