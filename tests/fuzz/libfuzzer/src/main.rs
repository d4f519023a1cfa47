//! One target, named by `WEIR_FUZZ_TARGET`, under libFuzzer.
//!
//! One program for all targets, because each would link the whole gateway.
#![no_main]

use std::sync::LazyLock;

use gateway_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("WEIR_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|target| target.name == wanted) {
        Some(target) => *target,
        None => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("WEIR_FUZZ_TARGET must be one of {}", names.join(", "));
            std::process::exit(2);
        }
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
