//! What is counted and recorded. Per CPU, so that no two connects write one cache line.

use gateway_common::counter::Counter;
use gateway_common::decision::Decision;

use crate::context;
use crate::maps::{BUDGET, COUNTERS, DECISIONS};

/// Adds one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(cell) = COUNTERS.get_ptr_mut(counter.raw()) {
        context::add_one(cell);
    }
}

/// Leaves a decision for `explain`, unless this CPU has recorded enough in this moment. Nobody is woken:
/// the reader looks when it wants to, and a full ring drops.
#[inline(always)]
pub fn record(decision: &Decision) {
    let Some(budget) = BUDGET.get_ptr_mut(0) else { return };
    if context::take_budget(budget, decision.time_ns)
        && let Some(mut entry) = DECISIONS.reserve_untyped::<Decision>(0)
    {
        entry.write(*decision);
        entry.submit(context::NO_WAKEUP);
    }
}
