//! Pure: conditions and findings, made alike everywhere.

use crate::control::config::meta::{ObjectKey, ObjectMeta, Origin};
use crate::control::config::resources::{Entry, Kind, ObjectId};
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::report::Condition;

/// The object that findings and conditions are about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) id: ObjectId,
    pub(super) origin: Origin,
    pub(super) generation: i64,
}

impl Subject {
    pub(super) fn new<T>(kind: Kind, key: &ObjectKey, entry: &Entry<T>, meta: &ObjectMeta) -> Self {
        Self {
            id: ObjectId { kind, key: key.clone() },
            origin: entry.origin.clone(),
            generation: meta.generation,
        }
    }

    /// A finding about it.
    pub(super) fn finding(&self, severity: Severity, code: Code) -> Diagnostic {
        Diagnostic::on(severity, code, &self.id, &self.origin)
    }

    pub(super) fn error(&self, code: Code) -> Diagnostic {
        self.finding(Severity::Error, code)
    }

    pub(super) fn warning(&self, code: Code) -> Diagnostic {
        self.finding(Severity::Warning, code)
    }

    /// A condition that holds.
    pub(super) fn yes(&self, kind: &'static str, reason: &'static str) -> Condition {
        self.condition(kind, true, reason, "")
    }

    /// A condition of it.
    pub(super) fn condition(
        &self,
        kind: &'static str,
        status: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Condition {
        Condition { kind, status, reason, message: message.into(), observed_generation: self.generation }
    }
}

/// Something of a route or Gateway that cannot be had, and where it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// Reason of the API.
    pub(super) reason: &'static str,
    /// Path from the object.
    pub(super) field: String,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn new(
        reason: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { reason, field: field.into(), message: message.into(), fix: fix.into() }
    }

    /// The same as a finding.
    pub(super) fn finding(&self, subject: &Subject, code: Code) -> Diagnostic {
        subject.error(code).field(&*self.field).message(&*self.message).fix(&*self.fix)
    }
}

/// Messages of conditions name each problem, as many as a reader takes in.
pub(super) fn summary(problems: &[Problem]) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for problem in problems.iter().take(SHOWN) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&problem.field);
        text.push_str(": ");
        text.push_str(&problem.message);
    }
    if problems.len() > SHOWN {
        text.push_str(&format!("; and {} more", problems.len() - SHOWN));
    }
    text
}
