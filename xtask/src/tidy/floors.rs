//! Who may know what: the directions between modules, pure files, and interfaces with one owner.

use super::source::{Source, crate_paths, has_word};
use super::{Finding, allowed};

fn is_below(path: &str, module: &str) -> bool {
    path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
}

fn report(source: &Source, line: usize, says: impl Into<String>, findings: &mut Vec<Finding>) {
    findings.push(Finding { path: source.path.clone(), line, says: says.into() });
}

/// `control` makes snapshots, `proxy` serves from them, and neither imports the other.
pub(super) fn directions(source: &Source, findings: &mut Vec<Finding>) {
    const NEVER: [(&str, &[&str]); 3] = [
        ("control", &["proxy", "worker"]),
        ("proxy", &["control"]),
        ("snapshot", &["control", "proxy", "worker", "ebpf", "capture", "admin"]),
    ];
    let Some(path) = source.in_gateway() else { return };
    for (floor, never) in NEVER.iter().filter(|(floor, _)| is_below(path, floor)) {
        for (line, name) in crate_paths(&source.code) {
            if never.contains(&name.as_str()) {
                report(source, line, format!("`{floor}` imports `crate::{name}`"), findings);
            }
        }
    }
}

/// A pure file takes the time and the randomness as arguments and touches nothing outside.
pub(super) fn purity(source: &Source, findings: &mut Vec<Finding>) {
    const CRATES: [&str; 8] =
        ["tokio", "hyper", "hyper_util", "kube", "k8s_openapi", "aya", "fastrand", "notify"];
    const CALLS: [&str; 5] = ["Instant::now", "SystemTime::now", "std::fs", "std::process", "std::thread"];
    if !source.is_rust() || !must_be_pure(source) {
        return;
    }
    for (line, code) in source.production() {
        let known = CRATES.iter().find(|name| has_word(code, name) && code.contains(&format!("{name}::")));
        for name in known.into_iter().chain(CALLS.iter().find(|call| code.contains(*call))) {
            report(source, line, format!("a pure file names `{name}`"), findings);
        }
    }
}

/// Files that say so, and the folders whose files all are, said or not.
fn must_be_pure(source: &Source) -> bool {
    const PURE: [&str; 3] = ["snapshot", "control/config", "control/compile"];
    let placed = source
        .in_gateway()
        .is_some_and(|path| path != "snapshot/store.rs" && PURE.iter().any(|module| is_below(path, module)));
    placed || source.text.starts_with("//! Pure:")
}

/// Words that only some files of the gateway may say.
pub(super) fn owners(source: &Source, findings: &mut Vec<Finding>) {
    const OWNERS: [(&str, &[&str]); 6] = [
        ("aya", &["ebpf"]),
        ("aya_log", &["ebpf"]),
        ("ArcSwap", &["snapshot/store"]),
        ("arc_swap", &["snapshot/store"]),
        ("setns", &["capture/netns"]),
        ("unshare", &["capture/netns"]),
    ];
    let Some(path) = source.in_gateway() else { return };
    for (word, owners) in OWNERS {
        if owners.iter().any(|owner| is_below(path, owner)) {
            continue;
        }
        for (line, _) in source.production().filter(|(_, code)| has_word(code, word)) {
            report(source, line, format!("`{word}` belongs into `{}`", owners[0]), findings);
        }
    }
}

/// Modules have error enums of their own; programs and tests may take any error.
pub(super) fn anyhow(source: &Source, findings: &mut Vec<Finding>) {
    let Some(path) = source.in_gateway() else { return };
    if ["main", "app", "cli"].iter().any(|module| is_below(path, module)) {
        return;
    }
    for (line, _) in source.production().filter(|(_, code)| has_word(code, "anyhow")) {
        report(source, line, "`anyhow` in a module: give it a `thiserror` enum", findings);
    }
}

/// Few files, each listed with what it needs it for.
pub(super) fn unsafe_code(source: &Source, findings: &mut Vec<Finding>) {
    if allowed::UNSAFE.iter().any(|(path, _)| *path == source.path) {
        return;
    }
    let numbered = source.code.lines().enumerate();
    if let Some((index, _)) = numbered.into_iter().find(|(_, code)| has_word(code, "unsafe")) {
        report(source, index + 1, "`unsafe` in a file that is not listed for it", findings);
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings;

    #[test]
    fn control_and_proxy_may_import_snapshot_and_not_each_other() {
        let text = "use crate::snapshot::S;\nuse crate::{control::C, reason::R};\n";
        assert_eq!(findings(super::directions, "gateway-userspace/src/proxy/http.rs", text), [2]);
        assert_eq!(findings(super::directions, "gateway-userspace/src/snapshot.rs", text), [2]);
        assert_eq!(findings(super::directions, "gateway-userspace/src/app.rs", text), [] as [usize; 0]);
        let text = "fn f(p: crate::proxy::P) {} // crate::proxy\n";
        assert_eq!(findings(super::directions, "gateway-userspace/src/control/compile.rs", text), [1]);
    }

    #[test]
    fn a_pure_file_knows_no_clock_but_its_tests_may() {
        let text = "//! Pure: a.\nuse tokio::time;\nfn f() { Instant::now(); }\nstruct Tokio;\n\
                    #[cfg(test)]\nmod tests {\n    fn g() { Instant::now(); }\n}\n";
        assert_eq!(findings(super::purity, "gateway-common/src/a.rs", text), [2, 3]);
        assert_eq!(
            findings(super::purity, "gateway-common/src/a.rs", &text.replace("Pure: ", "")),
            [] as [usize; 0]
        );
        let placed = "//! A.\nuse std::fs;\n";
        assert_eq!(findings(super::purity, "gateway-userspace/src/control/compile/a.rs", placed), [2]);
    }

    #[test]
    fn kernel_interfaces_have_one_owner() {
        let text = "//! A.\nuse aya::Pod;\nfn f() { setns(); }\nuse arc_swap::ArcSwap;\n";
        assert_eq!(findings(super::owners, "gateway-userspace/src/proxy.rs", text), [2, 4, 4, 3]);
        assert_eq!(findings(super::owners, "gateway-userspace/src/ebpf/maps.rs", text), [4, 4, 3]);
        assert_eq!(findings(super::owners, "gateway-userspace/src/capture/netns.rs", text), [2, 4, 4]);
    }

    #[test]
    fn anyhow_stays_in_programs() {
        assert_eq!(findings(super::anyhow, "gateway-userspace/src/control.rs", "use anyhow::bail;"), [1]);
        assert_eq!(
            findings(super::anyhow, "gateway-userspace/src/cli/run.rs", "use anyhow::bail;"),
            [] as [usize; 0]
        );
    }

    #[test]
    fn unsafe_in_a_comment_is_no_unsafe() {
        assert_eq!(
            findings(super::unsafe_code, "xtask/src/a.rs", "// unsafe\n#![deny(unsafe_code)]\n"),
            [] as [usize; 0]
        );
        assert_eq!(findings(super::unsafe_code, "xtask/src/a.rs", "fn f() {\n    unsafe { g() }\n}"), [2]);
    }
}
