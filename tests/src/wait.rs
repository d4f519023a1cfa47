//! Waiting for a condition, never for time to pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// Between two looks. Short against what is measured with it.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until `found` gives something; an error that names `what` after `longest`, or at
/// once when the demo is interrupted.
pub fn wait_for<T>(what: &str, longest: Duration, mut found: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + longest;
    loop {
        if let Some(value) = found() {
            return Ok(value);
        }
        interrupt::check()?;
        if Instant::now() >= deadline {
            bail!("waited {longest:?} in vain: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}
