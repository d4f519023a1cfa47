//! Many network namespaces at once, and a way to see that they are really gone.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for the kernel to destroy what nothing refers to any more.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// The test's turn, when namespaces can be made: one test at a time, because some count what the
/// process has open. Says why when they cannot; with CI=true that is a failure.
pub fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if nix::unistd::geteuid().is_root() {
        return Some(TURN.lock().unwrap_or_else(PoisonError::into_inner));
    }
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "namespace tests need root");
    eprintln!("SKIPPED: this test makes network namespaces, which needs root");
    None
}

/// Namespaces with loopback up, each with a link into one more namespace: when a namespace is
/// destroyed its link goes too, and not before.
pub struct Namespaces {
    names: Vec<String>,
    hub: String,
}

impl Namespaces {
    /// `count` of them; `label` keeps tests apart.
    pub fn make(label: &str, count: usize) -> Self {
        let prefix = format!("weir-{label}-{}", std::process::id());
        let hub = format!("{prefix}-hub");
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
        let made = Self { names, hub };
        let mut script = format!("netns add {}\n", made.hub);
        script.extend(made.names.iter().map(|name| format!("netns add {name}\n")));
        batch(&[], &script);
        let links = made.names.iter().enumerate();
        let links: String =
            links.map(|(n, name)| format!("link add o{n} type veth peer name eth0 netns {name}\n")).collect();
        batch(&["-n", &made.hub], &links);
        for (n, name) in made.names.iter().enumerate() {
            let address = format!("address add 10.{}.{}.1/32 dev eth0\n", 64 + n / 250, n % 250);
            batch(&["-n", name], &format!("link set lo up\nlink set eth0 up\n{address}"));
        }
        made
    }

    /// Where each is.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| PathBuf::from("/run/netns").join(name)).collect()
    }

    /// Switches the loopback interface of one of them `up` or `down`.
    pub fn loopback(&self, n: usize, state: &str) {
        batch(&["-n", &self.names[n]], &format!("link set lo {state}\n"));
    }

    /// Deletes them all: each lives on only while something refers to it.
    pub fn delete(&self) {
        let names = self.names.iter().filter(|name| PathBuf::from("/run/netns").join(name).exists());
        let script: String = names.map(|name| format!("netns del {name}\n")).collect();
        batch(&[], &script);
    }

    /// How many live, named or not.
    pub fn living(&self) -> usize {
        let output = Command::new("ip").args(["-n", &self.hub, "-o", "link"]).output().expect("ip runs");
        String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(": o")).count()
    }

    /// Waits until `count` live.
    pub fn wait_living(&self, count: usize) {
        let deadline = Instant::now() + GONE_WITHIN;
        while self.living() != count {
            assert!(Instant::now() < deadline, "{} namespaces live on, {count} should", self.living());
            std::thread::yield_now();
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.delete();
        batch(&[], &format!("netns del {}\n", self.hub));
    }
}

fn batch(arguments: &[&str], script: &str) {
    let mut ip = Command::new("ip")
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the iproute2 tool `ip` is needed");
    let mut stdin = ip.stdin.take().expect("it is piped");
    stdin.write_all(script.as_bytes()).expect("ip reads its script");
    drop(stdin);
    assert!(ip.wait().expect("ip ends").success(), "ip -batch failed on:\n{script}");
}
