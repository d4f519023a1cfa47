//! Pure: what of a machine stands in Weir's way, what that does, and what helps.

use serde::Serialize;

use super::Machine;
use crate::control::diagnostic::Severity;
use crate::ebpf::preflight::{CAP_SYS_ADMIN, CAP_SYS_PTRACE};

/// Fewer descriptors than a busy node needs: a connection takes one or two.
const DESCRIPTORS_FEW: u64 = 16 * 1024;
/// Shorter than a burst of connections.
const BACKLOG_SHORT: u64 = 1024;

/// One thing that is not as Weir wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Stays the same from version to version.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub problem: String,
    /// What does not work for it.
    pub effect: &'static str,
    /// A command, or what else helps.
    pub fix: String,
}

/// All verdicts about a machine, and how many things were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// What is wrong, the worst first.
    pub found: Vec<Verdict>,
    /// Things that were looked at and are as they should be.
    pub fine: usize,
}

const NO_CAPTURE: &str = "no pod is captured; Gateways are served";

/// Judges a machine.
pub fn verdicts(machine: &Machine) -> Verdicts {
    let checks: [fn(&Machine) -> Vec<Verdict>; 7] =
        [datapath, pods, namespaces, processes, neighbours, sockets, jit];
    let (mut found, mut fine) = (Vec::new(), 0);
    for check in checks {
        let verdicts = check(machine);
        fine += usize::from(verdicts.is_empty());
        found.extend(verdicts);
    }
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.code.cmp(b.code)));
    Verdicts { found, fine }
}

fn datapath(machine: &Machine) -> Vec<Verdict> {
    let findings = machine.datapath.findings().into_iter();
    // Where the pods' directory is missing, `pods` says so better.
    let findings = findings.filter(|finding| machine.no_pods.is_none() || finding.code != "WEIR0104");
    let verdict = |finding: crate::ebpf::preflight::Finding| Verdict {
        code: finding.code,
        severity: Severity::Error,
        problem: finding.problem,
        effect: NO_CAPTURE,
        fix: finding.remedy,
    };
    findings.map(verdict).collect()
}

fn pods(machine: &Machine) -> Vec<Verdict> {
    let verdict = |error: &String| {
        Verdict {
        code: "WEIR0106",
        severity: Severity::Error,
        problem: error.clone(),
        effect: NO_CAPTURE,
        fix: "find where the kubelet keeps its pods and name it with --cgroup: find /sys/fs/cgroup -maxdepth 4 -name 'kubepods*'".to_owned(),
    }
    };
    machine.no_pods.iter().map(verdict).collect()
}

fn namespaces(machine: &Machine) -> Vec<Verdict> {
    if machine.datapath.has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    vec![lacking("CAP_SYS_ADMIN", "no pod is captured: setns(2) into its network namespace is refused")]
}

fn lacking(name: &str, effect: &'static str) -> Verdict {
    let short = name.trim_start_matches("CAP_");
    Verdict {
        code: "WEIR0107",
        severity: Severity::Error,
        problem: format!("{name} is missing"),
        effect,
        fix: format!("add {short} to securityContext.capabilities.add of the container, or run weir as root"),
    }
}

fn processes(machine: &Machine) -> Vec<Verdict> {
    let proc = machine.processes.proc.display();
    if !machine.processes.is_there || !machine.processes.is_of_the_node {
        let problem = if machine.processes.is_there {
            format!("{proc} shows this container's processes and not the node's")
        } else {
            format!("{proc} is no proc file system")
        };
        return vec![Verdict {
            code: "WEIR0108",
            severity: Severity::Error,
            problem,
            effect: "no pod is captured: its processes, and so its network namespace, are not to be found",
            fix: "mount the node's /proc at /host/proc (hostPath), or name it with --host-proc".to_owned(),
        }];
    }
    if machine.datapath.has(CAP_SYS_PTRACE) {
        return Vec::new();
    }
    vec![lacking(
        "CAP_SYS_PTRACE",
        "pods whose processes are not root's are not captured: /proc/PID/ns/net is refused",
    )]
}

fn neighbours(machine: &Machine) -> Vec<Verdict> {
    let neighbours = match &machine.neighbours {
        Ok(neighbours) => neighbours.as_slice(),
        // What it takes to list them is told by other checks.
        Err(_) => &[],
    };
    let verdict = |neighbour: &crate::ebpf::neighbours::Neighbour| {
        let owner = neighbour.owner().map(|owner| format!(", of {owner}")).unwrap_or_default();
        Verdict {
            code: "WEIR0109",
            severity: Severity::Warning,
            problem: format!(
                "another program is at the hook {}: `{}`, id {}{owner}",
                neighbour.hook, neighbour.name, neighbour.id
            ),
            effect: "where it changes the destination first, Weir sees an endpoint instead of the Service and leaves the connection alone",
            fix: format!("see what it does: bpftool prog show id {}", neighbour.id),
        }
    };
    neighbours.iter().map(verdict).collect()
}

fn sockets(machine: &Machine) -> Vec<Verdict> {
    let mut found = Vec::new();
    if machine.descriptors < DESCRIPTORS_FEW {
        found.push(Verdict {
            code: "WEIR0110",
            severity: Severity::Warning,
            problem: format!("{} open files are allowed", machine.descriptors),
            effect: "each connection takes one or two: more of them are refused",
            fix: "raise it: ulimit -Hn 1048576, or LimitNOFILE= of the container runtime's service"
                .to_owned(),
        });
    }
    if let Some(backlog) = machine.backlog.filter(|backlog| *backlog < BACKLOG_SHORT) {
        found.push(Verdict {
            code: "WEIR0111",
            severity: Severity::Warning,
            problem: format!("net.core.somaxconn is {backlog}"),
            effect: "of a burst of connections, those that find the queue full wait for a second",
            fix: "sysctl -w net.core.somaxconn=4096".to_owned(),
        });
    }
    found
}

fn jit(machine: &Machine) -> Vec<Verdict> {
    if machine.jit != Some(0) {
        return Vec::new();
    }
    vec![Verdict {
        code: "WEIR0112",
        severity: Severity::Warning,
        problem: "net.core.bpf_jit_enable is 0".to_owned(),
        effect: "the kernel interprets its programs: every connect of every pod takes longer",
        fix: "sysctl -w net.core.bpf_jit_enable=1".to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::{Severity, verdicts};
    use crate::ebpf::neighbours::Neighbour;
    use crate::ebpf::preflight::{self, Facts};
    use crate::machine::{Machine, Processes};

    fn good() -> Machine {
        Machine {
            datapath: Facts { capabilities: u64::MAX, ..preflight::tests::good() },
            no_pods: None,
            processes: Processes { proc: "/host/proc".into(), is_there: true, is_of_the_node: true },
            neighbours: Ok(Vec::new()),
            descriptors: 1 << 20,
            backlog: Some(4096),
            jit: Some(1),
        }
    }

    fn without(capability: u32) -> Machine {
        let mut machine = good();
        machine.datapath.capabilities &= !(1 << capability);
        machine
    }

    #[test]
    fn a_good_machine_has_nothing_to_be_said_of() {
        let verdicts = verdicts(&good());
        assert_eq!((verdicts.found, verdicts.fine), (Vec::new(), 7));
    }

    #[test]
    fn each_thing_that_is_wrong_has_a_code_an_effect_and_a_fix() {
        let neighbour = Neighbour { hook: "connect4", id: 7, name: "cil_sock4_conne".to_owned() };
        let table = [
            (without(21), "WEIR0107", "CAP_SYS_ADMIN"),
            (without(19), "WEIR0107", "CAP_SYS_PTRACE"),
            (without(12), "WEIR0105", "CAP_NET_ADMIN"),
            (
                Machine { no_pods: Some("no kubepods here".to_owned()), ..good() },
                "WEIR0106",
                "no kubepods here",
            ),
            (
                Machine { processes: Processes { is_of_the_node: false, ..good().processes }, ..good() },
                "WEIR0108",
                "this container's processes",
            ),
            (Machine { neighbours: Ok(vec![neighbour]), ..good() }, "WEIR0109", "of Cilium"),
            (Machine { descriptors: 1024, ..good() }, "WEIR0110", "1024 open files"),
            (Machine { backlog: Some(128), ..good() }, "WEIR0111", "somaxconn is 128"),
            (Machine { jit: Some(0), ..good() }, "WEIR0112", "bpf_jit_enable"),
        ];
        for (machine, code, says) in table {
            let found = verdicts(&machine).found;
            let codes: Vec<_> = found.iter().map(|verdict| verdict.code).collect();
            assert_eq!(codes, [code], "{found:?}");
            assert!(found[0].problem.contains(says), "{:?} does not say {says:?}", found[0].problem);
            assert!(!found[0].effect.is_empty() && !found[0].fix.is_empty());
        }
    }

    #[test]
    fn what_keeps_pods_from_being_captured_comes_first() {
        let machine = Machine { descriptors: 1024, ..without(21) };
        let severities: Vec<_> = verdicts(&machine).found.iter().map(|verdict| verdict.severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Warning]);
    }
}
