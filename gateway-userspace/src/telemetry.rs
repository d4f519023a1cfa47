//! What leaves a request behind: one record, from which the log line, the metrics and `explain` are made.
//!
//! A worker owns a `WorkerTelemetry`; it writes counters that only it writes and pushes the record
//! into a bounded ring. Formatting and summing happen on the control runtime.

pub mod record;
