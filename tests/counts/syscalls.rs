//! Counts the system calls of one thread in the kernel, which neither slows the thread nor wakes it.
//!
//! A few BPF instructions on the tracepoint that every system call passes. They are written here one by one: the program is made
//! for one thread, and needs no compiler and no tracing filesystem.
#![expect(unsafe_code, reason = "bpf(2) takes addresses as numbers")]

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;

/// Numbers of system calls are below it.
const CALLS: u32 = 512;

// From linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const HELPER_MAP_LOOKUP_ELEM: i32 = 1;
const HELPER_GET_NS_CURRENT_PID_TGID: i32 = 120;
const PSEUDO_MAP_FD: u8 = 1;

/// Counts for as long as it lives.
pub(crate) struct Syscalls {
    counts: OwnedFd,
    _attached: OwnedFd,
}

impl Syscalls {
    /// Counts those of a thread of this process; why not, where that is not allowed.
    pub(crate) fn of(thread: i32) -> Result<Self, String> {
        let counts = create_counts().map_err(|error| format!("no BPF map can be made here: {error}"))?;
        let program =
            load(thread, &counts).map_err(|error| format!("no BPF program can be loaded here: {error}"))?;
        let attached =
            attach(&program).map_err(|error| format!("no tracepoint can be used here: {error}"))?;
        Ok(Self { counts, _attached: attached })
    }

    /// All so far.
    pub(crate) fn total(&self) -> nix::Result<u64> {
        Ok(self.by_number()?.values().sum())
    }

    /// By the number of the call.
    pub(crate) fn by_number(&self) -> nix::Result<BTreeMap<u32, u64>> {
        let mut counts = BTreeMap::new();
        for number in 0..CALLS {
            let count = look_up(&self.counts, number)?;
            if count > 0 {
                counts.insert(number, count);
            }
        }
        Ok(counts)
    }
}

/// One instruction: code, registers, offset, immediate.
fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> [u8; 8] {
    let [a, b] = offset.to_ne_bytes();
    let [c, d, e, f] = value.to_ne_bytes();
    [code, (from << 4) | to, a, b, c, d, e, f]
}

/// `to = value`, of 64 bits: two instructions.
fn load_wide(to: u8, pseudo: u8, value: u64) -> [[u8; 8]; 2] {
    let [low, high] = [value as u32, (value >> 32) as u32].map(u32::cast_signed);
    [instruction(0x18, to, pseudo, 0, low), instruction(0, 0, 0, 0, high)]
}

/// `if this thread is it { counts[number of the call] += 1 }`
fn program(thread: i32, namespace: (u64, u64), counts: &OwnedFd) -> Vec<u8> {
    let map = u64::try_from(counts.as_raw_fd()).unwrap_or_default();
    let mut code = vec![instruction(0xbf, 6, 1, 0, 0)]; // r6 = the tracepoint's arguments
    code.extend(load_wide(1, 0, namespace.0));
    code.extend(load_wide(2, 0, namespace.1));
    code.extend([
        instruction(0xbf, 3, 10, 0, 0),
        instruction(0x07, 3, 0, 0, -8), // r3 = room for thread and process on the stack
        instruction(0xb7, 4, 0, 0, 8),
        instruction(0x85, 0, 0, 0, HELPER_GET_NS_CURRENT_PID_TGID),
        instruction(0x55, 0, 0, 12, 0),      // not of this namespace: to the end
        instruction(0x61, 1, 10, -8, 0),     // r1 = the thread
        instruction(0x56, 1, 0, 10, thread), // another one: to the end
        instruction(0x79, 1, 6, 8, 0),       // r1 = the number of the call
        instruction(0x63, 10, 1, -12, 0),
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -12), // r2 = where it stands
    ]);
    code.extend(load_wide(1, PSEUDO_MAP_FD, map));
    code.extend([
        instruction(0x85, 0, 0, 0, HELPER_MAP_LOOKUP_ELEM),
        instruction(0x15, 0, 0, 2, 0), // no such number
        instruction(0xb7, 1, 0, 0, 1),
        instruction(0xdb, 0, 1, 0, 0), // lock *r0 += r1
        instruction(0xb7, 0, 0, 0, 0),
        instruction(0x95, 0, 0, 0, 0),
    ]);
    code.concat()
}

fn create_counts() -> nix::Result<OwnedFd> {
    let attributes = [BPF_MAP_TYPE_ARRAY, 4, 8, CALLS];
    bpf_fd(BPF_MAP_CREATE, bytes_of(&attributes))
}

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

fn load(thread: i32, counts: &OwnedFd) -> nix::Result<OwnedFd> {
    let namespace = std::fs::metadata("/proc/self/ns/pid").map_err(|_| Errno::ENOENT)?;
    let code = program(thread, (namespace.dev(), namespace.ino()), counts);
    let load = Load {
        kind: BPF_PROG_TYPE_RAW_TRACEPOINT,
        instructions: u32::try_from(code.len() / 8).unwrap_or_default(),
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    bpf_fd(BPF_PROG_LOAD, bytes_of(&load))
}

fn attach(program: &OwnedFd) -> nix::Result<OwnedFd> {
    let attributes = [c"sys_enter".as_ptr() as u64, u64::try_from(program.as_raw_fd()).unwrap_or_default()];
    bpf_fd(BPF_RAW_TRACEPOINT_OPEN, bytes_of(&attributes))
}

fn look_up(map: &OwnedFd, key: u32) -> nix::Result<u64> {
    let mut value = 0_u64;
    let map = u64::try_from(map.as_raw_fd()).unwrap_or_default();
    let attributes = [map, &raw const key as u64, &raw mut value as u64, 0];
    bpf(BPF_MAP_LOOKUP_ELEM, bytes_of(&attributes))?;
    Ok(value)
}

/// Plain integers as the kernel reads them.
fn bytes_of<T>(value: &T) -> (*const T, usize) {
    (value, size_of::<T>())
}

fn bpf_fd<T>(command: libc::c_int, attributes: (*const T, usize)) -> nix::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::EBADF)?) })
}

fn bpf<T>(command: libc::c_int, (attributes, size): (*const T, usize)) -> nix::Result<libc::c_long> {
    // SAFETY: `attributes` are `size` bytes that live until the call returns, and so does all they point at.
    Errno::result(unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) })
}
