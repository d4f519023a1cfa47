//! Scene: a node's Weir is killed.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{PATIENCE, Play, end};
use crate::demo::tell;
use crate::wait::wait_for;

/// By when a killed Weir routes again.
const BACK_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn killed(play: &mut Play) -> Result<()> {
    play.scene("A node's Weir is killed (SIGKILL), under load");
    let loads = play.loads("shop")?;
    let node = play.nodes[1].clone();
    play.cluster.on_node(&node, &["pkill", "-KILL", "-f", "^/usr/bin/weir node"])?;
    let begun = Instant::now();
    // The hooks see no heartbeat any more and let calls pass; then the next process's own.
    wait_for("calls are routed again", PATIENCE, || {
        play.call("shop", &node, &[]).ok().filter(super::Answer::is_routed)
    })?;
    let back = begun.elapsed();
    play.cluster.rolled_out(crate::cluster::NAMESPACE, "daemonset/weir", PATIENCE)?;
    let why = loads[1].counts()?.why;
    let of = |error: &str| -> u64 { why.iter().filter(|(why, _)| why.contains(error)).map(|(_, n)| n).sum() };
    // Who comes back must not know of pods that are gone, however old what it reads from the disk is.
    let (refused, lost) = (of("refused"), of("no route to host"));
    end(loads, "while it was away")?;
    tell::seen(&format!(
        "connects refused: {refused} (bar 0), sent to pods that are gone: {lost} (bar 0); routed again after {:.1} s (bar {} s)",
        back.as_secs_f64(),
        BACK_WITHIN.as_secs()
    ));
    play.promise(refused == 0, &format!("no connect is refused, and {refused} were"));
    play.promise(lost == 0, &format!("no connect goes to a pod that is gone, and {lost} did"));
    play.promise(back < BACK_WITHIN, &format!("routed again within 2 s, not {:.1}", back.as_secs_f64()));
    Ok(())
}
