//! The HTTP/2 and HPACK conformance suite against a Gateway, whatever its backend speaks.

use std::process::Command;

use crate::fixture::{Replica, Site, route, service};

/// The program: `$H2SPEC`, which `cargo xtask test` sets, or the one in `PATH`.
fn h2spec() -> Option<Command> {
    let command = || Command::new(std::env::var_os("H2SPEC").unwrap_or_else(|| "h2spec".into()));
    command().arg("--version").output().is_ok().then(command)
}

#[test]
fn h2spec_passes_to_its_last_case_the_strict_ones_too() {
    if h2spec().is_none() {
        println!("SKIPPED: h2spec is missing (cargo xtask test --install builds it)");
        return;
    }
    let one = Replica::start("one");
    for protocol in ["http", "kubernetes.io/h2c"] {
        let site = Site::new();
        site.write("shop.yaml", &(service("shop", protocol) + &route("shop", "path: {value: /}", "shop")));
        site.endpoints("shop", &[&one]);
        let _weir = site.start();
        site.wait_status("/", 200);
        for (arguments, verdict) in [
            (&[][..], "145 tests, 145 passed, 0 skipped, 0 failed"),
            (&["--strict"], "146 tests, 146 passed, 0 skipped, 0 failed"),
        ] {
            let port = site.port.to_string();
            let mut command = h2spec().unwrap();
            let output = command.args(["-p", &port, "-o", "10"]).args(arguments).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let failures = text.split_once("Failures:").map_or(&*text, |(_, failures)| failures);
            assert!(text.trim_end().ends_with(verdict), "{protocol} {arguments:?}:\n{failures}");
        }
    }
}
