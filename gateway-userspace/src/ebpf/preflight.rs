//! What the datapath needs of kernel, mounts and privileges: facts are gathered, then judged.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

const CAP_NET_ADMIN: u32 = 12;
/// `/proc/PID/ns` of other users' processes.
pub const CAP_SYS_PTRACE: u32 = 19;
/// setns(2), and what was split off this one.
pub const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The oldest kernel whose BPF has what the programs use (`bpf_get_netns_cookie` in sock_ops).
const KERNEL_MIN: (u32, u32) = (5, 15);

/// What was found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Major and minor of the running kernel.
    pub kernel: (u32, u32),
    /// Effective capabilities, a bit each.
    pub capabilities: u64,
    /// Whether the kernel tells its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// The cgroup that shall be captured.
    pub cgroup: PathBuf,
    /// What lies there.
    pub cgroup_kind: CgroupKind,
    /// Where the cgroup2 hierarchy is mounted, if it is.
    pub cgroup2_mount: Option<PathBuf>,
    /// Folder for the pins.
    pub pin_root: PathBuf,
    /// Whether it lies on a bpffs.
    pub pin_root_is_bpffs: bool,
}

/// What lies at the path of the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupKind {
    /// A directory of the cgroup2 hierarchy.
    Cgroup2,
    /// Something else.
    Other,
    /// Nothing.
    Missing,
}

/// One thing that is missing, and what to do about it. One line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stays the same from version to version.
    pub code: &'static str,
    /// What is missing.
    pub problem: String,
    /// What helps.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.remedy)
    }
}

impl Facts {
    /// Looks around.
    pub fn gather(cgroup: &Path, pin_root: &Path) -> Self {
        let release = read("/proc/sys/kernel/osrelease");
        let mounts = read("/proc/self/mountinfo");
        let cgroup_kind = match filesystem(cgroup) {
            Ok(kind) if kind == CGROUP2_SUPER_MAGIC && cgroup.is_dir() => CgroupKind::Cgroup2,
            Ok(_) => CgroupKind::Other,
            Err(_) => CgroupKind::Missing,
        };
        let existing = pin_root.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        Self {
            kernel: parse_release(&release),
            capabilities: parse_capabilities(&read("/proc/self/status")),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            cgroup: cgroup.to_owned(),
            cgroup_kind,
            cgroup2_mount: super::cgroup::mount_point(&mounts),
            pin_root: pin_root.to_owned(),
            pin_root_is_bpffs: filesystem(existing).is_ok_and(|kind| kind == BPF_FS_MAGIC),
        }
    }

    /// Everything that is missing, at once. Empty when the datapath can be tried.
    pub fn findings(&self) -> Vec<Finding> {
        let finding =
            |code, problem: String, remedy: &str| Finding { code, problem, remedy: remedy.to_owned() };
        let mut findings = Vec::new();
        if self.kernel < KERNEL_MIN {
            let (major, minor) = self.kernel;
            let (need_major, need_minor) = KERNEL_MIN;
            findings.push(finding(
                "WEIR0101",
                format!("the kernel is {major}.{minor}"),
                &format!("the datapath needs {need_major}.{need_minor} or newer"),
            ));
        }
        for (capability, name) in
            [(CAP_BPF, "CAP_BPF"), (CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_PERFMON, "CAP_PERFMON")]
        {
            if !self.may(capability) {
                // Without it nothing else than the kernel's programs would work.
                let instead = match capability {
                    CAP_NET_ADMIN => "",
                    _ => {
                        ", or CAP_SYS_ADMIN, which includes it and without which no pod's network namespace is entered"
                    }
                };
                findings.push(finding(
                    "WEIR0105",
                    format!("{name} is missing"),
                    &format!("run weir as root, or add {name} to its capabilities (securityContext.capabilities.add){instead}"),
                ));
            }
        }
        if !self.btf {
            findings.push(finding(
                "WEIR0102",
                "the kernel does not tell its types (no /sys/kernel/btf/vmlinux)".to_owned(),
                "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
            ));
        }
        findings.extend(self.cgroup_finding());
        if !self.pin_root_is_bpffs {
            findings.push(finding(
                "WEIR0103",
                format!("{} is not on a bpffs", self.pin_root.display()),
                "mount one: mount -t bpf bpf /sys/fs/bpf",
            ));
        }
        findings
    }

    fn cgroup_finding(&self) -> Option<Finding> {
        let path = self.cgroup.display();
        match (self.cgroup_kind, &self.cgroup2_mount) {
            (CgroupKind::Cgroup2, _) => None,
            (CgroupKind::Other | CgroupKind::Missing, None) => Some(Finding {
                code: "WEIR0104",
                problem: "no cgroup2 hierarchy is mounted".to_owned(),
                remedy: "mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup".to_owned(),
            }),
            (CgroupKind::Other, Some(mount)) => Some(Finding {
                code: "WEIR0104",
                problem: format!("{path} is not a cgroup2 directory"),
                remedy: format!("name one below {}", mount.display()),
            }),
            (CgroupKind::Missing, Some(mount)) => Some(Finding {
                code: "WEIR0104",
                problem: format!("the cgroup {path} does not exist"),
                remedy: format!("name the cgroup of the pods, a directory below {}", mount.display()),
            }),
        }
    }

    /// CAP_SYS_ADMIN stands for what was split off it.
    fn may(&self, capability: u32) -> bool {
        self.has(capability) || capability != CAP_NET_ADMIN && self.has(CAP_SYS_ADMIN)
    }

    /// Whether this very capability is there.
    pub fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }
}

/// What cannot be read is empty, and then found missing.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn filesystem(path: &Path) -> io::Result<FsType> {
    Ok(statfs(path)?.filesystem_type())
}

/// `6.18.44-fc` → (6, 18).
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The `CapEff:` line of `/proc/self/status`.
fn parse_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};
    use super::{CgroupKind, Facts, parse_capabilities, parse_release};

    /// A machine that has everything.
    pub(crate) fn good() -> Facts {
        Facts {
            kernel: (6, 18),
            capabilities: 1 << CAP_BPF | 1 << CAP_NET_ADMIN | 1 << CAP_PERFMON,
            btf: true,
            cgroup: "/sys/fs/cgroup/kubepods".into(),
            cgroup_kind: CgroupKind::Cgroup2,
            cgroup2_mount: Some("/sys/fs/cgroup".into()),
            pin_root: "/sys/fs/bpf/weir".into(),
            pin_root_is_bpffs: true,
        }
    }

    fn lines(facts: &Facts) -> Vec<String> {
        facts.findings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_machine_with_everything_has_no_finding() {
        assert!(lines(&good()).is_empty());
        let old_style = Facts { capabilities: 1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN, ..good() };
        assert!(lines(&old_style).is_empty());
    }

    #[test]
    fn each_missing_thing_is_one_line_that_says_what_helps() {
        let without =
            |capability: u32| Facts { capabilities: good().capabilities & !(1 << capability), ..good() };
        let table = [
            (without(CAP_BPF), "CAP_BPF is missing: run weir as root"),
            (without(CAP_NET_ADMIN), "CAP_NET_ADMIN is missing: run weir as root"),
            (without(CAP_PERFMON), "CAP_PERFMON is missing: run weir as root"),
            (Facts { btf: false, ..good() }, "CONFIG_DEBUG_INFO_BTF=y"),
            (Facts { kernel: (5, 10), ..good() }, "the kernel is 5.10: the datapath needs 5.15 or newer"),
            (Facts { pin_root_is_bpffs: false, ..good() }, "mount -t bpf bpf /sys/fs/bpf"),
            (
                Facts { cgroup_kind: CgroupKind::Missing, cgroup2_mount: None, ..good() },
                "no cgroup2 hierarchy is mounted: mount one: mount -t cgroup2",
            ),
            (
                Facts { cgroup_kind: CgroupKind::Other, ..good() },
                "/sys/fs/cgroup/kubepods is not a cgroup2 directory: name one below /sys/fs/cgroup",
            ),
            (Facts { cgroup_kind: CgroupKind::Missing, ..good() }, "/sys/fs/cgroup/kubepods does not exist"),
        ];
        for (facts, expected) in table {
            let lines = lines(&facts);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(expected), "{:?} does not say {expected:?}", lines[0]);
            assert!(!lines[0].contains('\n'));
        }
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let facts = Facts { capabilities: 0, btf: false, pin_root_is_bpffs: false, ..good() };
        assert_eq!(lines(&facts).len(), 5);
    }

    #[test]
    fn kernel_release_and_capabilities_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_release("6.18.44-fc\n"), (6, 18));
        assert_eq!(parse_release("5.15.0-91-generic"), (5, 15));
        assert_eq!(parse_release(""), (0, 0));
        assert_eq!(parse_capabilities("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(parse_capabilities(""), 0);
    }
}
