//! Pure: whether a pod of this node is to be captured, from the labels of it and of its namespace.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::config::pod::Pod;

/// Label of a Namespace or a Pod that asks for capture; a pod's own goes before its namespace's.
pub const CAPTURE_LABEL: &str = "weir.dev/capture";

/// Annotation by which a pod says what became of that: `captured`, `pending`, `refused:<reason>` or `skipped:<reason>`.
pub const CAPTURE_STATUS_ANNOTATION: &str = "weir.dev/capture-status";

const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

/// Namespaces that a cluster needs to run: pods there are captured only when their namespace asks for it.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Annotations that an injected sidecar leaves on its pod.
const SIDECAR_ANNOTATIONS: [&str; 2] = ["sidecar.istio.io/status", "linkerd.io/proxy-version"];

/// What sidecars are called, where the annotation was dropped by a template.
const SIDECAR_CONTAINERS: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// Annotations by which the agents of other meshes say that they redirect a pod's connections.
const AMBIENT_ANNOTATIONS: [&str; 2] = ["ambient.istio.io/redirection", "kmesh.net/redirection"];

/// Annotation of the API server's copy of a static pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Label of Istio's ambient mode.
const DATAPLANE_MODE_LABEL: &str = "istio.io/dataplane-mode";

/// What is in the names of RuntimeClasses of sandboxes.
const SANDBOXES: [&str; 4] = ["kata", "gvisor", "runsc", "firecracker"];

/// What an operator chose for the whole node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionSettings {
    /// The namespace that Weir runs in: treated as one of the cluster's own.
    pub own_namespace: String,
    /// `istio.io/dataplane-mode: ambient` counts as `weir.dev/capture: enabled`, `none` as `disabled`.
    pub istio_labels: bool,
}

/// Why a pod for which capture was asked is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, thiserror::Error)]
pub enum Skip {
    /// Its namespace asks for capture, the pod itself declines.
    #[error("its own label weir.dev/capture declines what its namespace asks for")]
    OptedOut,
    /// It lives in the node's network.
    #[error("it uses the node's network, whose connections are left alone")]
    HostNetwork,
    /// Another mesh's proxy is in the pod.
    #[error("another mesh's sidecar has its connections; it is captured when it starts again without")]
    SidecarPresent,
    /// Another mesh's agent on the node redirects it.
    #[error("another mesh's agent on this node redirects its connections")]
    AmbientCaptured,
    /// The pod asks, but its namespace is one that the cluster needs, and does not ask.
    #[error(
        "its namespace is one of the cluster's own; label the namespace too if that is meant: kubectl label namespace NAME weir.dev/capture=enabled"
    )]
    SystemNamespace,
    /// It is about to end and was not captured before.
    #[error("it is about to end")]
    TerminatingPod,
    /// The kubelet made it from a file of the node: what the API server knows is its mirror, with a UID of its own.
    #[error(
        "it is a static pod, which the kubelet runs from a file of its node; a Deployment or DaemonSet can be captured"
    )]
    StaticPod,
    /// All of its containers have ended for good.
    #[error("it has ended")]
    FinishedPod,
    /// A kernel of its own makes its connections.
    #[error("its runtimeClassName is that of a sandbox, whose connections this node's kernel does not make")]
    SandboxedPod,
}

impl Skip {
    /// One word for statuses and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::OptedOut => "OptedOut",
            Self::HostNetwork => "HostNetwork",
            Self::SidecarPresent => "SidecarPresent",
            Self::AmbientCaptured => "AmbientCaptured",
            Self::SystemNamespace => "SystemNamespace",
            Self::TerminatingPod => "TerminatingPod",
            Self::StaticPod => "StaticPod",
            Self::FinishedPod => "FinishedPod",
            Self::SandboxedPod => "SandboxedPod",
        }
    }
}

/// What is to become of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Nobody asked.
    NotAsked,
    /// Its connections are to go through Weir.
    Capture,
    /// Somebody asked, but it is left alone.
    Skip(Skip),
}

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Enabled,
    Disabled,
}

/// Decides about `pod`, whose namespace has `namespace_labels`. `captured` says that it is captured already:
/// such a pod stays so while it shuts down, for it still answers its last requests.
pub fn select(
    pod: &Pod,
    namespace_labels: &BTreeMap<String, String>,
    captured: bool,
    settings: &SelectionSettings,
) -> Selection {
    let of_pod = wish(&pod.metadata.labels, settings);
    let of_namespace = wish(namespace_labels, settings);
    match (of_pod, of_namespace) {
        (Some(Wish::Enabled), _) | (None, Some(Wish::Enabled)) => {}
        (Some(Wish::Disabled), Some(Wish::Enabled)) => return Selection::Skip(Skip::OptedOut),
        (Some(Wish::Disabled) | None, _) => return Selection::NotAsked,
    }
    match obstacle(pod, of_namespace, captured, settings) {
        Some(skip) => Selection::Skip(skip),
        None => Selection::Capture,
    }
}

/// An unknown value asks for nothing.
fn wish(labels: &BTreeMap<String, String>, settings: &SelectionSettings) -> Option<Wish> {
    match labels.get(CAPTURE_LABEL).map(String::as_str) {
        Some(ENABLED) => return Some(Wish::Enabled),
        Some(DISABLED) => return Some(Wish::Disabled),
        _ => {}
    }
    let mode = labels.get(DATAPLANE_MODE_LABEL).filter(|_| settings.istio_labels)?;
    match mode.as_str() {
        "ambient" => Some(Wish::Enabled),
        "none" => Some(Wish::Disabled),
        _ => None,
    }
}

fn obstacle(
    pod: &Pod,
    of_namespace: Option<Wish>,
    captured: bool,
    settings: &SelectionSettings,
) -> Option<Skip> {
    let namespace = pod.metadata.namespace.as_str();
    let system = SYSTEM_NAMESPACES.contains(&namespace) || namespace == settings.own_namespace;
    if pod.has_ended() {
        Some(Skip::FinishedPod)
    } else if pod.spec.host_network {
        Some(Skip::HostNetwork)
    } else if is_sandboxed(pod) {
        Some(Skip::SandboxedPod)
    } else if pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        Some(Skip::StaticPod)
    } else if system && of_namespace != Some(Wish::Enabled) {
        Some(Skip::SystemNamespace)
    } else if has_sidecar(pod) {
        Some(Skip::SidecarPresent)
    } else if is_redirected(pod) {
        Some(Skip::AmbientCaptured)
    } else if pod.metadata.deletion_timestamp.is_some() && !captured && !was_captured(pod) {
        Some(Skip::TerminatingPod)
    } else {
        None
    }
}

/// By the process of Weir before this one.
fn was_captured(pod: &Pod) -> bool {
    pod.metadata.annotations.get(CAPTURE_STATUS_ANNOTATION).is_some_and(|status| status == "captured")
}

/// Virtual machines and gVisor. A RuntimeClass may have any name, but one that costs something beside the
/// containers is no other way to start a process.
fn is_sandboxed(pod: &Pod) -> bool {
    pod.spec.runtime_class_name.as_deref().is_some_and(|name| {
        !pod.spec.overhead.is_empty() || SANDBOXES.iter().any(|sandbox| name.contains(sandbox))
    })
}

fn has_sidecar(pod: &Pod) -> bool {
    SIDECAR_ANNOTATIONS.iter().any(|name| pod.metadata.annotations.contains_key(*name))
        || SIDECAR_CONTAINERS.iter().any(|name| pod.has_container(name))
}

fn is_redirected(pod: &Pod) -> bool {
    AMBIENT_ANNOTATIONS
        .iter()
        .any(|name| pod.metadata.annotations.get(*name).is_some_and(|value| value == ENABLED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::pod::{Container, PodPhase};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "shop".into();
        pod.metadata.name = "web".into();
        pod.status.phase = PodPhase::Running;
        pod
    }

    fn settings() -> SelectionSettings {
        SelectionSettings { own_namespace: "weir-system".into(), istio_labels: false }
    }

    /// What becomes of `pod` in a namespace that asks for capture.
    fn asked(pod: &Pod) -> Selection {
        select(pod, &labels(&[(CAPTURE_LABEL, "enabled")]), false, &settings())
    }

    #[test]
    fn the_label_of_the_pod_goes_before_that_of_its_namespace() {
        use Selection::{Capture, NotAsked};
        let opted_out = Selection::Skip(Skip::OptedOut);
        for (of_namespace, of_pod, wanted) in [
            ("", "", NotAsked),
            ("enabled", "", Capture),
            ("disabled", "", NotAsked),
            ("", "enabled", Capture),
            ("disabled", "enabled", Capture),
            ("enabled", "enabled", Capture),
            ("enabled", "disabled", opted_out),
            ("", "disabled", NotAsked),
            ("Enabled", "", NotAsked),
            ("enabled", "yes", Capture),
        ] {
            let mut pod = pod();
            pod.metadata.labels = labels(&[(CAPTURE_LABEL, of_pod)]);
            let namespace = labels(&[(CAPTURE_LABEL, of_namespace)]);
            let got = select(&pod, &namespace, false, &settings());
            assert_eq!(got, wanted, "namespace {of_namespace:?}, pod {of_pod:?}");
        }
    }

    #[test]
    fn a_pod_that_cannot_be_captured_is_left_alone_with_a_reason() {
        let host = |pod: &mut Pod| pod.spec.host_network = true;
        let kata = |pod: &mut Pod| pod.spec.runtime_class_name = Some("kata-qemu".into());
        let machine = |pod: &mut Pod| {
            pod.spec.runtime_class_name = Some("isolated".into());
            pod.spec.overhead = labels(&[("memory", "160Mi")]);
        };
        let mirror = |pod: &mut Pod| pod.metadata.annotations = labels(&[(MIRROR_ANNOTATION, "0a1b")]);
        let sidecar = |pod: &mut Pod| pod.spec.containers.push(Container { name: "istio-proxy".into() });
        let native =
            |pod: &mut Pod| pod.spec.init_containers.push(Container { name: "linkerd-proxy".into() });
        let injected =
            |pod: &mut Pod| pod.metadata.annotations = labels(&[("sidecar.istio.io/status", "{}")]);
        let ambient =
            |pod: &mut Pod| pod.metadata.annotations = labels(&[("ambient.istio.io/redirection", "enabled")]);
        let ending = |pod: &mut Pod| pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let done = |pod: &mut Pod| pod.status.phase = PodPhase::Succeeded;
        let failed = |pod: &mut Pod| pod.status.phase = PodPhase::Failed;
        let changes = [
            (host as fn(&mut Pod), Skip::HostNetwork),
            (kata, Skip::SandboxedPod),
            (machine, Skip::SandboxedPod),
            (mirror, Skip::StaticPod),
            (sidecar, Skip::SidecarPresent),
            (native, Skip::SidecarPresent),
            (injected, Skip::SidecarPresent),
            (ambient, Skip::AmbientCaptured),
            (ending, Skip::TerminatingPod),
            (done, Skip::FinishedPod),
            (failed, Skip::FinishedPod),
        ];
        for (change, wanted) in changes {
            let mut pod = pod();
            change(&mut pod);
            assert_eq!(asked(&pod), Selection::Skip(wanted));
            // Nobody hears of pods that nobody asked to capture.
            assert_eq!(select(&pod, &BTreeMap::new(), false, &settings()), Selection::NotAsked);
        }
    }

    #[test]
    fn a_runtime_class_that_is_no_sandbox_is_captured() {
        let mut pod = pod();
        pod.spec.runtime_class_name = Some("nvidia".into());
        assert_eq!(asked(&pod), Selection::Capture);
    }

    #[test]
    fn a_captured_pod_stays_captured_while_it_shuts_down() {
        let mut pod = pod();
        pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let namespace = labels(&[(CAPTURE_LABEL, "enabled")]);
        assert_eq!(select(&pod, &namespace, true, &settings()), Selection::Capture);
        pod.status.phase = PodPhase::Succeeded;
        assert_eq!(select(&pod, &namespace, true, &settings()), Selection::Skip(Skip::FinishedPod));
    }

    #[test]
    fn a_pod_that_shuts_down_while_weir_is_replaced_stays_captured() {
        let mut pod = pod();
        pod.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        let namespace = labels(&[(CAPTURE_LABEL, "enabled")]);
        let fresh = |pod: &Pod| select(pod, &namespace, false, &settings());
        assert_eq!(fresh(&pod), Selection::Skip(Skip::TerminatingPod));
        pod.metadata.annotations = labels(&[(CAPTURE_STATUS_ANNOTATION, "captured")]);
        assert_eq!(fresh(&pod), Selection::Capture);
        pod.metadata.annotations = labels(&[(CAPTURE_STATUS_ANNOTATION, "skipped:OptedOut")]);
        assert_eq!(fresh(&pod), Selection::Skip(Skip::TerminatingPod));
    }

    #[test]
    fn a_namespace_of_the_clusters_own_must_ask_itself() {
        for namespace in ["kube-system", "weir-system"] {
            let mut pod = pod();
            pod.metadata.namespace = namespace.into();
            pod.metadata.labels = labels(&[(CAPTURE_LABEL, "enabled")]);
            let got = select(&pod, &BTreeMap::new(), false, &settings());
            assert_eq!(got, Selection::Skip(Skip::SystemNamespace));
            assert_eq!(asked(&pod), Selection::Capture);
        }
    }

    #[test]
    fn istios_label_counts_only_when_the_operator_says_so_and_never_before_our_own() {
        let ambient = labels(&[(DATAPLANE_MODE_LABEL, "ambient")]);
        let compatible = SelectionSettings { istio_labels: true, ..settings() };
        assert_eq!(select(&pod(), &ambient, false, &settings()), Selection::NotAsked);
        assert_eq!(select(&pod(), &ambient, false, &compatible), Selection::Capture);
        let mut declined = pod();
        declined.metadata.labels = labels(&[(DATAPLANE_MODE_LABEL, "none")]);
        assert_eq!(select(&declined, &ambient, false, &compatible), Selection::Skip(Skip::OptedOut));
        let both = labels(&[(DATAPLANE_MODE_LABEL, "ambient"), (CAPTURE_LABEL, "disabled")]);
        assert_eq!(select(&pod(), &both, false, &compatible), Selection::NotAsked);
    }
}
