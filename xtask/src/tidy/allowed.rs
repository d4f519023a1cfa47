//! Exceptions from the rules: which file, and for what reason.

use super::Finding;
use super::shape::LINES_MAX;
use super::source::{Source, has_word};

/// A path from the root, and the reason.
type Exception = (&'static str, &'static str);

/// Files that may be longer than the limit.
pub(super) const LONG: [Exception; 0] = [];

/// Tests that may let time pass.
pub(super) const SLEEP: [Exception; 12] = [
    ("tests/src/bench/cpus.rs", "the time over which it looks whether a CPU is idle"),
    ("tests/src/bench/idle.rs", "memory is given back some time after it is free"),
    ("tests/src/bench/propagation.rs", "the pace of a prober, and of changes"),
    ("tests/src/bench/scale.rs", "memory is given back some time after it is free"),
    ("tests/src/echo.rs", "a replica that takes its time before it answers"),
    ("tests/src/load.rs", "the pace of a load, and its length"),
    ("tests/src/pod.rs", "the kernel frees a cgroup some time after its last process"),
    ("tests/src/pod/stand_in.rs", "a heartbeat"),
    ("tests/src/soak.rs", "how long the traffic runs"),
    ("tests/src/soak/chaos.rs", "the pace of what happens"),
    ("tests/src/streams.rs", "the pace of messages on a stream"),
    ("tests/src/streams/rude.rs", "clients that take their time"),
];

/// Files with `unsafe` in them.
pub(super) const UNSAFE: [Exception; 13] = [
    ("gateway-common/src/user.rs", "says of the ABI's structures that they are plain bytes"),
    ("gateway-ebpf/src/context.rs", "reads and writes the kernel's contexts and calls its functions"),
    ("gateway-ebpf/src/main.rs", "the licence, in the section that loaders read"),
    ("gateway-ebpf/src/maps.rs", "constants that the loader finds by their name"),
    ("gateway-userspace/src/app/handover.rs", "sockets that come as numbers from the process before"),
    ("gateway-userspace/src/capture/netns.rs", "asks a namespace for its cookie"),
    ("gateway-userspace/src/memory.rs", "has the allocator give back what is free"),
    (
        "gateway-userspace/src/proxy/upstream/acknowledged.rs",
        "getsockopt(TCP_INFO) in the size that says what was acknowledged",
    ),
    ("gateway-userspace/src/ebpf/sys.rs", "bpf(2) where aya has no call for it"),
    ("tests/counts/allocations.rs", "an allocator that counts what is asked of the system's"),
    ("tests/counts/syscalls.rs", "bpf(2): a program that counts the system calls of a thread"),
    ("tests/ebpf/foreign.rs", "bpf(2): a program of somebody else at a hook"),
    ("tests/src/pod/battery.rs", "socket calls of unchanged applications, as they make them"),
];

/// An exception that nothing needs any more goes.
pub(super) fn still_needed(sources: &[Source], findings: &mut Vec<Finding>) {
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    let mut stale = |list: &str, path: &str| {
        findings.push(Finding {
            path: path.to_owned(),
            line: 0,
            says: format!("no longer needs to be in {list}"),
        });
    };
    for (path, _) in LONG {
        if find(path).is_none_or(|source| source.production_lines() <= LINES_MAX) {
            stale("LONG", path);
        }
    }
    for (path, _) in SLEEP {
        if find(path).is_none_or(|source| !source.code.contains("sleep")) {
            stale("SLEEP", path);
        }
    }
    for (path, _) in UNSAFE {
        if find(path).is_none_or(|source| !has_word(&source.code, "unsafe")) {
            stale("UNSAFE", path);
        }
    }
}
