//! Ctrl-C ends the demo in good order: what it made is removed all the same.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are only noted. The programs that the demo started get a SIGINT of the
/// terminal themselves, so the scene that runs fails at once.
pub(super) fn watch() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
            eprintln!("\ninterrupted: removing what was made");
        }
    });
    Ok(())
}

/// Whether a signal came.
pub(super) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
