//! Scenes 2 and 3: a replica is killed, and the YAML edited, while requests run.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::show::{CANARY, Show};
use super::tell;
use crate::load::Tally;
use crate::manifests::{self, Service};
use crate::wait::wait_for;

const ROUTES: usize = 500;
const SERVICES: u8 = 200;
const ENDPOINTS_EACH: u8 = 10;
/// Longest wait for anything in these scenes.
const LONGEST: Duration = Duration::from_secs(20);

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Scene 2.
pub(super) fn replica_dies(show: &mut Show) -> Result<()> {
    tell::scene(2, "A replica is killed without notice while requests run");
    tell::command("weir-load --url http://10.96.0.20/ --connections 8 &   kill -9 shop-2");
    let before = show.weir()?.metric("weir_ejections_total", "")?;
    let load =
        show.stage.start("weir-load", "--url http://10.96.0.20/ --connections 8 --until-stdin-closes")?;
    wait_requests(show, 2000.0)?;
    // Before the signal: the replica's sockets close before its end is known here.
    let killed = unix_ms();
    show.stage.end_replica(1, Signal::SIGKILL)?;
    wait_for("the dead replica is taken out", LONGEST, || {
        let ejections = show.weir().ok()?.metric("weir_ejections_total", "").ok()?;
        (ejections > before).then_some(())
    })?;
    let out = unix_ms() - killed;
    wait_requests(show, 2000.0)?;
    show.stage.start_replica(1)?;
    let tally: Tally = load.finish()?;
    tell::seen(&format!("{} sent, {} failed; out of rotation after {out} ms", tally.sent, tally.failed));
    for (kind, count) in &tally.errors {
        tell::seen(&format!("{count} × {kind}"));
    }
    show.promise(tally.failed == 0, "no request fails when a replica dies");
    Ok(())
}

/// Waits until so many more requests have been answered.
fn wait_requests(show: &mut Show, more: f64) -> Result<()> {
    let name = "http_client_request_duration_seconds_count";
    let before = show.weir()?.metric(name, "")?;
    wait_for("requests run", LONGEST, || {
        let now = show.weir().ok()?.metric(name, "").ok()?;
        (now >= before + more).then_some(())
    })
}

/// Scene 3.
pub(super) fn route_changes(show: &mut Show) -> Result<()> {
    tell::scene(3, "The YAML is edited while requests run");
    let route = std::fs::read_to_string(show.stage.folder.join("edited.yaml"))?;
    let edited = route.replace("name: shop\n", "name: shop-canary\n");
    ensure!(edited != route, "edited.yaml has no backend `shop`");
    tell::command("sed -i 's/name: shop$/name: shop-canary/' edited.yaml");
    let live = time_to_canary(show, "http://10.96.0.14/", &[("edited.yaml", &edited)])?;
    tell::seen(&format!("the route was live after {live} ms"));
    show.stage.write("edited.yaml", &route)?;
    // The next measurement looks for the canary at the same Service.
    show.stage.wait_answer(&["http://10.96.0.14/"], "\"replica\":\"shop-1\"")?;

    let endpoints = usize::from(SERVICES) * usize::from(ENDPOINTS_EACH);
    tell::say(&format!("{ROUTES} routes, and {SERVICES} Services with {endpoints} endpoints, in one go:"));
    let (services, routes) = (many_services(), many_routes());
    let files = [("many-services.yaml", services.as_str()), ("many-routes.yaml", routes.as_str())];
    let url = format!("http://10.96.0.14/many/{}", ROUTES - 1);
    let live = time_to_canary(show, &url, &files)?;
    tell::seen(&format!("all live after {live} ms (must be below 1000)"));
    show.promise(live < 1000, "500 routes and 2,000 endpoints are live within a second");

    tell::say("With these in place, the endpoint of one Service is replaced:");
    let slice = manifests::slice("one", 8080, &[show.stage.address(CANARY)]);
    let live = time_to_canary(show, "http://10.96.0.15/", &[("one.yaml", &slice)])?;
    tell::seen(&format!("the new endpoint answered after {live} ms (must be below 50)"));
    show.promise(live < 50, "one changed endpoint is live within 50 ms");
    Ok(())
}

/// Milliseconds from the writing of `files` to the first answer of the canary, under a load that must
/// not fail.
fn time_to_canary(show: &mut Show, url: &str, files: &[(&str, &str)]) -> Result<u64> {
    let load = show.stage.start("weir-load", &format!("--url {url} --connections 4 --until-stdin-closes"))?;
    wait_requests(show, 500.0)?;
    let written = unix_ms();
    for (file, yaml) in files {
        show.stage.write(file, yaml)?;
    }
    wait_for("the canary answers", LONGEST, || {
        let log = show.weir().ok()?.access_log();
        let (canary, recent) =
            (show.stage.address(CANARY).to_string(), &log[log.len().saturating_sub(4096)..]);
        recent.contains(&canary).then_some(())
    })?;
    wait_requests(show, 500.0)?;
    let tally: Tally = load.finish()?;
    tell::seen(&format!("{} sent, {} failed", tally.sent, tally.failed));
    show.promise(tally.failed == 0, "no request fails while the YAML changes");
    let first = tally.first_seen.get("shop-canary").context("the change never became live")?;
    first.checked_sub(written).context("the canary answered before the change")
}

fn many_services() -> String {
    let mut yaml = String::new();
    for number in 0..SERVICES {
        let name = format!("many-{number}");
        let address = format!("10.96.8.{}", number + 1);
        yaml += &Service { name: &name, address: &address, protocol: "http", annotations: &[] }.yaml();
        let endpoints: Vec<IpAddr> =
            (0..ENDPOINTS_EACH).map(|n| IpAddr::from([10, 200, number, n + 1])).collect();
        yaml += &manifests::slice(&name, 8080, &endpoints);
    }
    yaml
}

fn many_routes() -> String {
    let mut yaml = String::new();
    for number in 0..ROUTES {
        let _ = write!(
            yaml,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: many-{number}\n  \
             namespace: demo\nspec:\n  parentRefs:\n    - group: \"\"\n      kind: Service\n      name: edited\n      \
             port: 80\n  rules:\n    - matches:\n        - path:\n            type: Exact\n            value: \
             /many/{number}\n      backendRefs:\n        - name: shop-canary\n          port: 80\n"
        );
    }
    yaml
}
