//! Pure: metrics as text, in Prometheus' format 0.0.4 or as OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

/// Which of the two formats a scraper gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus text 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format an `Accept` header asks for. OpenMetrics only for those that name it.
    pub fn negotiate(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The content type of the answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label set as it stands between the braces.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LabelText(String);

impl LabelText {
    /// Adds a label. An empty value is the same as no label, so it is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }
}

/// The text of one scrape, family by family.
#[derive(Debug)]
pub(crate) struct Exposition {
    out: String,
    format: Format,
    name: &'static str,
    kind: Kind,
}

impl Exposition {
    pub(crate) fn new(format: Format) -> Self {
        Self { out: String::new(), format, name: "", kind: Kind::Gauge }
    }

    /// Begins a family. A counter's `name` has no `_total`; its samples get it.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        (self.name, self.kind) = (name, kind);
        // OpenMetrics names the family, the older format names the sample.
        let total = kind == Kind::Counter && self.format == Format::Prometheus;
        let suffix = if total { "_total" } else { "" };
        self.line(format_args!("# HELP {name}{suffix} {help}"));
        self.line(format_args!("# TYPE {name}{suffix} {}", kind.as_str()));
    }

    /// One sample of a counter or gauge.
    pub(crate) fn sample(&mut self, labels: &LabelText, value: impl Display) {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        self.suffixed(suffix, labels, value);
    }

    /// One histogram: cumulated counts by upper bound, and the sum of what was counted.
    pub(crate) fn histogram(
        &mut self,
        labels: &LabelText,
        buckets: impl Iterator<Item = (f64, u64)>,
        sum: f64,
    ) {
        let mut count = 0;
        for (bound, cumulated) in buckets {
            count = cumulated;
            let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
            self.suffixed("_bucket", &labels.clone().with("le", &bound), cumulated);
        }
        self.suffixed("_sum", labels, sum);
        self.suffixed("_count", labels, count);
    }

    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn suffixed(&mut self, suffix: &str, LabelText(labels): &LabelText, value: impl Display) {
        let name = self.name;
        if labels.is_empty() {
            self.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.line(format_args!("{name}{suffix}{{{labels}}} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_scrapers_that_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(Format::negotiate(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::negotiate(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::negotiate(None), Format::Prometheus);
    }

    #[test]
    fn label_values_cannot_break_out_of_their_quotes() {
        let labels = LabelText::default().with("a", "x\"} 1\n\\").with("empty", "").with("b", "y");
        assert_eq!(labels.0, r#"a="x\"} 1\n\\",b="y""#);
    }

    #[test]
    fn counters_carry_total_where_each_format_wants_it() {
        let text = |format| {
            let mut text = Exposition::new(format);
            text.family("weir_retries", Kind::Counter, "Attempts repeated.");
            text.sample(&LabelText::default(), 3);
            text.finish()
        };
        assert_eq!(
            text(Format::Prometheus),
            "# HELP weir_retries_total Attempts repeated.\n# TYPE weir_retries_total counter\nweir_retries_total 3\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP weir_retries Attempts repeated.\n# TYPE weir_retries counter\nweir_retries_total 3\n# EOF\n"
        );
    }
}
