//! Pure: what libFuzzer's output says, in a line.

/// How much a target was run, and how far it came.
pub(super) fn line(target: &str, output: &str) -> String {
    let runs = after(output, "stat::number_of_executed_units:").unwrap_or("?");
    let reached = output.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "));
    let reached = reached.and_then(|line| after(line, " cov: ")).unwrap_or("?");
    format!("{target:<16} {runs:>12} inputs, {reached:>6} places reached")
}

/// The panic and the file with the input, or the end of the output when there is neither.
pub(super) fn failure(output: &str) -> String {
    const LINES_MAX: usize = 12;
    let lines: Vec<&str> = output.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let from = panic.unwrap_or(lines.len().saturating_sub(LINES_MAX));
    let input = lines.iter().find(|line| line.contains("Test unit written to"));
    let said = lines[from..].iter().take(LINES_MAX).take_while(|line| !line.starts_with("stack backtrace"));
    said.chain(input).copied().collect::<Vec<_>>().join("\n")
}

/// The first word after a label.
fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.split_once(label)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::{failure, line};

    const OUTPUT: &str = "#2\tINITED cov: 12 ft: 13 corp: 1/1b\n#900\tNEW    cov: 345 ft: 13 corp: 2/9b lim: 4\n\
        thread '<unnamed>' panicked at src/path.rs:1:2:\nassertion failed\nstack backtrace:\n   0: x\n\
        Test unit written to target/fuzz/found/path-crash-1\nstat::number_of_executed_units: 4711\n";

    #[test]
    fn a_line_says_how_much_was_tried_and_how_far_it_came() {
        assert_eq!(line("path", OUTPUT), "path                     4711 inputs,    345 places reached");
    }

    #[test]
    fn a_failure_is_its_panic_and_its_input() {
        let said = failure(OUTPUT);
        assert!(said.starts_with("thread '<unnamed>' panicked") && !said.contains("backtrace"), "{said}");
        assert!(said.ends_with("found/path-crash-1"), "{said}");
    }
}
