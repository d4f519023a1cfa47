//! Which way a call goes, or went.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::AdminState;
use super::query::Query;
use super::server::Answer;
use crate::explain::question::Question;
use crate::explain::seen::SeenConnect;
use crate::explain::{Explanation, RecentView, World, answer, happened};

/// `?id=...` for a call that was made; `?from=...&url=...[&method=...][&header=name:value]...` for one
/// that might be.
pub(super) fn explain(state: &dyn AdminState, query: &Query) -> Answer {
    let explanation = match query.get("id") {
        Some(id) => by_id(state, id),
        None => by_question(state, query),
    };
    match explanation {
        Ok(explanation) if query.wants_text() => Answer::text(StatusCode::OK, explanation.to_string()),
        Ok(explanation) => Answer::json(&explanation),
        Err((status, message)) => Answer::error(status, &message),
    }
}

type Refused = (StatusCode, String);

fn by_id(state: &dyn AdminState, id: &str) -> Result<Explanation, Refused> {
    let record = state.telemetry().with_recent(|recent| recent.find(id)).ok_or_else(|| {
        let message = format!(
            "no request {id:?} among the last ones; give an x-request-id or a trace id of a recent request"
        );
        (StatusCode::NOT_FOUND, message)
    })?;
    Ok(in_world(state, |world| happened(&record, world)))
}

fn by_question(state: &dyn AdminState, query: &Query) -> Result<Explanation, Refused> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let (Some(from), Some(url)) = (query.get("from"), query.get("url")) else {
        return Err(bad("explain wants `from` and `url`, or `id`".to_owned()));
    };
    let method = query.get("method").unwrap_or("GET");
    let question =
        Question::parse(from, url, method, &query.all("header")).map_err(|error| bad(error.to_string()))?;
    let mut explanation = in_world(state, |world| answer(&question, world));
    note_seen(state, &mut explanation);
    let directory = state.telemetry().directory();
    explanation.recent = state.telemetry().with_recent(|recent| {
        RecentView::like(&explanation, &question.caller, recent, directory, SystemTime::now())
    });
    Ok(explanation)
}

/// Adds what the kernel saw of such calls.
fn note_seen(state: &dyn AdminState, explanation: &mut Explanation) {
    let cookie =
        state.pods().into_iter().find(|row| row.pod == explanation.from).and_then(|row| row.netns_cookie);
    let Some(kernel) = &mut explanation.kernel else { return };
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from);
    if let (Some(cookie), Some(address), Ok(now)) = (cookie, kernel.address, now) {
        kernel.seen = SeenConnect::of(&state.decisions(), cookie, address, now);
    }
}

fn in_world<T>(state: &dyn AdminState, look: impl FnOnce(&World<'_>) -> T) -> T {
    let snapshot = state.snapshot();
    let not_captured = |pod: &str| not_captured(state, pod);
    look(&World {
        snapshot: &snapshot,
        directory: state.telemetry().directory(),
        endpoint_states: state.endpoint_states(),
        not_captured: &not_captured,
        panic_threshold_percent: state.panic_threshold_percent(),
    })
}

/// Why a pod's connects do not reach Weir.
fn not_captured(state: &dyn AdminState, pod: &str) -> Option<String> {
    if let Some(error) = state.datapath_error() {
        return Some(format!("not intercepted: the datapath is not loaded ({error})"));
    }
    match state.pods().into_iter().find(|row| row.pod == pod) {
        None => Some(format!("not intercepted: {pod} is no pod that this Weir captures")),
        Some(row) => {
            let message = row.message.or_else(|| row.reason.map(str::to_owned))?;
            Some(format!("not intercepted: {pod} is not captured ({message})"))
        }
    }
}
