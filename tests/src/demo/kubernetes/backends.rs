//! Scene: replicas are replaced under load.

use anyhow::Result;

use super::{PATIENCE, Play, end};
use crate::demo::tell;
use crate::interrupt;

/// Rolling updates of pods that know nothing of draining.
pub(super) fn rollouts(play: &mut Play, count: u32) -> Result<()> {
    play.scene(&format!("{count} rolling updates of the backend, under load"));
    let through = play.loads("shop")?;
    let beside = play.loads("apart")?;
    for round in 1..=count {
        interrupt::check()?;
        let setting = format!("ROUND={round}");
        play.cluster.kubectl(&["--namespace", "shop", "set", "env", "deployment/cart", &setting])?;
        play.cluster.rolled_out("shop", "deployment/cart", PATIENCE)?;
    }
    let failed = end(through, "through Weir")?;
    let without = end(beside, "without Weir")?;
    tell::seen(&format!("failed through Weir: {failed} (bar 0); without it: {without}"));
    play.promise(failed == 0, &format!("no call fails in {count} rolling updates, and {failed} did"));
    Ok(())
}
