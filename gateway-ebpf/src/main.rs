//! The entry points: each calls one function and turns its result into a verdict.
//!
//! A connect is never refused here: a hook that returned 0 would show as EPERM. Where a Service fails
//! closed, the connect goes to a port that nobody can listen on. Built for anything but BPF, this is an
//! empty program, so that editors and `cargo check` can read it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod connect;
mod context;
mod error;
mod liveness;
mod maps;
mod name;
mod proxy;
mod sock_ops;
mod stats;

use aya_ebpf::macros::{cgroup_sock_addr, raw_tracepoint, sock_ops};
use aya_ebpf::programs::{RawTracePointContext, SockAddrContext, SockOpsContext};

use crate::context::{Segment, SockAddr};
use crate::error::Error;

/// Every hook lets the system call go on.
const ALLOW: i32 = 1;

/// Families, as `SockAddr` takes them.
const V4: bool = true;
const V6: bool = false;

/// A connect on an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub fn weir_connect4(ctx: SockAddrContext) -> i32 {
    match connect::try_connect(&SockAddr::<V4>::new(&ctx)) {
        Ok(verdict) => stats::count(verdict.counter()),
        Err(untouched) => stats::count(untouched.counter()),
    }
    ALLOW
}

/// A connect on an IPv6 socket, also to a mapped IPv4 address.
#[cgroup_sock_addr(connect6)]
pub fn weir_connect6(ctx: SockAddrContext) -> i32 {
    match connect::try_connect(&SockAddr::<V6>::new(&ctx)) {
        Ok(verdict) => stats::count(verdict.counter()),
        Err(untouched) => stats::count(untouched.counter()),
    }
    ALLOW
}

/// `getpeername` on an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
pub fn weir_getpeername4(ctx: SockAddrContext) -> i32 {
    named(name::try_name(&SockAddr::<V4>::new(&ctx)))
}

/// `getpeername` on an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
pub fn weir_getpeername6(ctx: SockAddrContext) -> i32 {
    named(name::try_name(&SockAddr::<V6>::new(&ctx)))
}

#[inline(always)]
fn named(result: Result<(), Error>) -> i32 {
    match result {
        Ok(()) => stats::count(gateway_common::counter::Counter::Named),
        // Not a socket of ours, or one that was connected again: its peer is what it says.
        Err(Error::NoMark | Error::OtherPeer) => {}
        // Cannot be: these belong to other hooks.
        Err(Error::OtherOperation | Error::FlowLost) => {}
    }
    ALLOW
}

/// A TCP socket's life; only the moment before its SYN matters.
#[sock_ops]
pub fn weir_sock_ops(ctx: SockOpsContext) -> u32 {
    match sock_ops::try_record(&Segment::new(&ctx)) {
        Ok(()) => stats::count(gateway_common::counter::Counter::FlowRecorded),
        // Nothing to carry on.
        Err(Error::OtherOperation | Error::NoMark | Error::OtherPeer) => {}
        // The proxy closes the connection: it does not know where to.
        Err(Error::FlowLost) => stats::count(gateway_common::counter::Counter::FlowLost),
    }
    // 0 would throw away what a pod's own program answered.
    1
}

/// A task's exit.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn weir_process_exit(_ctx: RawTracePointContext) -> i32 {
    liveness::clear_when_the_gateway_exits();
    0
}

/// A signal's arrival at a task.
#[raw_tracepoint(tracepoint = "signal_deliver")]
pub fn weir_signal_deliver(event: RawTracePointContext) -> i32 {
    liveness::clear_when_the_gateway_is_killed(context::delivered_signal(&event));
    0
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// No helper that is used asks for the GPL.
#[cfg(target_arch = "bpf")]
// SAFETY: the section name is the one that loaders read.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
