//! Whatever is written, compiling it neither fails nor panics.

use proptest::prelude::*;

use super::{compiler, inputs};
use crate::control::provider::file;

/// Bytes that YAML and the kinds care about.
const SPICE: [&str; 24] = [
    "",
    " ",
    "\n",
    ":",
    "-",
    "---\n",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "&a ",
    "*a",
    "|",
    "#",
    "0",
    "-1",
    "99999999999",
    "null",
    "~",
    "true",
    "*",
    "\u{1F409}",
];

fn compile_text(text: &str) {
    let desired = file::from_text("mutated.yaml", text);
    let first = compiler().compile(&desired);
    let mut compiler = compiler();
    compiler.compile(&desired);
    let again = compiler.compile(&desired);
    assert!(
        again.changed.is_empty() && again.snapshot.is_none(),
        "the second compile of the same found more"
    );
    assert_eq!(first.report, again.report);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_damage_to_a_configuration_is_survived(
        case in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, 0usize..SPICE.len()), 1..6),
    ) {
        let inputs = inputs();
        let mut text: Vec<char> = case.get(&inputs).1.chars().collect();
        for (place, removed, spice) in damage {
            let from = place.index(text.len() + 1);
            let to = (from + removed).min(text.len());
            text.splice(from..to, SPICE[spice].chars());
        }
        compile_text(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_field_may_have_any_value(
        case in any::<prop::sample::Index>(),
        line in any::<prop::sample::Index>(),
        value in prop_oneof![Just("0".to_owned()), Just("-5".to_owned()), Just("''".to_owned()), Just("'(a|b'".to_owned()),
            Just("'*'".to_owned()), Just("{}".to_owned()), Just("[]".to_owned()), "\\PC{0,20}"],
    ) {
        let inputs = inputs();
        let text = &case.get(&inputs).1;
        let lines: Vec<&str> = text.lines().collect();
        let changed = line.index(lines.len().max(1));
        let mutated: Vec<String> = lines.iter().enumerate().map(|(i, line)| match line.split_once(": ") {
            Some((key, _)) if i == changed => format!("{key}: {value}"),
            _ => (*line).to_owned(),
        }).collect();
        compile_text(&mutated.join("\n"));
    }
}
