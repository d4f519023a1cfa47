//! Scene 4: Weir itself is killed while new connections keep coming.

use std::time::Instant;

use anyhow::Result;

use super::show::Show;
use super::tell;
use crate::load::{Connects, Tally};

pub(super) fn play(show: &mut Show) -> Result<()> {
    tell::scene(4, "Weir is killed while new connections keep coming");
    tell::command("weir-load --url http://10.96.0.20/ --connect-only --rate 5000 &   kill -9 weir");
    let connects = show
        .stage
        .start("weir-load", "--url http://10.96.0.20/ --connect-only --rate 5000 --until-stdin-closes")?;
    let load = "--url http://10.96.0.20/ --connections 2 --no-keepalive --until-stdin-closes";
    let requests = show.stage.start("weir-load", load)?;
    let _: Tally = show.run("weir-load", "--url http://10.96.0.20/ --requests 500 --no-keepalive")?;
    show.weir()?.kill()?;
    tell::say("Weir is gone. The Service `open` goes on, the kernel picks an endpoint:");
    let open: Tally = show.run("weir-load", "--url http://10.96.0.20/ --requests 500 --no-keepalive")?;
    tell::seen(&format!("{} sent, {} failed: {}", open.sent, open.failed, tell::shares(&open.replicas)));
    show.promise(open.failed == 0 && open.replicas.len() == 3, "`open` goes on without Weir");
    tell::say("The Service `closed` refuses at once:");
    let begin = Instant::now();
    let closed = show.curl(&["http://10.96.0.21/"])?;
    let took = begin.elapsed().as_millis();
    tell::seen(&format!(
        "{} ({took} ms, curl's start included)",
        String::from_utf8_lossy(&closed.stderr).trim()
    ));
    show.promise(closed.status.code() == Some(7), "`closed` refuses connections");
    tell::say("Weir starts again:");
    show.start_weir()?;
    tell::seen("calls are routed again");
    let connects: Connects = connects.finish()?;
    let requests: Tally = requests.finish()?;
    tell::seen(&format!(
        "all the while: {} connects, {} refused: steered just before the kill, {} failed otherwise",
        connects.connects, connects.refused, connects.failed
    ));
    let lost = requests.failed;
    tell::seen(&format!("{} requests, {lost} lost: in flight in the process that was killed", requests.sent));
    // The loop connects one after the other: at most one connect is under way at the kill.
    show.promise(
        connects.refused <= 1 && connects.failed == 0,
        "no connect to `open` is refused but one under way",
    );
    // Two connections carry at most one request each at the moment of the kill.
    show.promise(lost <= 2, "only requests in flight are lost");
    Ok(())
}
