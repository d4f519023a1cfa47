//! The licences of what is linked into Weir: each is on the list of `deny.toml`, and everything comes from the registry.

use anyhow::Context;
use serde::Deserialize;

use super::Finding;
use crate::command;

/// Who says what may be used.
pub(super) const LIST: &str = "deny.toml";
/// A crate with another source than this, or than this checkout, is not to be had by everybody.
const REGISTRY: &str = "registry+";

/// Crates that are built here, as cargo tells them.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    /// SPDX; older crates write `/` for `OR`.
    license: Option<String>,
    /// None in this checkout.
    source: Option<String>,
}

/// Asks cargo for those that this machine builds.
pub(super) fn metadata() -> anyhow::Result<Metadata> {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &machine]);
    let text = command::output(&mut cargo).context("cargo metadata failed")?;
    Ok(serde_json::from_str(&text)?)
}

/// Every crate may be used, as far as `list` says so.
pub(super) fn check(list: &str, metadata: &Metadata, findings: &mut Vec<Finding>) {
    let allowed = allowed(list);
    let mut say = |says| findings.push(Finding { path: LIST.to_owned(), line: 0, says });
    for Package { name, license, source } in &metadata.packages {
        let license = license.as_deref().unwrap_or_default();
        if !is_allowed(license, &allowed) {
            say(format!("the licence of `{name}` is `{license}`"));
        }
        if source.as_deref().is_some_and(|source| !source.starts_with(REGISTRY)) {
            say(format!("`{name}` does not come from the registry"));
        }
    }
}

/// The strings of `allow = [..]`.
fn allowed(list: &str) -> Vec<&str> {
    let after = list.split_once("allow = [").map_or("", |(_, after)| after);
    let inside = after.split_once(']').map_or("", |(inside, _)| inside);
    inside.split('"').skip(1).step_by(2).collect()
}

/// All that are joined by AND, and one of those joined by OR, which binds less.
fn is_allowed(license: &str, allowed: &[&str]) -> bool {
    let license = license.replace('/', " OR ");
    let words: Vec<&str> = license.split_whitespace().collect();
    let text = words.join(" ");
    if allowed.contains(&text.as_str()) {
        return true;
    }
    if let Some((one, other)) = split(&text, " OR ") {
        return is_allowed(one, allowed) || is_allowed(other, allowed);
    }
    if let Some((one, other)) = split(&text, " AND ") {
        return is_allowed(one, allowed) && is_allowed(other, allowed);
    }
    let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inside.is_some_and(|inside| is_allowed(inside, allowed))
}

/// At the first such word outside of parentheses.
fn split<'t>(text: &'t str, at: &str) -> Option<(&'t str, &'t str)> {
    text.match_indices(at).find_map(|(place, _)| {
        let before = &text[..place];
        let is_outside = before.matches('(').count() == before.matches(')').count();
        is_outside.then(|| (before, &text[place + at.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::{Metadata, check, is_allowed};

    #[test]
    fn a_licence_is_read_as_alternatives_and_conditions() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        for fine in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "(GPL-3.0 OR MIT) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(fine, &allowed), "{fine}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR BSL-1.0) AND MIT", "Apache-2.0", "MIT-0"] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn a_crate_of_another_licence_or_from_elsewhere_is_found() {
        let list = "[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\nother = [\"GPL-3.0\"]\n";
        let text = r#"{"packages": [
            {"name": "own", "license": "MIT", "source": null},
            {"name": "good", "license": "ISC", "source": "registry+https://github.com/rust-lang/crates.io-index"},
            {"name": "viral", "license": "GPL-3.0", "source": null},
            {"name": "forked", "license": "MIT", "source": "git+https://forge.test/forked"}
        ]}"#;
        let metadata: Metadata = serde_json::from_str(text).expect("as cargo writes it");
        let mut findings = Vec::new();
        check(list, &metadata, &mut findings);
        let said: Vec<_> = findings.iter().map(|finding| finding.says.as_str()).collect();
        assert_eq!(said, ["the licence of `viral` is `GPL-3.0`", "`forked` does not come from the registry"]);
    }
}
