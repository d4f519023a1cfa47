//! Programs of others at the hooks: beside Weir's, and in its place.
#![expect(unsafe_code, reason = "bpf(2) takes addresses as numbers")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use gateway_tests::pod::Node;
use gateway_tests::pod::stand_in::options;
use gateway_userspace::ebpf::{Datapath, neighbours};

use crate::fixture::{Gateway, Pins, connect, turn};

const SERVICE: &str = "10.96.0.1:80";

// From linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_INET4_CONNECT: u32 = 10;
const ALLOW_MULTI: u32 = 2;

/// `r0 = 1; exit`: every connect is let pass.
const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
/// As Cilium's is called, as far as the kernel keeps it.
const NAME: [u8; 16] = *b"cil_sock4_conne\0";

#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// A program that hangs at connect4 of a cgroup for as long as this lives.
struct Foreign {
    cgroup: File,
    program: OwnedFd,
}

impl Foreign {
    fn attach(cgroup: &Path, flags: u32) -> io::Result<Self> {
        let load = Load {
            kind: CGROUP_SOCK_ADDR,
            count: 2,
            instructions: INSTRUCTIONS.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            log: [0; 4],
            version: 0,
            flags: 0,
            name: NAME,
            interface: 0,
            attach_type: CGROUP_INET4_CONNECT,
        };
        let number = bpf(PROG_LOAD, &load)?;
        // SAFETY: the kernel has just made it, for nobody else.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        let foreign = Self { cgroup: File::open(cgroup)?, program };
        foreign.call(PROG_ATTACH, flags)?;
        Ok(foreign)
    }

    fn call(&self, command: libc::c_int, flags: u32) -> io::Result<()> {
        let fd = |fd: i32| u32::try_from(fd).unwrap_or_default();
        let (cgroup, program) = (fd(self.cgroup.as_raw_fd()), fd(self.program.as_raw_fd()));
        bpf(command, &[cgroup, program, CGROUP_INET4_CONNECT, flags]).map(drop)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.call(PROG_DETACH, 0).unwrap();
    }
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes of the attributes as it is told, and what they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    match i32::try_from(result) {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn a_program_of_another_that_shares_the_hook_is_named_and_works_beside_weirs() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("beside", 1, &[]).unwrap();
    let _pins = Pins(options(&node));
    let _foreign = Foreign::attach(node.cgroup(), ALLOW_MULTI).unwrap();
    let found = neighbours::of(node.cgroup()).unwrap();
    let found: Vec<_> = found.iter().map(|neighbour| (neighbour.hook, neighbour.owner())).collect();
    assert_eq!(found, [("connect4", Some("Cilium"))]);
    let _gateway = Gateway::start(&node, &format!("--service {SERVICE}=l7,closed"));
    assert_eq!(connect(node.pod(0), SERVICE).answer(), "proxy got 10.96.0.1:80");
}

#[test]
fn a_program_of_another_that_has_the_hook_for_itself_is_named_and_when_it_goes_weir_comes() {
    let Some(_turn) = turn() else { return };
    let node = Node::make("alone", 1, &[]).unwrap();
    let options = options(&node);
    let _pins = Pins(options.clone());
    let foreign = Foreign::attach(node.cgroup(), 0).unwrap();
    let refused = Datapath::open(&options).unwrap_err().to_string();
    assert!(refused.contains("`cil_sock4_conne`") && refused.contains("of Cilium"), "{refused}");
    assert!(refused.contains("BPF_F_ALLOW_MULTI"), "{refused}");
    drop(foreign);
    Datapath::open(&options).unwrap();
}
