//! Pure: which pod a process belongs to, from the text of its `/proc/PID/cgroup`.
//!
//! Kubelets name the directory of a pod after its UID: `kubepods/burstable/pod<UID>` with the driver
//! `cgroupfs`, `kubepods-burstable.slice/kubepods-burstable-pod<UID with underscores>.slice` with `systemd`.
//! What is above it depends on the machine and on the reader's cgroup namespace, in which `..` may stand for
//! it; what is below, on the container runtime. Neither counts.

/// Bytes of a UID as text: 8-4-4-4-12 hexadecimal digits.
const UID_BYTES: usize = 36;

/// The same without the dashes, as static pods have it.
const HASH_BYTES: usize = 32;

/// UID of the pod in whose cgroup the process is, as the API writes it. `None` for any other process.
///
/// Of nested pods the outermost one: a pod that may make cgroups cannot pass for another pod.
pub fn pod_of(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| uid_in_path(path_of(line)?))
}

/// UID of the pod whose directory `name` is.
pub fn uid_of_directory(name: &str) -> Option<String> {
    // A runtime that takes the systemd driver's name for a directory adds `:cri-containerd:ID` to it.
    let name = name.split_once(':').map_or(name, |(slice, _)| slice);
    // That name says where the slice is: kubepods-burstable-pod….slice.
    let own = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod").map(|(_, own)| own)?,
        None => name.strip_prefix("pod")?,
    };
    let uid = own.replace('_', "-");
    is_uid(&uid).then_some(uid)
}

/// `HIERARCHY:CONTROLLERS:PATH`; the path may contain colons.
fn path_of(line: &str) -> Option<&str> {
    line.splitn(3, ':').nth(2)
}

fn uid_in_path(path: &str) -> Option<String> {
    path.split('/').find_map(uid_of_directory)
}

fn is_uid(text: &str) -> bool {
    let dashes = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    match text.len() {
        UID_BYTES => text.bytes().enumerate().all(|(at, byte)| match dashes(at) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        }),
        HASH_BYTES => text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    const UID_: &str = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9";

    #[test]
    fn every_driver_runtime_and_hierarchy_names_the_pod() {
        let id = "2c0c5b0e7d".repeat(6);
        for path in [
            // cgroup v2, cgroupfs: guaranteed, burstable, below another root, seen from another namespace.
            format!("0::/kubepods/pod{UID}/{id}"),
            format!("0::/kubepods/burstable/pod{UID}/{id}"),
            format!("0::/kubelet/kubepods/besteffort/pod{UID}/{id}"),
            format!("0::/../../pod{UID}/{id}"),
            format!("0::/../../../burstable/pod{UID}/{id}/init.scope"),
            // systemd, containerd and CRI-O, with the container's conmon beside it.
            format!("0::/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{id}.scope"),
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{id}.scope"
            ),
            format!("0::/../kubepods-besteffort-pod{UID_}.slice/crio-conmon-{id}.scope"),
            format!(
                "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/x.scope/container"
            ),
            // The kubelet's driver is systemd, the runtime's is not.
            format!(
                "0::/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{id}"
            ),
            // cgroup v1 and hybrid: one line a hierarchy.
            format!(
                "12:memory:/kubepods/burstable/pod{UID}/{id}\n1:name=systemd:/kubepods/burstable/pod{UID}/{id}"
            ),
            format!("4:cpu,cpuacct:/system.slice/other\n3:memory:/kubepods/pod{UID}/{id}\n0::/"),
        ] {
            assert_eq!(pod_of(&path).as_deref(), Some(UID), "{path}");
        }
        let hash = UID.replace('-', "");
        assert_eq!(pod_of(&format!("0::/kubepods/burstable/pod{hash}/{id}")), Some(hash));
    }

    #[test]
    fn a_process_outside_of_pods_belongs_to_none() {
        for path in [
            "0::/",
            "0::/init.scope",
            "0::/system.slice/containerd.service",
            "0::/kubepods.slice/kubepods-burstable.slice",
            "0::/machine.slice/libpod-0a1b2c3d.scope",
            "0::/pod",
            "0::/podman-pod.slice/x",
            "12:memory:",
            "nonsense",
            "",
        ] {
            assert_eq!(pod_of(path), None, "{path}");
        }
    }

    #[test]
    fn a_pod_that_makes_cgroups_cannot_pass_for_another() {
        let other = UID.replace('0', "f");
        let path = format!("0::/kubepods/pod{UID}/c1/kubepods/pod{other}/c2");
        assert_eq!(pod_of(&path).as_deref(), Some(UID));
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_found_is_a_uid(text in "[-0-9a-f_:/.podslice\n]{0,200}") {
            if let Some(uid) = pod_of(&text) {
                prop_assert!(is_uid(&uid));
            }
        }

        #[test]
        fn the_uid_comes_back_whatever_stands_around_it(
            above in "(/[a-z.]{1,9}){0,4}",
            below in "(/[a-z0-9.-]{1,20}){0,3}",
            uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ) {
            prop_assert_eq!(pod_of(&format!("0::{above}/pod{uid}{below}")), Some(uid.clone()));
            let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
            prop_assert_eq!(pod_of(&format!("0::{above}/{slice}{below}")), Some(uid));
        }
    }
}
