//! The kubelet's directories of pods in the cgroup trees: where they are, and a notice when one gets a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::pod_cgroup::uid_of_directory;
use crate::capture::cgroup::KUBEPODS;

/// Hierarchies below `/sys/fs/cgroup`: that of cgroup v2, the hybrid one, and those of v1 in which every
/// runtime puts its containers.
const HIERARCHIES: [&str; 5] = ["", "unified", "systemd", "memory", "cpu"];

/// The kubelet's directory of pods below `cgroups` (`/sys/fs/cgroup`), in the first hierarchy that has one.
pub fn find_root(cgroups: &Path) -> Option<PathBuf> {
    let hierarchies = HIERARCHIES.iter().map(|name| cgroups.join(name));
    hierarchies.flat_map(|at| KUBEPODS.map(|root| at.join(root))).find(|path| path.is_dir())
}

/// `kubepods` itself, for guaranteed pods, and its directories of the other classes of service.
fn parents(root: &Path) -> Vec<PathBuf> {
    let children = std::fs::read_dir(root).into_iter().flatten().flatten();
    let classes = children.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let class = name.strip_suffix(".slice").unwrap_or(&name);
        ["besteffort", "burstable"].iter().any(|known| class.ends_with(known))
    });
    std::iter::once(root.to_path_buf()).chain(classes).collect()
}

/// Watches the directories of pods that are waited for.
#[derive(Debug)]
pub struct Kubepods {
    watcher: RecommendedWatcher,
    cgroups: PathBuf,
    parents: Vec<PathBuf>,
    pods: BTreeMap<String, PathBuf>,
}

impl Kubepods {
    /// Watches below `cgroups`; `changed` is called from another thread with the directory that was made.
    ///
    /// # Errors
    /// When the kernel gives no watch.
    pub fn watch(cgroups: &Path, changed: impl Fn(PathBuf) + Send + 'static) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_create() {
                event.paths.into_iter().for_each(&changed);
            }
        })?;
        let mut kubepods =
            Self { watcher, cgroups: cgroups.to_path_buf(), parents: Vec::new(), pods: BTreeMap::new() };
        kubepods.look_for_parents();
        Ok(kubepods)
    }

    /// The kubelet makes its directories when it starts, maybe later than Weir; and makes them anew.
    pub fn look_for_parents(&mut self) {
        self.parents.retain(|path| path.is_dir());
        let Some(root) = find_root(&self.cgroups) else { return };
        for parent in parents(&root) {
            if !self.parents.contains(&parent)
                && self.watcher.watch(&parent, RecursiveMode::NonRecursive).is_ok()
            {
                tracing::debug!(path = %parent.display(), "watching for pods");
                self.parents.push(parent);
            }
        }
    }

    /// Watches the directory of a pod, if it is there.
    pub fn want(&mut self, uid: &str) {
        if self.pods.contains_key(uid) {
            return;
        }
        let named = [format!("pod{uid}"), format!("pod{}.slice", uid.replace('-', "_"))];
        let found = self.parents.iter().find_map(|parent| {
            // kubepods-burstable.slice holds kubepods-burstable-pod….slice.
            let prefix = parent.file_name()?.to_string_lossy().strip_suffix(".slice").map(str::to_owned);
            let slice = prefix.map(|prefix| parent.join(format!("{prefix}-{}", named[1])));
            std::iter::once(parent.join(&named[0])).chain(slice).find(|path| path.is_dir())
        });
        if let Some(path) = found {
            self.enter(uid, path);
        }
    }

    /// Watches the directory of a pod that was just made. False when `path` is no pod's that `is_wanted`,
    /// or below one.
    pub fn made(&mut self, path: &Path, is_wanted: impl Fn(&str) -> bool) -> bool {
        let uid = |path: &Path| uid_of_directory(&path.file_name()?.to_string_lossy());
        if let Some(uid) = uid(path).filter(|uid| is_wanted(uid)) {
            self.enter(&uid, path.to_path_buf());
            return true;
        }
        if self.parents.iter().any(|parent| path.parent() == Some(parent)) {
            self.look_for_parents();
        }
        path.parent().and_then(uid).is_some_and(|uid| is_wanted(&uid))
    }

    /// No longer watches the pod's directory.
    pub fn forget(&mut self, uid: &str) {
        if let Some(path) = self.pods.remove(uid) {
            // Gone with its directory, if that is gone.
            drop(self.watcher.unwatch(&path));
        }
    }

    fn enter(&mut self, uid: &str, path: PathBuf) {
        if self.watcher.watch(&path, RecursiveMode::NonRecursive).is_ok() {
            self.pods.insert(uid.to_owned(), path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::create_dir_all;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn the_kubelets_directory_is_found_in_each_kind_of_tree() {
        for (tree, wanted) in [
            ("kubepods/burstable", "kubepods"),
            ("unified/kubepods", "unified/kubepods"),
            ("memory/kubepods.slice", "memory/kubepods.slice"),
            ("kubelet.slice/kubelet-kubepods.slice", "kubelet.slice/kubelet-kubepods.slice"),
        ] {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(find_root(root.path()), None);
            create_dir_all(root.path().join(tree)).unwrap();
            assert_eq!(find_root(root.path()), Some(root.path().join(wanted)));
        }
    }

    /// Makes the directories of one pod and its container, and says what was noticed of it.
    fn noticed(class: &str, pod: &str, before: bool) -> Vec<bool> {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join(class);
        create_dir_all(&class).unwrap();
        let (pod, other) = (class.join(pod), class.join("pod-of-another"));
        if before {
            create_dir_all(&pod).unwrap();
        }
        let (made, paths) = channel();
        let mut kubepods = Kubepods::watch(root.path(), move |path| made.send(path).unwrap()).unwrap();
        kubepods.want(UID);
        create_dir_all(&other).unwrap();
        let mut seen = vec![kubepods.made(&paths.recv_timeout(PATIENCE).unwrap(), |uid| uid == UID)];
        if !before {
            create_dir_all(&pod).unwrap();
            seen.push(kubepods.made(&paths.recv_timeout(PATIENCE).unwrap(), |uid| uid == UID));
        }
        create_dir_all(pod.join("container")).unwrap();
        seen.push(kubepods.made(&paths.recv_timeout(PATIENCE).unwrap(), |uid| uid == UID));
        seen
    }

    #[test]
    fn a_pod_that_is_waited_for_is_noticed_with_its_first_container() {
        let slice = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
        for (class, pod) in [
            ("kubepods", format!("pod{UID}")),
            ("kubepods/burstable", format!("pod{UID}")),
            ("unified/kubepods/besteffort", format!("pod{UID}")),
            ("kubepods.slice/kubepods-burstable.slice", slice),
        ] {
            assert_eq!(noticed(class, &pod, false), [false, true, true], "{class}");
            assert_eq!(noticed(class, &pod, true), [false, true], "{class}, there before");
        }
    }
}
