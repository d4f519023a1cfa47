//! The demo: what Weir does for pods that know nothing of it, shown with real connections on one machine.

mod death;
mod edits;
mod obstacles;
mod routing;
mod stage;
mod tell;
mod traces;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

pub use obstacles::obstacles;
use stage::Stage;

/// Runs all scenes with the YAML of `folder`. Fails when a figure that must be 0 is not.
pub fn run(folder: &Path, keep: bool) -> Result<()> {
    let begin = Instant::now();
    let mut stage = Stage::make(folder)?;
    if let Err(error) = play(&mut stage) {
        stage.show_weir();
        return Err(error);
    }
    println!("\nAll scenes in {:.1} s.", begin.elapsed().as_secs_f64());
    ensure!(stage.broken.is_empty(), "not as promised: {}", stage.broken.join("; "));
    if keep {
        stage.stay()?;
    }
    Ok(())
}

fn play(stage: &mut Stage) -> Result<()> {
    routing::play(stage)?;
    edits::replica_dies(stage)?;
    edits::route_changes(stage)?;
    death::play(stage)?;
    traces::play(stage)
}
