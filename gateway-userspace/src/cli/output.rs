//! Marks and colours: every line can be read without them.

use std::io::IsTerminal;

/// Whether a stream gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colours on a terminal, unless NO_COLOR is set to something (no-color.org).
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: stream.is_terminal() && !refused }
    }

    /// No colours.
    pub const fn plain() -> Self {
        Self { colour: false }
    }

    /// All is well.
    pub fn ok(self) -> String {
        self.paint("32", "√")
    }

    /// Worth a look.
    pub fn warning(self) -> String {
        self.paint("33", "‼")
    }

    /// Wrong.
    pub fn error(self) -> String {
        self.paint("31", "×")
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// More important.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes rows in columns as wide as their widest cell; the last one is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let padding = (width + 2).saturating_sub(cell.chars().count());
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes a value as indented JSON to stdout.
///
/// # Errors
/// When stdout cannot be written.
pub fn json(value: &impl serde::Serialize) -> Result<(), super::Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| super::Failure::Failed(e.to_string()))?;
    println!("{text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Style, table};

    #[test]
    fn without_colours_a_mark_is_just_the_mark() {
        assert_eq!(Style::plain().error(), "×");
        assert_eq!(Style { colour: true }.ok(), "\x1b[32m√\x1b[0m");
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let rows = [vec!["POD".to_owned(), "STATE".to_owned()], vec!["shop/web".to_owned(), "ok".to_owned()]];
        assert_eq!(table(&rows), "POD       STATE\nshop/web  ok\n");
    }
}
