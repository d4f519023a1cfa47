//! Pure: what a connect hook decided, for `explain`.

use core::mem::size_of;

use crate::addr::{Address, Port, Socket};
use crate::layout::abi;

/// One decision about one connect. Connects that have nothing to do with a Service are not recorded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time_ns: u64,
    /// The socket's network namespace.
    pub netns_cookie: u64,
    /// The cgroup of the process that connected.
    pub cgroup: u64,
    /// What the application dialled.
    pub original: Socket,
    /// Where it was sent; the same where it was left alone.
    pub actual: Socket,
    /// `ServiceValue::id`.
    pub service: u32,
    /// `PodValue::pod`.
    pub pod: u32,
    /// Process (thread group) that connected, in the first pid namespace.
    pub process: u32,
    /// A `Counter` of the first group.
    pub outcome: u32,
    /// A `Counter` that says what was wrong with the proxy, or `u32::MAX`.
    pub cause: u32,
    /// Zero.
    pub reserved: u32,
}
abi!(Decision, 88);

impl Decision {
    /// From a record of the ring, as the programs wrote it.
    pub fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Self {
        let mut words =
            bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        let mut word = || words.next().unwrap_or(0);
        let mut long = || {
            let halves = [word(), word()].map(u32::to_ne_bytes);
            let [[a, b, c, d], [e, f, g, h]] = halves;
            u64::from_ne_bytes([a, b, c, d, e, f, g, h])
        };
        let (time_ns, netns_cookie, cgroup) = (long(), long(), long());
        let mut socket = || {
            let address = Address([word(), word(), word(), word()]);
            let [a, b, c, d] = word().to_ne_bytes();
            Socket { address, port: Port([a, b]), reserved: [c, d] }
        };
        let (original, actual) = (socket(), socket());
        Self {
            time_ns,
            netns_cookie,
            cgroup,
            original,
            actual,
            service: word(),
            pod: word(),
            process: word(),
            outcome: word(),
            cause: word(),
            reserved: word(),
        }
    }
}

/// How many decisions one CPU records in one window of [`WINDOW_SHIFT`]; the rest is only counted.
pub const RECORDS_PER_WINDOW: u64 = 64;
/// A window lasts `1 << WINDOW_SHIFT` nanoseconds: 134 ms.
pub const WINDOW_SHIFT: u32 = 27;

/// Per-CPU account of what was recorded lately.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Number of the window.
    pub window: u64,
    /// Records in it.
    pub used: u64,
}
abi!(Budget, 16);

impl Budget {
    /// True when one more may be recorded at `now_ns`, and then it is accounted for.
    #[inline(always)]
    pub fn take(&mut self, now_ns: u64) -> bool {
        let window = now_ns >> WINDOW_SHIFT;
        if self.window != window {
            *self = Self { window, used: 0 };
        }
        self.used += 1;
        self.used <= RECORDS_PER_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, RECORDS_PER_WINDOW, WINDOW_SHIFT};

    #[test]
    fn a_flood_of_connects_records_no_more_than_the_budget_and_the_next_window_records_again() {
        let mut budget = Budget::default();
        let recorded = (0..100_000).filter(|_| budget.take(5 << WINDOW_SHIFT)).count();
        assert_eq!(recorded as u64, RECORDS_PER_WINDOW);
        assert!(budget.take(6 << WINDOW_SHIFT));
    }
}
