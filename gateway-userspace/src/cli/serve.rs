//! What each verb has that serves: its flags, and what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::Failure;
use super::place::PlaceArgs;
use crate::bootstrap::{self, Capture, Settings, Source};
use crate::control::config::duration;
use crate::ebpf::PIN_ROOT;
use crate::limits::{ConnectionLimits, Limits};
use crate::proxy::http::headers::forwarded::TrustedProxies;
use crate::telemetry::access_log::{AccessLogOptions, LogFormat, LogMode, LogTarget};
use crate::telemetry::logging::{self, LoggingOptions};

/// Flags of each verb that serves.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Unix socket for `weir status`, `weir explain` and scrapes [default: /run/weir/admin.sock, or
    /// below $XDG_RUNTIME_DIR when not root]
    #[arg(long, value_name = "PATH", env = "WEIR_ADMIN_SOCKET")]
    admin_socket: Option<PathBuf>,
    /// Serve the read-only part of the admin API (health, metrics, status) on this TCP address too
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_address: Option<SocketAddr>,
    /// Threads that serve traffic [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    workers: Option<u16>,
    /// Where the access log goes: a file, `-` for standard output, or `off`
    #[arg(long, value_name = "PATH|-|off", default_value = "-")]
    access_log: String,
    /// How a line of the access log looks
    #[arg(long, value_enum, default_value_t)]
    access_log_format: LineFormat,
    /// Log only what was refused, failed or answered with an error
    #[arg(long)]
    access_log_failures_only: bool,
    /// cgroup2 directory whose processes are pods [default: the kubelet's kubepods directory]
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Folder on a bpffs for pinned maps and links
    #[arg(long, value_name = "PATH", default_value = PIN_ROOT)]
    bpf_root: PathBuf,
    /// A network whose proxies are believed when they say, in X-Forwarded-* headers, where a request to
    /// a Gateway comes from; can be repeated [default: nobody is believed]
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<IpNet>,
    /// How many proxies a request to a Gateway comes through; without --trusted-proxy from any network
    /// [default: as many as --trusted-proxy names]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    trusted_hops: Option<u8>,
    /// A network whose connections to Gateways must begin with a PROXY protocol header, version 1 or 2; the
    /// client is then who that says; can be repeated
    #[arg(long, value_name = "CIDR")]
    proxy_protocol_from: Vec<IpNet>,
    /// How long requests in flight may take after SIGTERM, as 30s or 1m30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    drain_timeout: Duration,
    /// Age at which a client's HTTP connection is asked to go after its last answer, as 30m or 1h; 0s: never
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    connection_age_max: Duration,
    /// Requests after which it is asked to go [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    connection_requests_max: Option<u64>,
    /// Memory that it may use, in bytes or as 512Mi or 2Gi; requests are refused before it is reached
    /// [default, and the most: that of its cgroup]
    #[arg(long, value_name = "SIZE", env = "WEIR_MEMORY_MAX", value_parser = size)]
    memory_max: Option<u64>,
    /// While everything a worker has to do waits longer than this for its turn, requests are refused
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = time)]
    queue_delay_max: Duration,
    /// What Weir says of itself on standard error: error, warn, info, debug, trace, or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "WEIR_LOG")]
    log_level: String,
    /// One JSON object per line on standard error instead of text
    #[arg(long)]
    log_json: bool,
    /// Note each decision of the kernel programs at debug level (slow; for development)
    #[arg(long)]
    datapath_log: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LineFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// One line of text, for humans.
    Text,
}

/// A time as a flag's value: `500ms`, `30s`, `1m30s`.
pub fn time(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "a time is written as 500ms, 30s or 1m30s".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => Some(0),
        "Ki" => Some(10),
        "Mi" => Some(20),
        "Gi" => Some(30),
        _ => None,
    };
    let bytes = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(1 << unit));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "a size is written as 536870912, 512Mi or 2Gi".to_owned())
}

impl ServeArgs {
    /// Sets up Weir's own log.
    ///
    /// # Errors
    /// When the level is none.
    pub fn log(&self) -> Result<(), Failure> {
        let logging = LoggingOptions { level: self.log_level.clone(), json: self.log_json };
        logging::init(&logging).map_err(|e| Failure::Usage(e.to_string()))
    }

    /// The admin socket, where one is given.
    pub fn admin_socket(&self) -> Option<PathBuf> {
        self.admin_socket.clone()
    }

    /// The node, where one is given.
    pub fn node_name(&self) -> Option<&str> {
        self.place.node_name()
    }

    fn access_log(&self) -> AccessLogOptions {
        let format = match self.access_log_format {
            LineFormat::Json => LogFormat::Json,
            LineFormat::Text => LogFormat::Text,
        };
        let mode = if self.access_log_failures_only { LogMode::Failures } else { LogMode::All };
        match self.access_log.as_str() {
            "off" => AccessLogOptions { mode: LogMode::Off, format, target: LogTarget::Stdout },
            "-" => AccessLogOptions { mode, format, target: LogTarget::Stdout },
            path => AccessLogOptions { mode, format, target: LogTarget::File(path.into()) },
        }
    }

    /// Settings that serve `source`, and capture pods, replace nobody and have no holder.
    pub fn settings(self, source: Source) -> Settings {
        Settings {
            access_log: self.access_log(),
            source,
            trusted: TrustedProxies {
                networks: self.trusted_proxy,
                hops: self.trusted_hops.map_or(0, usize::from),
            },
            admin_socket: self.admin_socket.unwrap_or_else(bootstrap::default_admin_socket),
            admin_address: self.admin_address,
            workers: self.workers.map_or_else(bootstrap::default_workers, usize::from),
            capture: Capture::Auto,
            cgroup: self.cgroup,
            bpf_root: self.bpf_root,
            takeover: false,
            holder: false,
            datapath_log: self.datapath_log,
            proxy_protocol_from: self.proxy_protocol_from,
            place: self.place.into(),
            limits: Limits {
                drain_timeout: self.drain_timeout,
                memory_bytes_max: self.memory_max,
                queue_delay_max: self.queue_delay_max,
                connection: ConnectionLimits {
                    age_max: Some(self.connection_age_max).filter(|age| !age.is_zero()),
                    requests_max: self.connection_requests_max,
                    ..ConnectionLimits::default()
                },
                ..Limits::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        assert_eq!(size("1024"), Ok(1024));
        assert_eq!(size("512Mi"), Ok(512 << 20));
        assert_eq!(size("2Gi"), Ok(2 << 30));
        for wrong in ["", "0", "Mi", "1.5Gi", "-1", "1Mb", "99999999999Gi"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
