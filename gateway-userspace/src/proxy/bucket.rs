//! Pure: tokens that are paid with, and come back with time.

use std::time::Duration;

/// So many tokens at most, and so many back per second.
#[derive(Debug)]
pub struct Bucket {
    tokens: u32,
    burst: u32,
    per_second: u32,
    /// When tokens last came back, since the bucket's time began.
    filled: Duration,
}

impl Bucket {
    /// A full one, when its time begins.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { tokens: burst, burst, per_second, filled: Duration::ZERO }
    }

    /// It is `now`.
    pub fn fill(&mut self, now: Duration) {
        let interval = Duration::from_secs(1) / self.per_second.max(1);
        let elapsed = now.saturating_sub(self.filled);
        let back = u32::try_from(elapsed.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX);
        if back > 0 {
            self.filled = now;
            self.give(back);
        }
    }

    /// More tokens, as far as there is room.
    pub fn give(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.burst);
    }

    /// One less. False when there is none left.
    #[must_use]
    pub fn take(&mut self) -> bool {
        let had = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        had
    }

    /// Tokens that are left.
    pub const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Nothing was paid, or all of it has come back.
    pub const fn is_full(&self) -> bool {
        self.tokens == self.burst
    }
}
