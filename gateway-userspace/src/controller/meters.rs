//! What the controller counts, and its pages: health and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::seen::Source;
use super::write::WriteError;
use crate::admin::health;
use crate::admin::server::{Access, Answer, Pages};
use crate::readiness::Readiness;
use crate::telemetry::exposition::{Exposition, Format, Kind, LabelText};

/// Counters of one controller.
#[derive(Debug, Default)]
pub struct Meters {
    leads: AtomicBool,
    waiting: AtomicUsize,
    contended: AtomicU64,
    writes: Mutex<BTreeMap<(Source, &'static str), u64>>,
}

impl Meters {
    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// Objects that are to be looked at.
    pub(super) fn waiting(&self, objects: usize) {
        self.waiting.store(objects, Ordering::Relaxed);
    }

    /// A write was undone by another writer, again.
    pub(super) fn contended(&self) {
        self.contended.fetch_add(1, Ordering::Relaxed);
    }

    /// A write was made, or why not.
    pub(super) fn wrote(&self, source: Source, outcome: Result<(), &WriteError>) {
        let outcome = match outcome {
            Ok(()) => "written",
            Err(WriteError::Conflict) => "conflict",
            Err(WriteError::Gone) => "gone",
            Err(WriteError::NotLeading) => "not_leading",
            Err(WriteError::Silent) => "timeout",
            Err(WriteError::Denied(_)) => "refused",
            Err(WriteError::Failed(_)) => "failed",
        };
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes.entry((source, outcome)).or_default() += 1;
    }

    fn text(&self, format: Format) -> String {
        let mut text = Exposition::new(format);
        let plain = LabelText::default();
        text.family("weir_controller_leader", Kind::Gauge, "1 on the replica that writes.");
        text.sample(&plain, u8::from(self.leads.load(Ordering::Relaxed)));
        text.family("weir_controller_waiting", Kind::Gauge, "Objects that are to be looked at.");
        text.sample(&plain, self.waiting.load(Ordering::Relaxed));
        let help = "Writes that another writer had undone several times before.";
        text.family("weir_controller_contended_writes", Kind::Counter, help);
        text.sample(&plain, self.contended.load(Ordering::Relaxed));
        text.family(
            "weir_controller_writes",
            Kind::Counter,
            "Writes to the API server, by what became of them.",
        );
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        for ((source, outcome), count) in &*writes {
            let labels = LabelText::default().with("resource", source.plural()).with("outcome", outcome);
            text.sample(&labels, count);
        }
        text.finish()
    }
}

/// `/livez`, `/readyz` and `/metrics` of the controller.
#[derive(Debug)]
pub struct ControllerPages {
    /// What it still waits for.
    pub readiness: Readiness,
    /// What it counts.
    pub meters: std::sync::Arc<Meters>,
}

impl Pages for ControllerPages {
    fn page(&self, request: &Request<Incoming>, _: Access) -> Answer {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Answer::error(StatusCode::METHOD_NOT_ALLOWED, "these pages want GET");
        }
        match request.uri().path() {
            "/livez" => health::livez(),
            "/readyz" => health::readiness(&self.readiness.pending()),
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = Format::negotiate(accept);
                Answer {
                    status: StatusCode::OK,
                    content_type: format.content_type(),
                    body: self.text(format),
                    findings: false,
                }
            }
            _ => Answer::error(StatusCode::NOT_FOUND, "no such page; there are /livez /readyz /metrics"),
        }
    }
}

impl ControllerPages {
    fn text(&self, format: Format) -> String {
        self.meters.text(format)
    }
}
