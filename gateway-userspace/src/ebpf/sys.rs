//! The bpf(2) commands that aya lacks. The only system calls of the datapath that are not aya's.
#![expect(unsafe_code, reason = "bpf(2) takes a pointer to a command's attributes")]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;

const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const MAP_LOOKUP_AND_DELETE_ELEM: u32 = 21;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `enum bpf_attach_type`, as far as we attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum AttachType {
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    GetPeerName4 = 29,
    GetPeerName6 = 30,
}

/// What the kernel says about a cgroup link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CgroupLink {
    /// Id of the cgroup; 0 when the cgroup is gone and the link with it.
    pub(super) cgroup: u64,
}

#[repr(C)]
struct ObjectAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkUpdateAttr {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct LinkDetachAttr {
    link: u32,
}

#[repr(C)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
}

/// `struct bpf_link_info` up to the cgroup's part.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    cgroup: u64,
    attach_type: u32,
    pad2: u32,
}

/// One bpf(2) call.
///
/// # Safety
///
/// `attr` must be the attributes of `command`, and every pointer in it valid for what the kernel reads
/// and writes there.
unsafe fn bpf<T>(command: u32, attr: &T) -> io::Result<i64> {
    // SAFETY: the kernel reads `size_of_val(attr)` bytes at `attr`; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let attr = ObjectAttr { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { bpf(OBJ_GET, &attr) }?)
}

/// Pins a map, program or link.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let attr = ObjectAttr { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { bpf(OBJ_PIN, &attr) }.map(drop)
}

/// Attaches a program to a cgroup; it stays as long as the link is open or pinned.
pub(super) fn link_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    // Flags must be 0: the kernel lets cgroup links share a hook anyway.
    let attr = LinkCreateAttr {
        program: raw(program),
        target: raw(cgroup),
        attach_type: attach_type as u32,
        flags: 0,
    };
    // SAFETY: no pointers.
    owned(unsafe { bpf(LINK_CREATE, &attr) }?)
}

/// Puts another program behind a link, in one step.
pub(super) fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attr = LinkUpdateAttr { link: raw(link), program: raw(program), flags: 0, old_program: 0 };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_UPDATE, &attr) }.map(drop)
}

/// Detaches a link for everybody who holds it.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &LinkDetachAttr { link: raw(link) }) }.map(drop)
}

/// Asks where a cgroup link is attached.
pub(super) fn cgroup_link(link: BorrowedFd<'_>) -> io::Result<CgroupLink> {
    let mut info = LinkInfo::default();
    let attr = InfoAttr {
        fd: raw(link),
        length: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is as long as said and outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &attr) }?;
    Ok(CgroupLink { cgroup: info.cgroup })
}

/// Takes an element out of a hash map in one call. `None` when there is none.
pub(super) fn take<K: Pod, V: Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let attr = ElementAttr {
        map: raw(map),
        pad: 0,
        key: std::ptr::from_ref(key) as u64,
        value: std::ptr::from_mut(&mut value) as u64,
        flags: 0,
    };
    // SAFETY: key and value are `Pod` types of the map's own sizes (`pins` has compared its shape).
    match unsafe { bpf(MAP_LOOKUP_AND_DELETE_ELEM, &attr) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The numbers of the programs that run at a hook for processes of a cgroup, in their order.
pub(super) fn cgroup_programs(cgroup: BorrowedFd<'_>, attach_type: AttachType) -> io::Result<Vec<u32>> {
    /// Those of the cgroups above count too.
    const EFFECTIVE: u32 = 1;
    /// The kernel's own limit for a hook.
    const PROGRAMS_MAX: usize = 64;
    let mut programs = [0u32; PROGRAMS_MAX];
    let mut attr = QueryAttr {
        target: raw(cgroup),
        attach_type: attach_type as u32,
        query_flags: EFFECTIVE,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: PROGRAMS_MAX as u32,
        pad: 0,
    };
    let pointer = std::ptr::from_mut(&mut attr);
    // SAFETY: the kernel writes into `programs` and `attr`, which outlive the call, as many as `count` says.
    unsafe { bpf(PROG_QUERY, &*pointer) }?;
    // SAFETY: it is ours; the kernel has written to it behind the compiler's back.
    let count = unsafe { std::ptr::read_volatile(&raw const (*pointer).count) };
    Ok(programs.iter().take(count as usize).copied().collect())
}
