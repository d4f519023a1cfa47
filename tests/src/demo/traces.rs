//! Scene 5: where to look.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::show::Show;
use super::tell;
use crate::wait::wait_for;
use crate::weir::binary;

/// Metrics worth showing.
const METRICS: [&str; 4] =
    ["weir_requests_total", "weir_retries_total", "weir_connects_total", "weir_captured_pods"];

pub(super) fn play(show: &mut Show) -> Result<()> {
    tell::scene(5, "Where to look");
    show.curl(&["http://10.96.0.10/old/cart"])?;
    let line = wait_for("the call is in the access log", Duration::from_secs(5), || {
        let log = show.weir().ok()?.access_log();
        log.lines().rfind(|line| line.contains("/old/cart")).map(str::to_owned)
    })?;
    tell::command("tail -n 1 access.log");
    tell::seen(&line);
    tell::command("curl --unix-socket admin.sock http://weir/metrics");
    let (_, metrics) = show.weir()?.get("/metrics")?;
    for name in METRICS {
        let mut series = metrics.lines().filter(|line| line.starts_with(name));
        if let Some(line) = series.clone().find(|line| !line.ends_with(" 0")).or_else(|| series.next()) {
            tell::seen(line);
        }
    }
    let socket = show.weir()?.options().admin_socket.clone();
    tell::command("weir explain demo/client http://10.96.0.10/old/cart");
    let explain = Command::new(binary())
        .args(["explain", "demo/client", "http://10.96.0.10/old/cart", "--admin-socket"])
        .arg(socket)
        .output()?;
    tell::seen(String::from_utf8_lossy(&explain.stdout).trim_end());
    tell::seen(String::from_utf8_lossy(&explain.stderr).trim_end());
    show.promise(explain.status.success(), "explain answers");
    Ok(())
}
