//! Reads and writes of kernel contexts and sockets: the only pointer casts and raw helper calls.
//!
//! Context fields are read volatile and all at once, before anything branches: otherwise LLVM merges two
//! loads into one through a computed pointer, which the verifier refuses ("dereference of modified ctx ptr").

use core::mem::{size_of, zeroed};
use core::ptr::{addr_of, addr_of_mut, null_mut, read_volatile, write_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_F_CURRENT_NETNS, BPF_RB_NO_WAKEUP, BPF_SK_STORAGE_GET_F_CREATE, bpf_pidns_info, bpf_sock_addr,
    bpf_sock_tuple, sockaddr,
};
use aya_ebpf::helpers::generated as helpers;
use aya_ebpf::programs::{RawTracePointContext, SockAddrContext, SockOpsContext};
use gateway_common::addr::{Address, Port, Socket};
use gateway_common::capture::Caller;
use gateway_common::decision::Budget;
use gateway_common::flow::SocketMark;

use crate::maps::{LISTENERS, MARKS};

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const TCP_LISTEN: u32 = 10;

/// Ring buffer flag: wake nobody.
pub const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// The context of `connect` and `getpeername`. The family of the socket is part of the type: with a branch
/// on it, LLVM would merge the two families' writes.
pub struct SockAddr<'a, const V4: bool> {
    /// For aya-log.
    pub context: &'a SockAddrContext,
}

impl<'a, const V4: bool> SockAddr<'a, V4> {
    /// Wraps the context of a hook of this family.
    #[inline(always)]
    pub fn new(context: &'a SockAddrContext) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_addr {
        self.context.sock_addr
    }

    /// The address in the system call: what is dialled, or the peer that would be answered.
    #[inline(always)]
    pub fn socket(&self) -> Socket {
        let raw = self.raw();
        // SAFETY: the context is valid while the program runs; each field is read at its own size.
        let (address, port) = unsafe {
            let port = read_volatile(addr_of!((*raw).user_port));
            let address = if V4 {
                Address::from_v4(read_volatile(addr_of!((*raw).user_ip4)))
            } else {
                let words = addr_of!((*raw).user_ip6).cast::<u32>();
                Address([
                    read_volatile(words),
                    read_volatile(words.add(1)),
                    read_volatile(words.add(2)),
                    read_volatile(words.add(3)),
                ])
            };
            (address, port)
        };
        Socket::new(address, Port((port as u16).to_ne_bytes()))
    }

    /// Replaces the address in the system call.
    #[inline(always)]
    pub fn set_socket(&self, socket: &Socket) {
        let raw = self.raw();
        let [a, b, c, d] = socket.address.0;
        // SAFETY: as in `socket`; these are the fields that the hook may write.
        unsafe {
            if V4 {
                write_volatile(addr_of_mut!((*raw).user_ip4), d);
            } else {
                let words = addr_of_mut!((*raw).user_ip6).cast::<u32>();
                write_volatile(words, a);
                write_volatile(words.add(1), b);
                write_volatile(words.add(2), c);
                write_volatile(words.add(3), d);
            }
            write_volatile(addr_of_mut!((*raw).user_port), u32::from(u16::from_ne_bytes(socket.port.0)));
        }
    }

    /// What kind of socket this is; `own_cgroup` is the gateway's.
    #[inline(always)]
    pub fn caller(&self, own_cgroup: u64) -> Caller {
        let raw = self.raw();
        // SAFETY: as in `socket`; `sk` is not null in these hooks, and its fields are read through the
        // verifier's own view of a socket. The helpers take what they are declared to take.
        unsafe {
            let kind = read_volatile(addr_of!((*raw).type_));
            let protocol = read_volatile(addr_of!((*raw).protocol));
            let sk = (*raw).__bindgen_anon_1.sk;
            let device = read_volatile(addr_of!((*sk).bound_dev_if));
            let tcp = kind == SOCK_STREAM && protocol == IPPROTO_TCP;
            let subflow = tcp && !helpers::bpf_skc_to_mptcp_sock(sk.cast()).is_null();
            Caller {
                tcp,
                mptcp: protocol == IPPROTO_MPTCP || subflow,
                bound_device: device != 0,
                own: own_cgroup != 0 && helpers::bpf_get_current_cgroup_id() == own_cgroup,
            }
        }
    }

    /// The cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns_cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { helpers::bpf_get_netns_cookie(self.context.as_ptr()) }
    }

    /// Gives the socket its pod's address, so that `getsockname` tells what it would have told. False when
    /// the socket keeps its own.
    #[inline(always)]
    pub fn bind(&self, address: &Address) -> bool {
        let [a, b, c, d] = address.0;
        if V4 {
            let mut name = SockaddrIn { family: AF_INET, port: 0, address: d, zero: [0; 2] };
            self.bind_raw(addr_of_mut!(name).cast(), size_of::<SockaddrIn>() as i32)
        } else {
            let mut name =
                SockaddrIn6 { family: AF_INET6, port: 0, flow: 0, address: [a, b, c, d], scope: 0 };
            self.bind_raw(addr_of_mut!(name).cast(), size_of::<SockaddrIn6>() as i32)
        }
    }

    #[inline(always)]
    fn bind_raw(&self, name: *mut sockaddr, length: i32) -> bool {
        // SAFETY: `name` points to `length` initialised bytes on this program's stack.
        unsafe { helpers::bpf_bind(self.raw(), name, length) == 0 }
    }

    /// True when the socket's namespace has a listener at `listener` that we have tagged.
    #[inline(always)]
    pub fn has_tagged_listener(&self, listener: &Socket) -> bool {
        // SAFETY: the tuple is initialised on this program's stack and as long as said; the socket that
        // comes back is released on every path.
        unsafe {
            let mut tuple: bpf_sock_tuple = zeroed();
            let length = if listener.address.is_v4() {
                let v4 = &mut tuple.__bindgen_anon_1.ipv4;
                v4.daddr = listener.address.0[3];
                v4.dport = u16::from_ne_bytes(listener.port.0);
                size_of_val(v4)
            } else {
                let v6 = &mut tuple.__bindgen_anon_1.ipv6;
                v6.daddr = listener.address.0;
                v6.dport = u16::from_ne_bytes(listener.port.0);
                size_of_val(v6)
            };
            let sk = helpers::bpf_sk_lookup_tcp(
                self.context.as_ptr(),
                addr_of_mut!(tuple),
                length as u32,
                BPF_F_CURRENT_NETNS as u64,
                0,
            );
            if sk.is_null() {
                return false;
            }
            let listens = read_volatile(addr_of!((*sk).state)) == TCP_LISTEN;
            let tag =
                helpers::bpf_sk_storage_get(addr_of!(LISTENERS).cast_mut().cast(), sk.cast(), null_mut(), 0);
            let ours = listens && !tag.is_null();
            helpers::bpf_sk_release(sk.cast());
            ours
        }
    }

    /// The mark that an earlier connect left at this socket.
    #[inline(always)]
    pub fn mark(&self) -> Option<SocketMark> {
        // SAFETY: the map's value is a `SocketMark`; null says that there is none.
        unsafe { MARKS.get_ptr_mut(self.context).as_ref().copied() }
    }

    /// Removes the mark that an earlier connect left at this socket: this one goes where it was dialled.
    #[inline(always)]
    pub fn forget_mark(&self) {
        // SAFETY: as in `mark`. That there was none is no error.
        unsafe {
            let sk = (*self.raw()).__bindgen_anon_1.sk;
            helpers::bpf_sk_storage_delete(addr_of!(MARKS).cast_mut().cast(), sk.cast());
        }
    }

    /// Leaves a mark at this socket. False when there was no memory for it.
    #[inline(always)]
    pub fn set_mark(&self, mark: &mut SocketMark) -> bool {
        // SAFETY: as in `mark`; the pointer is to the map's value of this socket, and its writer is the
        // connect of this socket, which holds the socket's lock.
        unsafe {
            let sk = (*self.raw()).__bindgen_anon_1.sk;
            let stored = helpers::bpf_sk_storage_get(
                addr_of!(MARKS).cast_mut().cast(),
                sk.cast(),
                addr_of_mut!(*mark).cast(),
                BPF_SK_STORAGE_GET_F_CREATE as u64,
            )
            .cast::<SocketMark>();
            if stored.is_null() {
                return false;
            }
            *stored = *mark;
            true
        }
    }
}

/// The context of sock_ops.
pub struct Segment<'a> {
    context: &'a SockOpsContext,
}

/// The two ends of a socket that is about to send its SYN, in both spellings.
pub struct Ends {
    local_v4: u32,
    local_v6: [u32; 4],
    local_port: u32,
    remote_v4: u32,
    remote_v6: [u32; 4],
    remote_port: u32,
}

impl<'a> Segment<'a> {
    /// Wraps the context.
    #[inline(always)]
    pub fn new(context: &'a SockOpsContext) -> Self {
        Self { context }
    }

    /// What the call is about.
    #[inline(always)]
    pub fn operation(&self) -> u32 {
        self.context.op()
    }

    /// The mark that the connect hook left at this socket.
    #[inline(always)]
    pub fn mark(&self) -> Option<SocketMark> {
        // SAFETY: the context is valid while the program runs; null pointers are refused before use.
        unsafe {
            let sk = (*self.context.ops).__bindgen_anon_2.sk;
            if sk.is_null() {
                return None;
            }
            let map = addr_of!(MARKS).cast_mut().cast();
            let mark = helpers::bpf_sk_storage_get(map, sk.cast(), null_mut(), 0);
            mark.cast::<SocketMark>().as_ref().copied()
        }
    }

    /// Both ends.
    #[inline(always)]
    pub fn ends(&self) -> Ends {
        let raw = self.context.ops;
        // SAFETY: as in `mark`; each field is read at its own size.
        unsafe {
            let local = addr_of!((*raw).local_ip6).cast::<u32>();
            let remote = addr_of!((*raw).remote_ip6).cast::<u32>();
            Ends {
                local_v4: read_volatile(addr_of!((*raw).local_ip4)),
                local_v6: words(local),
                local_port: read_volatile(addr_of!((*raw).local_port)),
                remote_v4: read_volatile(addr_of!((*raw).remote_ip4)),
                remote_v6: words(remote),
                remote_port: read_volatile(addr_of!((*raw).remote_port)),
            }
        }
    }
}

/// # Safety
///
/// `first` must point to four words that can be read.
#[inline(always)]
unsafe fn words(first: *const u32) -> [u32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            read_volatile(first),
            read_volatile(first.add(1)),
            read_volatile(first.add(2)),
            read_volatile(first.add(3)),
        ]
    }
}

impl Ends {
    /// The socket's own end, in the family of `v4`.
    #[inline(always)]
    pub fn local(&self, v4: bool) -> Socket {
        let address = if v4 { Address::from_v4(self.local_v4) } else { Address(self.local_v6) };
        // The kernel gives this one in host order.
        Socket::new(address, Port::new(self.local_port as u16))
    }

    /// The other end, in the family of `v4`.
    #[inline(always)]
    pub fn remote(&self, v4: bool) -> Socket {
        let address = if v4 { Address::from_v4(self.remote_v4) } else { Address(self.remote_v6) };
        // And this one in network order, in the upper half of the word on a little-endian machine.
        Socket::new(address, Port(((self.remote_port >> 16) as u16).to_ne_bytes()))
    }
}

/// A copy of a map value that the compiler may not read twice.
///
/// `value` must come from a map lookup of this program run; such a pointer stays readable, whatever
/// becomes of the element.
#[inline(always)]
pub fn copy<T: Copy>(value: *const T) -> T {
    // SAFETY: the caller's promise; a torn copy is what the seals are for.
    unsafe { read_volatile(value) }
}

/// Adds one to a per-CPU cell.
#[inline(always)]
pub fn add_one(cell: *mut u64) {
    // SAFETY: from a lookup in a per-CPU array: valid, and no other CPU writes it.
    unsafe { *cell += 1 };
}

/// Asks this CPU's account for one record.
#[inline(always)]
pub fn take_budget(budget: *mut Budget, now_ns: u64) -> bool {
    // SAFETY: as in `add_one`.
    unsafe { (*budget).take(now_ns) }
}

/// Writes a word of the state map.
#[inline(always)]
pub fn store(word: *mut u64, value: u64) {
    // SAFETY: from a lookup in an array: valid; an aligned 64-bit store is one piece.
    unsafe { write_volatile(word, value) };
}

/// `CLOCK_MONOTONIC`, nanoseconds.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes nothing.
    unsafe { helpers::bpf_ktime_get_ns() }
}

/// A number that nobody can guess.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: takes nothing.
    unsafe { helpers::bpf_get_prandom_u32() }
}

/// The current process's thread group, in the first pid namespace.
#[inline(always)]
pub fn process() -> u32 {
    // SAFETY: takes nothing.
    (unsafe { helpers::bpf_get_current_pid_tgid() } >> 32) as u32
}

/// The current process's cgroup.
#[inline(always)]
pub fn cgroup() -> u64 {
    // SAFETY: takes nothing.
    unsafe { helpers::bpf_get_current_cgroup_id() }
}

/// A thread of the gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// Its main thread.
    Main,
    /// One that may come and go.
    Other,
}

/// Which thread of process `process` of the pid namespace at `device` and `inode` this is, if any.
#[inline(always)]
pub fn thread_of(process: u32, device: u64, inode: u64) -> Option<Thread> {
    let mut info = bpf_pidns_info { pid: 0, tgid: 0 };
    let length = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: `info` is on this program's stack and as long as said.
    let found = unsafe { helpers::bpf_get_ns_current_pid_tgid(device, inode, addr_of_mut!(info), length) };
    if found != 0 || info.tgid != process {
        return None;
    }
    Some(if info.pid == process { Thread::Main } else { Thread::Other })
}

/// The signal of a `signal_deliver` event, its first argument.
#[inline(always)]
pub fn delivered_signal(event: &RawTracePointContext) -> i32 {
    event.arg(0)
}

/// `struct sockaddr_in`.
#[repr(C)]
struct SockaddrIn {
    family: u16,
    port: u16,
    address: u32,
    zero: [u32; 2],
}

/// `struct sockaddr_in6`.
#[repr(C)]
struct SockaddrIn6 {
    family: u16,
    port: u16,
    flow: u32,
    address: [u32; 4],
    scope: u32,
}
