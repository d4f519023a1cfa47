//! The soak: load of every kind for a long time, while replicas restart, YAML is edited and Weir replaces itself.

mod chaos;
mod traffic;
mod usage;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::interrupt;
use crate::stage::Stage;
use chaos::Chaos;
use traffic::{Sums, Traffic};
use usage::Usage;

/// Replicas: the first two are restarted, the third has the streams, which nothing could save from its end.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// What runs before the first look at what Weir uses, so that what is made once is made.
const WARM_UP: Duration = Duration::from_secs(5);

/// Share of the time at whose end Weir is no longer replaced: one process has to show that it does not grow.
const REPLACED_FOR: f64 = 0.6;

/// Runs for about `time`. Fails when something was lost that need not have been, or when something leaks.
pub fn run(time: Duration) -> Result<()> {
    interrupt::watch()?;
    let mut stage = Stage::make("soak", &NAMES)?;
    let done = play(&mut stage, time);
    if done.is_err() {
        stage.show_weir();
    }
    done
}

fn play(stage: &mut Stage, time: Duration) -> Result<()> {
    chaos::write_services(stage)?;
    stage.start_weir_with(&chaos::ARGUMENTS)?;
    for url in [chaos::WEB, chaos::CALM] {
        stage.wait_answer(&[url], "\"replica\"")?;
    }
    println!("warming up");
    let traffic = Traffic::start(stage)?;
    rest(WARM_UP)?;
    let mut sums = Sums::default();
    sums.add(traffic.finish()?);
    let before = Usage::at_rest(stage)?;

    let begin = Instant::now();
    let traffic = Traffic::start(stage)?;
    let mut chaos = Chaos::default();
    let mut told = begin;
    while begin.elapsed() < time {
        interrupt::check()?;
        let replaces = begin.elapsed() < time.mul_f64(REPLACED_FOR);
        chaos.step(stage, replaces)?;
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("{:>5.0} s  {chaos}", begin.elapsed().as_secs_f64());
        }
    }
    sums.add(traffic.finish()?);
    chaos.finish()?;
    let after = Usage::at_rest(stage)?;

    println!("\n{:.0} s: {chaos}\n\n{sums}\n{}", begin.elapsed().as_secs_f64(), after.beside(&before));
    let lost = sums.lost(chaos.killed());
    ensure!(lost == 0, "{lost} failures that need not have been");
    let leaks = after.leaks(&before);
    ensure!(leaks.is_empty(), "not back to the start: {}", leaks.join(", "));
    println!(
        "nothing was lost that could have been kept ({} POSTs were with a replica that was killed), nothing is left over",
        sums.taken()
    );
    Ok(())
}

/// Lets the traffic run for a while; ends early when interrupted.
fn rest(time: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
