//! What happens to Weir and to what it serves while traffic runs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::manifests::{Service, slice};
use crate::stage::Stage;
use crate::wait::wait_for;
use crate::weir::Weir;

/// Requests go there: its replicas are restarted.
pub(super) const WEB: &str = "http://10.96.0.10/";
/// Streams go there.
pub(super) const CALM: &str = "http://10.96.0.11/";
pub(super) const CALM_ADDRESS: SocketAddr = address(11);
pub(super) const RAW_ADDRESS: SocketAddr = address(12);

/// Longer than a stream lives: none is cut for the time it takes.
pub(super) const ARGUMENTS: [&str; 6] =
    ["--drain-timeout", "60s", "--access-log-failures-only", "--workers", "2", "--log-json"];

/// Longest wait for what takes milliseconds, on a busy machine.
const LONGEST: Duration = Duration::from_secs(30);

/// Between two things that happen.
const PACE: Duration = Duration::from_millis(700);

const fn address(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, last)), 80)
}

/// The Services of the soak, and where they are.
pub(super) fn write_services(stage: &Stage) -> Result<()> {
    let l7 = ["weir.dev/mode: l7"];
    let all = [("web", "10.96.0.10", "http"), ("calm", "10.96.0.11", "http"), ("raw", "10.96.0.12", "tcp")];
    let yaml =
        all.map(|(name, address, protocol)| Service { name, address, protocol, annotations: &l7 }.yaml());
    stage.write("services.yaml", &yaml.concat())?;
    stage.write("calm.yaml", &slice("calm", 8080, &[stage.address(2)]))?;
    stage.write("raw.yaml", &slice("raw", 8081, &[stage.address(2)]))?;
    write_endpoints(stage, &[0, 1])?;
    write_route(stage, 0)
}

fn write_endpoints(stage: &Stage, replicas: &[usize]) -> Result<()> {
    let addresses: Vec<IpAddr> = replicas.iter().map(|replica| stage.address(*replica)).collect();
    stage.write("web.yaml", &slice("web", 8080, &addresses))
}

/// A route with the number of its edit in it.
fn write_route(stage: &Stage, edit: u32) -> Result<()> {
    let yaml = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: web\n  namespace: demo\nspec:\n  \
         parentRefs:\n    - {{group: \"\", kind: Service, name: web, port: 80}}\n  rules:\n    - filters:\n        - type: \
         ResponseHeaderModifier\n          responseHeaderModifier:\n            set:\n              - {{name: x-edit, \
         value: \"edit-{edit}\"}}\n      backendRefs:\n        - {{name: web, port: 80}}\n"
    );
    stage.write("route.yaml", &yaml)
}

/// What has happened so far, and what is still about of it.
#[derive(Debug, Default)]
pub(super) struct Chaos {
    steps: u32,
    announced: u32,
    unannounced: u32,
    edits: u32,
    takeovers: u32,
    /// Processes that were replaced, and drain.
    old: Vec<Weir>,
}

impl Chaos {
    /// The next thing.
    pub(super) fn step(&mut self, stage: &mut Stage, replaces: bool) -> Result<()> {
        sleep(PACE);
        self.steps += 1;
        match self.steps % 6 {
            1 => self.restart_announced(stage),
            3 => self.restart_unannounced(stage),
            5 if replaces => self.take_over(stage),
            _ => self.edit(stage),
        }
    }

    /// As Kubernetes does it: out of the slice, SIGTERM, started again, into the slice.
    fn restart_announced(&mut self, stage: &mut Stage) -> Result<()> {
        let leaving = usize::from(self.announced.is_multiple_of(2));
        self.announced += 1;
        write_endpoints(stage, &[1 - leaving])?;
        let gone = format!("{}:", stage.address(leaving));
        wait_for("the endpoint is out", LONGEST, || {
            let (_, clusters) = stage.weir().ok()?.get("/clusters").ok()?;
            (!clusters.contains(&gone)).then_some(())
        })?;
        stage.end_replica(leaving, Signal::SIGTERM)?;
        stage.start_replica(leaving)?;
        write_endpoints(stage, &[0, 1])
    }

    /// The slice hears of it too late, or never.
    fn restart_unannounced(&mut self, stage: &mut Stage) -> Result<()> {
        let leaving = usize::from(self.unannounced.is_multiple_of(2));
        self.unannounced += 1;
        stage.end_replica(leaving, Signal::SIGTERM)?;
        stage.start_replica(leaving)
    }

    /// Replicas that were killed without a word.
    pub(super) fn killed(&self) -> u32 {
        self.unannounced
    }

    fn edit(&mut self, stage: &Stage) -> Result<()> {
        self.edits += 1;
        write_route(stage, self.edits)?;
        stage.wait_answer(&["--include", WEB], &format!("edit-{}\r", self.edits))
    }

    fn take_over(&mut self, stage: &mut Stage) -> Result<()> {
        self.takeovers += 1;
        let name = format!("weir-{}", self.takeovers);
        self.old.push(stage.replace_weir(&name, &ARGUMENTS)?);
        // Those that have ended are forgotten.
        let mut draining = Vec::new();
        for mut old in self.old.drain(..) {
            match old.ended()? {
                Some(status) => {
                    ensure!(status.success(), "a replaced process ended with {status}:\n{}", old.errors())
                }
                None => draining.push(old),
            }
        }
        self.old = draining;
        Ok(())
    }

    /// Waits until every process that was replaced has ended by itself.
    pub(super) fn finish(&mut self) -> Result<()> {
        for mut old in self.old.drain(..) {
            let status = old.wait(LONGEST)?;
            ensure!(status.success(), "a replaced process ended with {status}:\n{}", old.errors());
        }
        Ok(())
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { announced, unannounced, edits, takeovers, .. } = self;
        write!(
            f,
            "{announced} + {unannounced} replica restarts (announced and not), {edits} edits, {takeovers} takeovers"
        )
    }
}
