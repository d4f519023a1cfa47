//! What the API server refused, as the rule that would allow it.

use std::fmt;

/// What is asked of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// All, and what changes.
    ListWatch,
    /// A new one.
    Create,
    /// Some fields.
    Patch,
    /// All fields.
    Update,
    /// The end of one.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::ListWatch => "list, watch",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Delete => "delete",
        })
    }
}

/// The error in words; of one that is for want of a right, with the rule that lacks.
pub fn explain(verb: Verb, group: &str, resource: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 && status.reason == "Forbidden" => {
            format!(
                "{}; a rule lacks: {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}",
                status.message
            )
        }
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => with_causes(error),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
