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

/// Ends when standard input does: the way to tell a client in a pod that it is enough.
pub async fn stdin_closed() {
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        while matches!(std::io::Read::read(&mut std::io::stdin(), &mut sink), Ok(1..)) {}
        closed.send(())
    });
    // The sender is only dropped after sending.
    let _ = wait.await;
}
