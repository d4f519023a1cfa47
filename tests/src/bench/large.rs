//! A large cluster as a folder: 10,000 Services, 100,000 endpoints and 5,000 routes, and two Services that live.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use super::cpus::Sharing;
use super::measure;
use super::peer::{self, Speaks, gateway, route, service, slice};
use super::process::Process;
use crate::manifests;
use crate::wait::wait_for;

/// Longest wait until it is served, by a weir that was not optimised.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Services in a file.
const FILE_SERVICES: usize = 100;
/// Services whose endpoints have a file of their own, for whoever changes them.
pub(super) const LOOSE: usize = 100;
/// The target that leads to a replica that lives.
pub(super) const TARGET: &str = "/live/x?bytes=1";

/// How large.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) services: usize,
    pub(super) endpoints_each: usize,
    pub(super) routes: usize,
}

impl Size {
    pub(super) fn of(bench: &Bench<'_>) -> Self {
        if bench.options.quick {
            Self { services: 300, endpoints_each: 10, routes: 150 }
        } else {
            Self { services: 10_000, endpoints_each: 10, routes: 5000 }
        }
    }
}

/// Weir on such a folder, with two replicas.
pub(super) struct Large {
    pub(super) weir: Process,
    pub(super) config: PathBuf,
    pub(super) errors: PathBuf,
    pub(super) size: Size,
    /// Where the Gateway is.
    pub(super) address: SocketAddr,
    /// Two backends, named `a` and `b`.
    pub(super) replicas: [SocketAddr; 2],
    _backends: [Process; 2],
}

impl Large {
    /// Writes the folder, starts everything and waits until Weir serves it.
    pub(super) fn start(bench: &Bench<'_>, name: &str) -> Result<Self> {
        let size = Size::of(bench);
        let folder = bench.folder(name)?;
        let config = folder.join("config");
        fs::create_dir(&config)?;
        let ports = peer::free_ports(3)?;
        let (address, replicas) = (ports[0], [ports[1], ports[2]]);
        write_folder(&config, size, address, replicas)?;
        let place = Sharing::Apart(1).place(&bench.cpus);
        let backend = |name, address| {
            measure::backend(bench.part(), Speaks::Http1, address, name, &place.others, &folder)
        };
        let backends = [backend("a", replicas[0])?, backend("b", replicas[1])?];
        let errors = folder.join("weir.errors");
        let mut command = Command::new(crate::weir::binary());
        command.arg("run").arg("--config").arg(&config).arg("--admin-socket").arg(folder.join("admin.sock"));
        command.args([
            "--workers",
            "1",
            "--access-log",
            "/dev/null",
            "--capture",
            "off",
            "--log-level",
            "info",
        ]);
        let mut weir = Process::start_silent("weir", command, &place.proxy, &errors)?;
        wait_for("weir serves the large folder", READY_WITHIN, || {
            let ready = matches!(crate::weir::get(&folder.join("admin.sock"), "/readyz"), Ok((200, _)));
            let serves = ready && measure::asked(address, TARGET).is_ok_and(|status| status == 200);
            (serves || !weir.runs()).then_some(())
        })
        .with_context(|| fs::read_to_string(&errors).unwrap_or_default())?;
        Ok(Self { weir, config, errors, size, address, replicas, _backends: backends })
    }

    /// Sends the Service that lives to this replica.
    pub(super) fn point_service(&self, replica: usize) -> Result<()> {
        Ok(manifests::write(&self.config, "live-slice.yaml", &slice("live", &[self.replicas[replica]]))?)
    }

    /// Sends the route that lives to the Service of this replica.
    pub(super) fn point_route(&self, replica: usize) -> Result<()> {
        let service = ["live-a", "live-b"][replica];
        Ok(manifests::write(&self.config, "live-route.yaml", &live_route("live-by-route", service))?)
    }

    /// Gives one of the loose Services other endpoints.
    pub(super) fn change_loose(&self, number: usize, turn: usize) -> Result<()> {
        write_loose(&self.config, self.size, number % LOOSE, turn)
    }

    /// What Weir has said since it started.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

/// Nobody is there, and nobody calls them.
fn endpoints(size: Size, service: usize, turn: usize) -> Vec<SocketAddr> {
    let first = service * size.endpoints_each + turn % 2;
    let address = |n: usize| {
        let [_, b, c, d] = u32::try_from(n).unwrap_or(0).to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(10, 100 + b, c, d), 8080))
    };
    (first..first + size.endpoints_each).map(address).collect()
}

fn write_loose(config: &Path, size: Size, number: usize, turn: usize) -> Result<()> {
    let text = slice(&format!("s{number}"), &endpoints(size, number, turn));
    Ok(manifests::write(config, &format!("loose-{number}.yaml"), &text)?)
}

fn write_folder(config: &Path, size: Size, address: SocketAddr, replicas: [SocketAddr; 2]) -> Result<()> {
    let Size { services, routes, .. } = size;
    fs::write(config.join("gateway.yaml"), gateway(address.port()))?;
    let live = [("live", replicas[0]), ("live-a", replicas[0]), ("live-b", replicas[1])];
    let services_of_live = live.map(|(name, _)| service(name, "http")).concat();
    fs::write(config.join("live-services.yaml"), services_of_live)?;
    for (name, replica) in live {
        let file = if name == "live" { "live-slice.yaml".to_owned() } else { format!("{name}-slice.yaml") };
        fs::write(config.join(file), slice(name, &[replica]))?;
    }
    fs::write(config.join("live-route.yaml"), live_route("live-by-route", "live-a"))?;
    fs::write(config.join("live-service-route.yaml"), live_route("live", "live"))?;
    for first in (0..services).step_by(FILE_SERVICES) {
        let mut text = String::new();
        for number in first..(first + FILE_SERVICES).min(services) {
            let name = format!("s{number}");
            text.push_str(&service(&name, "http"));
            if number >= LOOSE {
                text.push_str(&slice(&name, &endpoints(size, number, 0)));
            }
        }
        fs::write(config.join(format!("services-{first}.yaml")), text)?;
    }
    (0..LOOSE).try_for_each(|number| write_loose(config, size, number, 0))?;
    for first in (0..routes).step_by(FILE_SERVICES) {
        let these = first..(first + FILE_SERVICES).min(routes);
        let text: String = these.map(|number| route(number, &format!("s{}", number % services))).collect();
        fs::write(config.join(format!("routes-{first}.yaml")), text)?;
    }
    Ok(())
}

/// A route for `/NAME`.
fn live_route(name: &str, to: &str) -> String {
    route(0, to)
        .replace("{name: r0,", &format!("{{name: {name},"))
        .replace("value: /r0}", &format!("value: /{name}}}"))
}
