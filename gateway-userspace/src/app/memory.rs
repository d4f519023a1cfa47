//! Tells the workers how short memory is.

use std::sync::Arc;

use crate::limits::Limits;
use crate::memory::Budget;
use crate::proxy::shedding::MemoryUse;

/// Looks for as long as it is polled. Without a limit there is nothing to tell.
pub async fn watch(limits: Arc<Limits>, told: Arc<MemoryUse>) {
    let Some(budget) = Budget::find(limits.memory_bytes_max) else { return };
    tracing::debug!(bytes = budget.bytes(), "memory is limited");
    let mut interval = tokio::time::interval(limits.memory_check_interval);
    loop {
        interval.tick().await;
        // A look that fails says nothing about the memory.
        if let Some(percent) = budget.used_percent() {
            told.set(percent);
        }
    }
}
