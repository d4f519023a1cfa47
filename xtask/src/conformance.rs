//! `cargo xtask conformance`: the Gateway API's own tests, against Weir in a cluster of two nodes.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cluster::{Access, Installable, Up};
use crate::{cluster, command, workspace};

/// Run the conformance tests of the Gateway API.
///
/// Starts a Kubernetes of two nodes, installs Weir with its chart and runs the suite of the version whose CRDs the cluster
/// has, with the features that the GatewayClass says. What is missing is built first. Needs root.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this test, such as HTTPRouteSimpleSameNamespace.
    #[arg(long)]
    run: Option<String>,
    /// The profiles, as `GATEWAY-HTTP,GATEWAY-GRPC`.
    #[arg(long, default_value = "GATEWAY-HTTP")]
    profiles: String,
    /// The cluster's name.
    #[arg(long, default_value = "weir-conformance", value_parser = cluster::parse_name)]
    name: String,
    /// Where the report is written; `target/conformance.yaml` unless told otherwise.
    #[arg(long)]
    report: Option<PathBuf>,
    /// With an unoptimised Weir, which is built sooner.
    #[arg(long)]
    dev: bool,
    /// Leave out the suite's Gateway with HTTPS, which it waits for before its first test. Shows what else holds; what is
    /// reported then is no conformance.
    #[arg(long)]
    without_https: bool,
    /// Only build what it takes.
    #[arg(long)]
    build: bool,
    /// Leave the cluster up, for `cargo xtask cluster kubectl --name NAME`.
    #[arg(long)]
    keep: bool,
    /// Install what is missing (Debian packages as root, Go). CI=true does the same.
    #[arg(long)]
    install: bool,
}

/// False when a test has failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let install = options.install || workspace::is_ci();
    let (suite, images) = cluster::conformance(install)?;
    let weir = Installable::build(!options.dev, install)?;
    if options.build {
        println!("suite   {}", suite.display());
        return Ok(true);
    }
    let up = Up { nodes: 2, api_only: false, gateway_api: true, install };
    let access = cluster::start_for(&options.name, &up)?;
    let passed = install_weir(options, &access, &weir, images).and_then(|()| test(options, &access, &suite));
    if !options.keep {
        cluster::stop(&options.name)?;
    }
    passed
}

/// As a user would.
fn install_weir(
    options: &Options,
    access: &Access,
    weir: &Installable,
    mut images: Vec<PathBuf>,
) -> anyhow::Result<()> {
    let (image, helm) = weir.parts();
    images.push(image);
    cluster::load_images(&options.name, &images)?;
    let mut helm = access.command(&helm);
    helm.env("KUBECONFIG", kubeconfig(access)?).args(["upgrade", "--install", "weir"]);
    helm.arg(workspace::root().join("deploy/charts/weir"));
    helm.args(["--namespace=weir-system", "--create-namespace", "--wait", "--timeout=180s"]);
    // Nothing there gives addresses to load balancers, and the suite reaches those of Services.
    helm.args(["--set", "controller.gatewayServiceType=ClusterIP"]);
    command::say_and_run(&mut helm)
}

/// Runs the suite and shows its report.
fn test(options: &Options, access: &Access, suite: &Path) -> anyhow::Result<bool> {
    let report = options.report.clone().unwrap_or_else(|| workspace::target_dir().join("conformance.yaml"));
    let report = std::path::absolute(report).context("cannot name the report")?;
    // One of an earlier run says nothing of this one.
    match std::fs::remove_file(&report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", report.display()));
        }
        _ => {}
    }
    let mut program = access.command(suite);
    program.env("KUBECONFIG", kubeconfig(access)?);
    program.args([
        "-test.v",
        "-test.timeout=0",
        "-gateway-class=weir",
        "-organization=weir",
        "-project=weir",
    ]);
    program.args(["-url=https://weir.dev", "-contact=https://weir.dev"]);
    program.arg(concat!("-version=v", env!("CARGO_PKG_VERSION")));
    program.arg(format!("-conformance-profiles={}", options.profiles));
    program.arg(format!("-report-output={}", report.display()));
    if let Some(test) = &options.run {
        program.arg(format!("-run-test={test}"));
    }
    if options.without_https {
        program.arg("-without-https");
    }
    let status = program.status().context("cannot run the suite")?;
    match std::fs::read_to_string(&report) {
        Ok(text) => println!("\n{text}\nreport  {}", workspace::shown(&report)),
        Err(_) => println!("the suite ended before it wrote a report"),
    }
    Ok(status.success())
}

fn kubeconfig(access: &Access) -> anyhow::Result<&std::ffi::OsString> {
    access.kubeconfig().context("the cluster has no kubeconfig")
}
