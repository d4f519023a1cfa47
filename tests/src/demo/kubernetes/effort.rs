//! How much of everything is played.

use std::time::Duration;

/// A scene between installation and removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// Two Gateways with the same port.
    Gateways,
    /// Rolling updates of the backend.
    Rollouts,
    /// A node's Weir is killed.
    Killed,
    /// The DaemonSet is upgraded.
    Upgrade,
    /// Pods come and go.
    Pods,
    /// Endpoints change.
    Changes,
    /// The API server is away.
    Outage,
}

/// How much of everything, and which scenes in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effort {
    /// Rolling updates.
    pub rollouts: u32,
    /// Pods that are created and deleted.
    pub pods: u32,
    /// Changes of endpoints.
    pub changes: u32,
    /// Services among which they change.
    pub services: u32,
    /// Endpoints of all these Services together.
    pub endpoints: u32,
    /// How long the API server is away at least.
    pub outage: Duration,
    /// What is played.
    pub scenes: Vec<Scene>,
}

impl Effort {
    /// A few of everything.
    pub fn of_demo() -> Self {
        use Scene::{Changes, Gateways, Killed, Outage, Pods, Rollouts, Upgrade};
        Self {
            rollouts: 5,
            pods: 20,
            changes: 40,
            services: 200,
            endpoints: 2000,
            outage: Duration::from_secs(3),
            scenes: vec![Gateways, Rollouts, Killed, Upgrade, Pods, Changes, Outage],
        }
    }

    /// What the tests have time for.
    pub fn of_tests() -> Self {
        Self { rollouts: 20, pods: 40, services: 1000, endpoints: 10_000, ..Self::of_demo() }
    }

    /// All that is promised.
    pub fn full() -> Self {
        Self { pods: 500, changes: 500, outage: Duration::from_secs(600), ..Self::of_tests() }
    }
}
