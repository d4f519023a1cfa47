//! What the scenes play with: the stage, what is said about it, and the promises that were not kept.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use super::tell;
use crate::interrupt;
use crate::manifests;
use crate::pod::Pod;
use crate::stage::Stage;
use crate::weir::Weir;

const REPLICAS: [&str; 4] = ["shop-1", "shop-2", "shop-3", "shop-canary"];
/// Which replica is the canary.
pub(super) const CANARY: usize = 3;

/// Between two looks at whether the user has seen enough.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Show {
    pub(super) stage: Stage,
    /// Promises that were not kept.
    pub(super) broken: Vec<String>,
}

impl Show {
    /// Makes the stage with the YAML of a folder.
    pub(super) fn prepare(yaml: &Path) -> Result<Self> {
        let stage = Stage::make("demo", &REPLICAS)?;
        for file in fs::read_dir(yaml).with_context(|| format!("cannot read {}", yaml.display()))? {
            let file = file?;
            fs::copy(file.path(), stage.folder.join(file.file_name()))?;
        }
        let show = Self { stage, broken: Vec::new() };
        show.write_endpoints()?;
        let names = ["client", REPLICAS[0], REPLICAS[1]];
        let pods = names.iter().enumerate();
        let pods: String =
            pods.map(|(n, name)| manifests::captured_pod(name, &show.stage.pod(n).netns)).collect();
        show.stage.write("pods.yaml", &pods)?;
        Ok(show)
    }

    fn write_endpoints(&self) -> Result<()> {
        let shop: Vec<IpAddr> = (0..CANARY).map(|replica| self.stage.address(replica)).collect();
        let mut yaml = String::new();
        for service in ["shop", "greeter", "edited", "open", "closed"] {
            yaml += &manifests::slice(service, 8080, &shop);
        }
        yaml += &manifests::slice("shop-canary", 8080, &[self.stage.address(CANARY)]);
        yaml += &manifests::slice("flaky", 8080, &shop[..1]);
        // Nothing listens there.
        yaml += &manifests::slice("flaky", 9, &shop[1..2]);
        self.stage.write("endpoints.yaml", &yaml)?;
        self.stage.write("one.yaml", &manifests::slice("one", 8080, &shop[..1]))
    }

    pub(super) fn weir(&mut self) -> Result<&mut Weir> {
        interrupt::check()?;
        self.stage.weir()
    }

    /// Starts Weir and waits until a call that only a route can lead to the canary reaches it.
    pub(super) fn start_weir(&mut self) -> Result<()> {
        interrupt::check()?;
        self.stage.start_weir()?;
        self.stage.wait_answer(&["-H", "x-version: canary", "http://10.96.0.10/"], "shop-canary")
    }

    /// Runs curl in the client pod, after saying so.
    pub(super) fn curl(&self, arguments: &[&str]) -> Result<Output> {
        interrupt::check()?;
        tell::command(&format!("curl {}", arguments.join(" ")));
        self.stage.curl(arguments)
    }

    /// Runs one of our clients in the client pod to its end, after saying so.
    pub(super) fn run<T: DeserializeOwned>(&self, program: &str, arguments: &str) -> Result<T> {
        interrupt::check()?;
        tell::command(&format!("{program} {arguments}"));
        self.stage.run(program, arguments)
    }

    /// Notes a promise that was not kept.
    pub(super) fn promise(&mut self, kept: bool, what: &str) {
        if !kept {
            tell::seen(&format!("× not so: {what}"));
            self.broken.push(what.to_owned());
        }
    }

    /// Leaves everything running until the user has seen enough.
    pub(super) fn stay(&mut self) -> Result<()> {
        let Pod { cgroup, netns, .. } = self.stage.client();
        println!("\nEverything stays until you press Enter or Ctrl-C. A shell in the client pod:");
        println!(
            "   sh -c 'echo 0 > {}/cgroup.procs; exec nsenter --net={} bash'",
            cgroup.display(),
            netns.display()
        );
        println!("The YAML that Weir serves: {}", self.stage.folder.display());
        let socket = self.weir()?.options().admin_socket.clone();
        println!("Ask Weir: weir status --admin-socket {}", socket.display());
        let enter = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
        while !enter.is_finished() && !interrupt::came() {
            std::thread::park_timeout(LOOK_INTERVAL);
        }
        Ok(())
    }
}
