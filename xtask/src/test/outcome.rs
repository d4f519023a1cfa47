//! Pure: what came of a ring, counted from what the test programs say.

use std::fmt;
use std::time::Duration;

/// Tests that were run and not, and how long that took.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) took: Duration,
    /// Why tests were skipped, each reason once.
    pub(super) reasons: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Outcome {
    /// One check: passed or failed. The check has said itself what is wrong.
    pub(super) fn of(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self { passed: 1, ..Self::default() },
            Err(error) => {
                println!("{error:#}");
                Self { failed: 1, ..Self::default() }
            }
        }
    }

    pub(super) fn skipped(skipped: usize, why: &str) -> Self {
        let reasons = if skipped == 0 { Vec::new() } else { vec![why.to_owned()] };
        Self { skipped, reasons, ..Self::default() }
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.add(&other);
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.took += other.took;
        for reason in &other.reasons {
            if !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
    }

    /// One line for a ring.
    pub(super) fn line(&self, ring: &str) -> String {
        format!("{ring:<9} {:>7.1} s   {self}", self.took.as_secs_f64())
    }
}

/// What a test prints, and then why, when it finds that it cannot run here.
const SKIPPED: &str = "SKIPPED: ";

/// Reads the output of one test program.
///
/// Counts come from its `test result:` line. A test that prints `SKIPPED: ` and why counts as skipped and not as
/// passed. A program that never came to its result line, because it crashed or hung, is one failure.
pub(super) fn read(output: &str, succeeded: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for why in output.lines().filter_map(|line| line.strip_prefix(SKIPPED)) {
        outcome.add(&Outcome::skipped(1, why));
    }
    let result = output.lines().find_map(|line| line.strip_prefix("test result:"));
    if let Some(result) = result {
        outcome.passed = count(result, "passed").saturating_sub(outcome.skipped);
        outcome.failed = count(result, "failed");
        outcome.skipped += count(result, "ignored");
    }
    if outcome.failed == 0 && (result.is_none() || !succeeded) {
        outcome.failed = 1;
    }
    outcome
}

/// `12` from ` ok. 12 passed; 0 failed;` for `passed`.
fn count(result: &str, what: &str) -> usize {
    let words: Vec<&str> = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// The part of a test program's output that a reader wants first.
pub(super) fn failures(output: &str) -> &str {
    const TAIL_BYTES_MAX: usize = 16 * 1024;
    let part = output.split_once("\nfailures:\n").map_or(output, |(_, rest)| rest);
    let mut from = part.len().saturating_sub(TAIL_BYTES_MAX);
    while !part.is_char_boundary(from) {
        from += 1;
    }
    &part[from..]
}

#[cfg(test)]
mod tests {
    use super::{Outcome, failures, read};

    #[test]
    fn the_counts_of_a_result_line_are_read() {
        let output = "running 3 tests\n\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n";
        assert_eq!(read(output, true).to_string(), "12 passed, 0 failed, 1 skipped");
        let output = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(read(output, false).to_string(), "1 passed, 2 failed, 0 skipped");
    }

    #[test]
    fn a_test_that_says_that_it_cannot_run_is_not_counted_as_passed() {
        let output =
            "SKIPPED: no cgroup2\nSKIPPED: no cgroup2\ntest result: ok. 5 passed; 0 failed; 0 ignored\n";
        let outcome = read(output, true);
        assert_eq!(outcome.to_string(), "3 passed, 0 failed, 2 skipped");
        assert_eq!(outcome.reasons, ["no cgroup2"]);
    }

    #[test]
    fn a_program_that_crashes_is_a_failure() {
        assert_eq!(read("running 3 tests\n", false).failed, 1);
        assert_eq!(read("running 3 tests\n", true).failed, 1);
        assert_eq!(read("test result: ok. 3 passed; 0 failed; 0 ignored\n", false).failed, 1);
    }

    #[test]
    fn rings_add_up_and_a_reason_is_said_once() {
        let mut total = Outcome::skipped(2, "not root");
        total.add(&Outcome::skipped(3, "not root").and(Outcome::of(Ok(()))));
        assert_eq!(total.to_string(), "1 passed, 0 failed, 5 skipped");
        assert_eq!(total.reasons, ["not root"]);
    }

    #[test]
    fn what_failed_is_shown_from_its_summary_on() {
        assert_eq!(
            failures("test a ... FAILED\n\nfailures:\n\n---- a stdout ----\n"),
            "\n---- a stdout ----\n"
        );
        assert_eq!(failures("crashed"), "crashed");
    }
}
