//! How the demo talks.

use std::collections::BTreeMap;

/// Begins a scene.
pub(super) fn scene(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

/// What happens now.
pub(super) fn say(text: &str) {
    println!("   {text}");
}

/// A command as a user would type it, in the client pod.
pub(super) fn command(text: &str) {
    println!("   $ {text}");
}

/// What is seen.
pub(super) fn seen(text: &str) {
    for line in text.lines() {
        println!("     {line}");
    }
}

/// How often each replica answered, as `shop-1 31 %, shop-2 29 %`.
pub(super) fn shares(replicas: &BTreeMap<String, u64>) -> String {
    let all: u64 = replicas.values().sum::<u64>().max(1);
    let shares: Vec<String> =
        replicas.iter().map(|(name, count)| format!("{name} {} %", (count * 100 + all / 2) / all)).collect();
    shares.join(", ")
}
