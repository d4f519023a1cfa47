//! The Kubernetes around a ring: one that is made for it and removed after it, or the developer's own.

use std::time::Instant;

use crate::cluster::{self, Access, Installable};

/// What a ring stands in.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// None with a cluster of the developer's own: its variables are set already.
    made: Option<(&'static str, Access)>,
}

impl Surroundings {
    /// Starts what the ring needs; why it cannot be, if so.
    pub(super) fn start(api_only: bool, install: bool) -> anyhow::Result<Result<Self, String>> {
        if std::env::var_os("WEIR_KUBECONFIG").is_some_and(|file| !file.is_empty()) {
            return Ok(Ok(Self { made: None }));
        }
        if !install && !cluster::is_built()? {
            let why = "Kubernetes is not built yet: cargo xtask cluster up --install (about 12 minutes of CPU time)";
            return Ok(Err(why.to_owned()));
        }
        let name = if api_only { "weir-ring-api" } else { "weir-ring" };
        // Before there is a cluster: it would stand idle while the compiler runs.
        let weir = match (!api_only).then(|| Installable::build(false, install)).transpose() {
            Err(error) if !install => return Ok(Err(format!("{error:#}"))),
            weir => weir?,
        };
        let begun = Instant::now();
        let up = cluster::Up { nodes: 2, api_only, gateway_api: false, install };
        match cluster::start_for(name, &up) {
            Ok(access) => {
                println!("a Kubernetes for the tests, started in {:.1} s", begun.elapsed().as_secs_f64());
                Ok(Ok(Self { made: Some((name, access.with(weir))) }))
            }
            Err(error) if install => Err(error),
            Err(error) => Ok(Err(format!("{error:#}"))),
        }
    }

    pub(super) fn access(&self) -> Option<&Access> {
        self.made.as_ref().map(|(_, access)| access)
    }

    /// Removes what was made.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.made.map_or(Ok(()), |(name, _)| cluster::stop(name))
    }
}
