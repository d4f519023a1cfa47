//! Whether this process is alive, and whether it may be sent traffic.

use http::StatusCode;

use super::AdminState;
use super::server::Answer;

/// Alive is who answers.
pub(crate) fn livez() -> Answer {
    Answer::text(StatusCode::OK, "ok\n".to_owned())
}

/// 503 names what is missing, one a line.
pub(super) fn readyz(state: &dyn AdminState) -> Answer {
    readiness(&state.pending())
}

/// The same for a process that says itself what it waits for.
pub(crate) fn readiness(pending: &[&'static str]) -> Answer {
    if pending.is_empty() {
        return Answer::text(StatusCode::OK, "ok\n".to_owned());
    }
    let missing = pending.iter().map(|what| format!("waiting for {what}\n")).collect();
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, missing)
}
