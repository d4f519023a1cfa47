//! The folder's YAML: whatever a file holds, it is read or complained about, and a complaint has a place.

use gateway_userspace::control::provider::file;
use gateway_userspace::control::render;

/// The bytes are a file.
pub(crate) fn yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let desired = file::from_text("fuzzed.yaml", &text);
    let lines = u32::try_from(breaks(&text)).unwrap_or(u32::MAX);
    for finding in desired.findings.iter() {
        assert!(!finding.message.is_empty());
        assert!(
            finding.line.is_none_or(|line| (1..=lines + 1).contains(&line)),
            "{finding:?} of {lines} lines"
        );
    }
    let listed: serde_json::Value =
        serde_json::from_str(&render::findings_json(&desired.findings)).expect("findings are JSON");
    assert!(!listed.is_null());
    render::findings(&desired.findings, render::Style { colour: false });
    let again = file::from_text("fuzzed.yaml", &text);
    assert_eq!(again.findings.len(), desired.findings.len(), "read twice, it says something else");
}

/// Line breaks as YAML has them: LF, CR LF, and CR alone (YAML 1.2.2, 5.4).
fn breaks(text: &str) -> usize {
    text.replace("\r\n", "\n").matches(['\n', '\r']).count()
}
