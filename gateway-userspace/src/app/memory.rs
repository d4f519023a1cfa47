//! Tells the workers how short memory is.

use std::sync::Arc;

use crate::limits::Limits;
use crate::memory::Budget;
use crate::proxy::shedding::MemoryUse;

/// From here on a burst could take the rest within one interval: it is looked ten times as often.
const NEAR_PERCENT: usize = 65;

/// Looks for as long as it is polled. Without a limit there is nothing to tell.
pub async fn watch(limits: Arc<Limits>, told: Arc<MemoryUse>) {
    let chosen = limits.memory_bytes_max;
    // On a node it may have to read many small files.
    let found = tokio::task::spawn_blocking(move || Budget::find(chosen)).await;
    let Ok(Some(budget)) = found else { return };
    tracing::info!(bytes = budget.bytes(), counted = %budget.counted().display(), "memory is limited");
    loop {
        // A look that fails says nothing about the memory.
        let percent = budget.used_percent();
        if let Some(percent) = percent {
            told.set(percent);
        }
        let is_near = percent.is_some_and(|percent| percent >= NEAR_PERCENT);
        tokio::time::sleep(limits.memory_check_interval / if is_near { 10 } else { 1 }).await;
    }
}
