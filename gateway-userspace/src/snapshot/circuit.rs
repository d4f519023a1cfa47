//! Pure: a limit on what one Service has to do at a time, for all who call it from this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Most requests and relayed connections of a Service port at once. Only Services that ask for a limit have
/// one: its count is the one word of the request path that all workers write.
#[derive(Debug)]
pub struct CircuitLimit {
    requests_max: u32,
    in_flight: AtomicU32,
}

/// A request on its way. Drop it and another one may come.
#[derive(Debug)]
pub struct Permit(Arc<CircuitLimit>);

impl CircuitLimit {
    /// Nothing in flight.
    pub fn new(requests_max: u32) -> Self {
        Self { requests_max, in_flight: AtomicU32::new(0) }
    }

    /// The limit.
    pub fn requests_max(&self) -> u32 {
        self.requests_max
    }

    /// One more, unless there are as many as there may be.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.requests_max {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit(Arc::clone(self)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed_are_in_flight_and_the_next_one_when_one_has_ended() {
        let limit = Arc::new(CircuitLimit::new(2));
        let (one, _two) = (limit.enter().unwrap(), limit.enter().unwrap());
        assert!(limit.enter().is_none() && limit.enter().is_none());
        drop(one);
        let _three = limit.enter().unwrap();
        assert!(limit.enter().is_none());
    }
}
