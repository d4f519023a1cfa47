//! Marks and colours: every line can be read without them.

use std::io::{self, IsTerminal, Write};

use super::Failure;
use crate::control::render;

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

    /// The same for findings and statuses.
    pub const fn rendered(self) -> render::Style {
        render::Style { colour: self.colour }
    }

    /// All is well.
    pub fn ok(self) -> String {
        self.paint("32", "√")
    }

    /// Wrong.
    pub fn error(self) -> String {
        self.paint("31", "×")
    }

    /// Not as it should be, but it works.
    pub fn warning(self) -> String {
        self.paint("33", "‼")
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes to standard output. A reader that has seen enough, as `head`, is no error.
///
/// # Errors
/// When it cannot be written, e.g. to a full disk.
pub fn write(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a value as indented JSON to standard output.
///
/// # Errors
/// As `write`.
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
    write(&(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::Style;

    #[test]
    fn without_colours_a_mark_is_just_the_mark() {
        assert_eq!(Style { colour: false }.error(), "×");
        assert_eq!(Style { colour: true }.ok(), "\x1b[32m√\x1b[0m");
    }
}
