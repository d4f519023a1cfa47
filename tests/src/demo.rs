//! The demo: what Weir does for pods that know nothing of it, shown with real connections on one machine.

mod death;
mod edits;
pub mod kubernetes;
mod obstacles;
mod routing;
mod show;
mod tell;
mod traces;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

pub use obstacles::obstacles;
use show::Show;

use crate::interrupt;

/// Runs all scenes with the YAML of `folder`. Fails when a figure that must be 0 is not.
pub fn run(folder: &Path, keep: bool) -> Result<()> {
    let begin = Instant::now();
    interrupt::watch()?;
    let mut show = Show::prepare(folder)?;
    if let Err(error) = play(&mut show) {
        ensure!(!interrupt::came(), "the demo did not come to its end");
        show.stage.show_weir();
        return Err(error);
    }
    println!("\nAll scenes in {:.1} s.", begin.elapsed().as_secs_f64());
    ensure!(show.broken.is_empty(), "not as promised: {}", show.broken.join("; "));
    if keep {
        show.stay()?;
    }
    Ok(())
}

fn play(show: &mut Show) -> Result<()> {
    routing::play(show)?;
    edits::replica_dies(show)?;
    edits::route_changes(show)?;
    death::play(show)?;
    traces::play(show)
}
