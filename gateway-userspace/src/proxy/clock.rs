//! Milliseconds since the process began: one scale for all workers.

use std::sync::OnceLock;

use tokio::time::Instant;

use super::upstream::outlier_detection::Millis;

static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Now.
pub fn millis() -> Millis {
    let begin = *BEGIN.get_or_init(Instant::now);
    Millis(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX))
}
