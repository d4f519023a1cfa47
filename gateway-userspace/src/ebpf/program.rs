//! The programs: loaded with this process's constants, verified, and behind links that outlive it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::programs::{CgroupSockAddr, Program, ProgramError, RawTracePoint, SockOps};
use aya::{Ebpf, EbpfLoader};
use gateway_common::names::{self, CGROUP_PROGRAMS, SHAPES, global};

use super::neighbours;
use super::pins::Pins;
use super::sys::{self, AttachType};
use super::{DatapathError, DatapathOptions, cgroup, kernel_log};

/// Aligned, because the ELF parser reads words in place.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/weir.bpf.o")));

/// The object in this binary, if there is one.
pub(super) fn object() -> Option<&'static [u8]> {
    let bytes = &OBJECT.0;
    (!bytes.is_empty()).then_some(bytes)
}

/// What the programs are told about this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Constants {
    own_cgroup: u64,
    stale_ns: u64,
    forget_ns: u64,
    /// The number in the alive word while this process owns the datapath. Never 0.
    pub(super) incarnation: u64,
    process: u32,
    pidns_device: u64,
    pidns_inode: u64,
    log: u32,
}

impl Constants {
    pub(super) fn new(options: &DatapathOptions) -> Result<Self, DatapathError> {
        let path = Path::new("/proc/self/ns/pid");
        let pidns =
            fs::metadata(path).map_err(|source| DatapathError::Pin { path: path.to_owned(), source })?;
        // The kernel's own encoding of a device differs from the one of stat(2).
        let device = pidns.dev();
        let kernel_device = u64::from(libc::major(device)) << 20 | u64::from(libc::minor(device));
        Ok(Self {
            own_cgroup: cgroup::own_id(&options.cgroup).unwrap_or(0),
            stale_ns: nanos(options.stale_after),
            forget_ns: options.forget_after.map_or(0, nanos),
            incarnation: fastrand::u64(1..),
            process: std::process::id(),
            pidns_device: kernel_device,
            pidns_inode: pidns.ino(),
            log: u32::from(options.debug_log),
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Loads the object: maps are made or taken from their pins, programs are verified.
pub(super) fn load(object: &[u8], pins: &Pins, constants: &Constants) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    loader
        .override_global(global::OWN_CGROUP, &constants.own_cgroup, true)
        .override_global(global::STALE_NS, &constants.stale_ns, true)
        .override_global(global::FORGET_NS, &constants.forget_ns, true)
        .override_global(global::INCARNATION, &constants.incarnation, true)
        .override_global(global::PROCESS, &constants.process, true)
        .override_global(global::PIDNS_DEVICE, &constants.pidns_device, true)
        .override_global(global::PIDNS_INODE, &constants.pidns_inode, true)
        .override_global(global::LOG, &constants.log, true);
    kernel_log::shrink(&mut loader, constants.log != 0);
    for shape in &SHAPES {
        loader.map_pin_path(shape.name, pins.map(shape.name));
    }
    let mut ebpf = loader.load(object).map_err(DatapathError::Load)?;
    for (name, program) in ebpf.programs_mut() {
        load_program(program)
            .map_err(|source| DatapathError::Program { program: name.to_owned(), source })?;
    }
    Ok(ebpf)
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Watches this process: the links are not pinned and go with it.
pub(super) fn watch_own_exit(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    watch(ebpf, names::SIGNAL_DELIVER, "signal_deliver")?;
    watch(ebpf, names::PROCESS_EXIT, "sched_process_exit")
}

fn watch(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), DatapathError> {
    let error = |source| DatapathError::Program { program: name.to_owned(), source };
    let program = ebpf.program_mut(name).ok_or_else(|| error(ProgramError::NotLoaded))?;
    let program: &mut RawTracePoint = program.try_into().map_err(error)?;
    program.attach(tracepoint).map(drop).map_err(error)
}

/// The links by which the programs hang at the cgroup.
#[derive(Debug)]
pub(super) struct Links {
    cgroup: PathBuf,
    /// Id of the directory that they hang at.
    id: u64,
    links: Vec<OwnedFd>,
}

impl Links {
    /// Puts the programs behind the pinned links, or makes and pins new ones.
    pub(super) fn attach(ebpf: &Ebpf, pins: &Pins, cgroup: &Path) -> Result<Self, DatapathError> {
        let error = |source| DatapathError::Cgroup { path: cgroup.to_owned(), source };
        let directory = File::open(cgroup).map_err(error)?;
        let id = directory.metadata().map_err(error)?.ino();
        let mut links = Vec::new();
        for name in CGROUP_PROGRAMS {
            links.push(attach_one(ebpf, name, &pins.link(name), &directory, id).map_err(|source| {
                let held = match source.kind() {
                    io::ErrorKind::PermissionDenied => neighbours::that_hold(cgroup, name),
                    _ => String::new(),
                };
                DatapathError::Attach { program: name, cgroup: cgroup.to_owned(), source, held }
            })?);
        }
        Ok(Self { cgroup: cgroup.to_owned(), id, links })
    }

    /// True when the cgroup was removed, and another directory may be in its place.
    pub(super) fn are_stale(&self) -> bool {
        let detached = |link: &OwnedFd| sys::cgroup_link(link.as_fd()).is_ok_and(|link| link.cgroup == 0);
        cgroup::id(&self.cgroup).is_some_and(|id| id != self.id) || self.links.first().is_some_and(detached)
    }

    /// The cgroup's path.
    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }
}

fn attach_one(ebpf: &Ebpf, name: &str, pin: &Path, directory: &File, id: u64) -> io::Result<OwnedFd> {
    let (program, attach_type) = program(ebpf, name)?;
    let pinned = match sys::open_pin(pin) {
        Ok(link) => Some(link),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(link) = pinned {
        // A link whose cgroup was removed says 0 and cannot be updated any more.
        if sys::cgroup_link(link.as_fd())?.cgroup == id {
            sys::replace_program(link.as_fd(), program)?;
            return Ok(link);
        }
        let new = sys::link_cgroup(program, directory.as_fd(), attach_type)?;
        fs::remove_file(pin)?;
        sys::pin(new.as_fd(), pin)?;
        return Ok(new);
    }
    let new = sys::link_cgroup(program, directory.as_fd(), attach_type)?;
    sys::pin(new.as_fd(), pin)?;
    Ok(new)
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> io::Result<(std::os::fd::BorrowedFd<'a>, AttachType)> {
    let attach_type = match name {
        names::SOCK_OPS => AttachType::SockOps,
        names::CONNECT4 => AttachType::Connect4,
        names::CONNECT6 => AttachType::Connect6,
        names::GETPEERNAME4 => AttachType::GetPeerName4,
        names::GETPEERNAME6 => AttachType::GetPeerName6,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let program = ebpf.program(name).ok_or(io::ErrorKind::NotFound)?;
    let fd = match attach_type {
        AttachType::SockOps => <&SockOps>::try_from(program).and_then(|program| program.fd()),
        AttachType::Connect4 | AttachType::Connect6 | AttachType::GetPeerName4 | AttachType::GetPeerName6 => {
            <&CgroupSockAddr>::try_from(program).and_then(|program| program.fd())
        }
    };
    Ok((fd.map_err(io::Error::other)?.as_fd(), attach_type))
}
