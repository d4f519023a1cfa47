//! What became of each pod that should be captured, for the admin socket and metrics.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::netns::{NetnsError, PodAddresses, PodSockets};
use super::selection::Skip;
use super::{Hidden, Pod, PodKey};
use crate::telemetry::record::PodId;

/// Ports of a pod's loopback listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// On 127.0.0.1.
    pub v4: u16,
    /// On `[::1]`, where the namespace has IPv6.
    pub v6: Option<u16>,
}

impl Ports {
    /// The ports that the kernel chose.
    ///
    /// # Errors
    /// When a socket does not tell its address.
    pub fn of(sockets: &PodSockets) -> io::Result<Self> {
        let v6 = sockets.v6.as_ref().map(|s| s.local_addr()).transpose()?;
        Ok(Self { v4: sockets.v4.local_addr()?.port(), v6: v6.map(|a| a.port()) })
    }
}

/// A pod whose connects go through Weir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedPod {
    /// Its number in this process; a new one each time it is captured.
    pub id: PodId,
    /// `namespace/name`.
    pub name: Arc<str>,
    /// Its namespace, as the kernel knows it.
    pub netns_cookie: u64,
    /// Its own addresses.
    pub addresses: PodAddresses,
    /// Where its listeners are.
    pub ports: Ports,
}

/// Why a pod is not captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its network namespace is not there (yet).
    #[error("{0}")]
    NoNetns(String),
    /// Its loopback interface is down.
    #[error("{0}")]
    LoopbackDown(String),
    /// It lives in the host's namespace, whose connects are never touched.
    #[error("its namespace is the one Weir runs in, and connects of the host are left alone")]
    HostNetwork,
    /// Another pod has the same namespace: nobody could tell them apart.
    #[error("pod {0} has the same network namespace")]
    SharedNamespace(String),
    /// The limit on pods is reached.
    #[error("{0} pods are captured already, which is the limit")]
    TooManyPods(usize),
    /// This process may not do it.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel refused something else.
    #[error("{0}")]
    Kernel(String),
}

impl Refusal {
    /// One word for statuses and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoNetns(_) => "NoNetNS",
            Self::LoopbackDown(_) => "LoopbackDown",
            Self::HostNetwork => "HostNetwork",
            Self::SharedNamespace(_) => "SharedNetNS",
            Self::TooManyPods(_) => "TooManyPods",
            Self::NotPermitted(_) => "NotPermitted",
            Self::Kernel(_) => "KernelRefused",
        }
    }
}

impl From<NetnsError> for Refusal {
    fn from(error: NetnsError) -> Self {
        let text = error.to_string();
        match error {
            NetnsError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::NotPermitted(text)
            }
            NetnsError::Open { .. } | NetnsError::NotANamespace(_) => Self::NoNetns(text),
            NetnsError::Enter(_) | NetnsError::Hidden(Hidden::NotPermitted) => Self::NotPermitted(text),
            NetnsError::Hidden(Hidden::NoNamespace) => Self::NoNetns(text),
            NetnsError::LoopbackDown => Self::LoopbackDown(text),
            NetnsError::Listen { .. } | NetnsError::Cookie(_) | NetnsError::Addresses(_) => {
                Self::Kernel(text)
            }
        }
    }
}

/// How far a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its connects go through Weir.
    Captured(CapturedPod),
    /// They do not; tried again at each check.
    Refused(Refusal),
    /// They will, as soon as the pod has a network namespace.
    Pending,
    /// They do not, and should not.
    Skipped(Skip),
}

impl State {
    /// One word for statuses and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Captured(_) => "captured",
            Self::Refused(_) => "refused",
            Self::Pending => "pending",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// One row, for `weir status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodStatus {
    /// `namespace/name`.
    pub pod: String,
    /// Tells it from a pod that had its name before, where somebody gives one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Path of its network namespace, as configured or found.
    pub netns: Option<PathBuf>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `captured`, `pending`, `refused` or `skipped`.
    pub state: &'static str,
    /// One word, when refused or skipped.
    pub reason: Option<&'static str>,
    /// For humans, when refused or skipped.
    pub message: Option<String>,
    /// The namespace, as the kernel knows it.
    pub netns_cookie: Option<u64>,
    /// Its own addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// Where its listeners are.
    pub ports: Option<Ports>,
}

/// Shared by clones: enrolment writes, the control side reads. Never on the request path.
#[derive(Debug, Clone, Default)]
pub struct PodTable(Arc<Mutex<Rows>>);

type Rows = BTreeMap<PodKey, (Pod, State)>;

impl PodTable {
    /// The captured pod called `namespace/name`.
    pub fn captured(&self, name: &str) -> Option<CapturedPod> {
        self.lock().values().find_map(|(_, state)| match state {
            State::Captured(pod) if &*pod.name == name => Some(pod.clone()),
            _ => None,
        })
    }

    /// What became of the pod with this name and UID.
    pub fn state(&self, key: &PodKey, uid: &str) -> Option<State> {
        self.lock().get(key).filter(|(pod, _)| *pod.uid == *uid).map(|(_, state)| state.clone())
    }

    /// The namespaces of captured pods, as the kernel knows them.
    pub fn cookies(&self) -> Vec<u64> {
        let rows = self.lock();
        let captured = rows.values().filter_map(|(_, state)| match state {
            State::Captured(pod) => Some(pod.netns_cookie),
            _ => None,
        });
        captured.collect()
    }

    /// How many pods are captured, and how many should be.
    pub fn counts(&self) -> (usize, usize) {
        let rows = self.lock();
        let captured = rows.values().filter(|(_, s)| matches!(s, State::Captured(_))).count();
        let skipped = rows.values().filter(|(_, s)| matches!(s, State::Skipped(_))).count();
        (captured, rows.len() - skipped)
    }

    /// Every pod that somebody asked to capture, by name.
    pub fn rows(&self) -> Vec<PodStatus> {
        self.lock().values().map(|(pod, state)| row(pod, state)).collect()
    }

    /// Notes what became of a pod. True when that is news.
    pub(super) fn set(&self, pod: &Pod, state: State) -> bool {
        let old = self.lock().insert(pod.key.clone(), (pod.clone(), state.clone()));
        old.is_none_or(|(_, old)| old != state)
    }

    /// The pod's labels changed.
    pub(super) fn relabel(&self, pod: &Pod) {
        if let Some((known, _)) = self.lock().get_mut(&pod.key) {
            known.clone_from(pod);
        }
    }

    /// The pod should not be captured any more.
    pub(super) fn forget(&self, key: &PodKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(pod: &Pod, state: &State) -> PodStatus {
    let captured = match state {
        State::Captured(captured) => Some(captured),
        _ => None,
    };
    let (reason, message) = match state {
        State::Refused(refusal) => (Some(refusal.reason()), Some(refusal.to_string())),
        State::Skipped(skip) => (Some(skip.reason()), Some(skip.to_string())),
        State::Captured(_) | State::Pending => (None, None),
    };
    let addresses = captured.map(|c| {
        let v4 = c.addresses.v4.map(std::net::IpAddr::V4);
        v4.into_iter().chain(c.addresses.v6.map(std::net::IpAddr::V6)).collect()
    });
    PodStatus {
        pod: pod.key.to_string(),
        uid: pod.uid.to_string(),
        netns: pod.place.path().map(std::path::Path::to_path_buf),
        labels: pod.labels.clone(),
        state: state.as_str(),
        reason,
        message,
        netns_cookie: captured.map(|c| c.netns_cookie),
        addresses: addresses.unwrap_or_default(),
        ports: captured.map(|c| c.ports),
    }
}
