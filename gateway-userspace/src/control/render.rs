//! Pure: findings and statuses as text and JSON.

use std::fmt::Write;

use super::diagnostic::{Diagnostic, Severity};
use super::report::{Condition, StatusReport};

/// How texts are decorated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours, for a terminal without NO_COLOR.
    pub colour: bool,
}

impl Style {
    fn mark(self, severity: Severity) -> String {
        let (mark, colour) = match severity {
            Severity::Error => ("×", 31),
            Severity::Warning => ("‼", 33),
            Severity::Info => ("·", 36),
        };
        if self.colour { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() }
    }

    fn truth(self, condition: &Condition) -> String {
        // A conflict and partial invalidity are the conditions whose True is bad news.
        let bad_when = matches!(condition.kind, "Conflicted" | "PartiallyInvalid");
        let good = condition.status != bad_when;
        let mark = if good { "√" } else { "×" };
        if self.colour {
            format!("\x1b[{}m{mark}\x1b[0m", if good { 32 } else { 31 })
        } else {
            mark.to_owned()
        }
    }
}

/// Where a finding is: `file:line:column`.
fn place(finding: &Diagnostic) -> String {
    let mut text = finding.file.clone().unwrap_or_default();
    for number in [finding.line, finding.column.filter(|_| finding.line.is_some())].into_iter().flatten() {
        let _ = write!(text, ":{number}");
    }
    text
}

/// What a finding is about: object and field.
fn about(finding: &Diagnostic) -> String {
    match (&finding.object, finding.field.as_str()) {
        (Some(object), "") => object.clone(),
        (Some(object), field) => format!("{object} {field}"),
        (None, field) => field.to_owned(),
    }
}

/// A finding in one line, for logs.
pub fn finding_line(finding: &Diagnostic) -> String {
    let parts = [place(finding), about(finding), finding.message.clone()];
    let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    let mut line = format!("{} {}", finding.code, parts.join(": "));
    if !finding.fix.is_empty() {
        let _ = write!(line, " (fix: {})", finding.fix);
    }
    line
}

/// Findings for a reader, with a last line that counts them.
pub fn findings(findings: &[Diagnostic], style: Style) -> String {
    let mut text = String::new();
    for finding in findings {
        let about = about(finding);
        let place = place(finding);
        let _ = write!(
            text,
            "{} {} {}",
            style.mark(finding.severity),
            finding.code,
            if place.is_empty() { &about } else { &place }
        );
        if !place.is_empty() && !about.is_empty() {
            let _ = write!(text, "  {about}");
        }
        let _ = writeln!(text, "\n    {}", finding.message);
        if !finding.fix.is_empty() {
            let _ = writeln!(text, "    fix: {}", finding.fix);
        }
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let errors = count(Severity::Error);
    let warnings = count(Severity::Warning);
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let _ = writeln!(text, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings));
    text
}

/// Statuses for a reader: each object with its conditions, reasons where one is not as wished.
pub fn statuses(report: &StatusReport, style: Style) -> String {
    let mut text = String::new();
    for class in &report.gateway_classes {
        object(&mut text, style, "", &format!("GatewayClass {}", class.name), &class.conditions);
    }
    for gateway in &report.gateways {
        let name = format!("Gateway {}/{}", gateway.namespace, gateway.name);
        object(&mut text, style, "", &name, &gateway.conditions);
        for listener in &gateway.listeners {
            let name =
                format!("listener {}:{} routes={}", listener.name, listener.port, listener.attached_routes);
            object(&mut text, style, "  ", &name, &listener.conditions);
        }
    }
    for service in report.services.iter() {
        let name = format!("Service {}/{}", service.namespace, service.name);
        object(&mut text, style, "", &name, &service.conditions);
    }
    for route in report.routes.iter() {
        for parent in &route.parents {
            let name = format!("{} {}/{} → {}", route.kind, route.namespace, route.name, parent.parent_ref);
            object(&mut text, style, "", &name, &parent.conditions);
        }
    }
    text
}

fn object(text: &mut String, style: Style, indent: &str, name: &str, conditions: &[Condition]) {
    let _ = write!(text, "{indent}{name} ");
    for condition in conditions {
        let _ = write!(text, " {} {}", style.truth(condition), condition.kind);
    }
    text.push('\n');
    for condition in conditions.iter().filter(|c| !c.message.is_empty()) {
        let _ = writeln!(text, "{indent}    {} {}: {}", condition.kind, condition.reason, condition.message);
    }
}

/// The whole report, statuses and findings, as JSON.
pub fn json(report: &StatusReport) -> String {
    // A report holds strings, numbers and lists: it always has a JSON form.
    serde_json::to_string_pretty(report).unwrap_or_default()
}

/// Findings alone as JSON.
pub fn findings_json(findings: &[Diagnostic]) -> String {
    serde_json::to_string_pretty(findings).unwrap_or_default()
}
