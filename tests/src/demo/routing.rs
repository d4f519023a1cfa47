//! Scene 1: the same calls without and with Weir.

use std::process::Output;

use anyhow::{Context, Result};

use super::show::Show;
use super::tell;
use crate::grpc::Calls;
use crate::load::Tally;

pub(super) fn play(show: &mut Show) -> Result<()> {
    tell::scene(1, "A pod dials Services whose addresses no interface has");
    let without = show.curl(&["http://10.96.0.10/"])?;
    tell::seen(String::from_utf8_lossy(&without.stderr).trim());
    show.promise(!without.status.success(), "without Weir nothing answers at the Service address");
    tell::say("Weir starts; the pod is not touched.");
    show.start_weir()?;
    let resident = show.weir()?.resident_kib()?;
    tell::seen(&format!("it captures 3 pods and takes {:.1} MiB of memory", resident as f64 / 1024.0));
    show.promise(resident <= 20 * 1024, "idle, it takes at most 20 MiB");
    let with = show.curl(&["http://10.96.0.10/"])?;
    let answer = String::from_utf8_lossy(&with.stdout);
    tell::seen(answer.trim());
    show.promise(answer.contains("\"replica\":\"shop-"), "with Weir a replica answers");
    spread(show)?;
    rules(show)?;
    refused(show)?;
    grpc(show)
}

fn spread(show: &mut Show) -> Result<()> {
    tell::say("Requests spread over the replicas, and a tenth goes to the canary:");
    let tally: Tally = show.run("weir-load", "--url http://10.96.0.10/ --requests 1000")?;
    tell::seen(&format!("{} sent, {} failed: {}", tally.sent, tally.failed, tell::shares(&tally.replicas)));
    let canary = tally.replicas.get("shop-canary").copied().unwrap_or(0);
    show.promise(tally.failed == 0 && tally.replicas.len() == 4, "all four replicas answer");
    show.promise((50..=160).contains(&canary), "about 10 % go to the canary");
    Ok(())
}

fn rules(show: &mut Show) -> Result<()> {
    let field = |output: &Output, name: &str| -> Result<String> {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("no JSON")?;
        Ok(answer[name].as_str().unwrap_or_default().to_owned())
    };
    tell::say("A route by header:");
    let canary = show.curl(&["-H", "x-version: canary", "http://10.96.0.10/"])?;
    let replica = field(&canary, "replica")?;
    tell::seen(&format!("answered by {replica}"));
    show.promise(replica == "shop-canary", "the header leads to the canary");
    tell::say("A rewrite:");
    let moved = show.curl(&["http://10.96.0.10/old/items?page=2"])?;
    let path = field(&moved, "path")?;
    tell::seen(&format!("the replica saw {path}"));
    show.promise(path == "/new/items?page=2", "/old becomes /new");
    Ok(())
}

fn refused(show: &mut Show) -> Result<()> {
    tell::say("One of two endpoints refuses connections; what it refuses is tried at the other:");
    let tally: Tally = show.run("weir-load", "--url http://10.96.0.12/ --requests 200 --no-keepalive")?;
    let retries = show.weir()?.metric("weir_retries_total", "")?;
    tell::seen(&format!("{} sent, {} failed, {retries} retried", tally.sent, tally.failed));
    show.promise(tally.failed == 0, "a refused connection is tried elsewhere");
    show.promise(retries > 0.0, "retries are counted");
    Ok(())
}

fn grpc(show: &mut Show) -> Result<()> {
    tell::say("gRPC calls over one connection go to every replica:");
    let calls: Calls = show.run("weir-grpc", "--address 10.96.0.13:80 --calls 60")?;
    tell::seen(&format!("{} calls, {} ok: {}", calls.calls, calls.ok, tell::shares(&calls.replicas)));
    show.promise(calls.ok == 60 && calls.replicas.len() == 3, "gRPC calls spread over three replicas");
    let stream: Calls = show.run("weir-grpc", "--address 10.96.0.13:80 --calls 20 --stream")?;
    tell::seen(&format!("{} messages on one stream, {} answered", stream.calls, stream.ok));
    show.promise(stream.ok == 20, "a stream stays whole");
    Ok(())
}
