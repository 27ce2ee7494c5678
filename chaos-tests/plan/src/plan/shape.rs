//! The cluster that a plan begins with.

use serde::{Deserialize, Serialize};

/// How many of what, and how it is set. Small thresholds make rare things common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Controllers, all voting.
    pub controllers: u32,
    /// Workers.
    pub workers: u32,
    /// Zones; controllers and workers are dealt to them in turn.
    pub zones: u32,
    /// CPU of each worker, in thousandths of a core.
    pub node_cpu_m: u64,
    /// Memory of each worker, MiB.
    pub node_memory_mib: u64,
    /// Pods that each worker takes.
    pub node_pods: u32,
    /// A snapshot is taken after so many entries; half as many stay behind it.
    pub snapshot_entries: u64,
    /// Silence after which a worker's pods are replaced.
    pub node_grace_ms: u64,
    /// The shortest election timeout.
    pub election_ms: u64,
    /// How many revisions a controller's watch history holds.
    pub watch_history: u64,
    /// Its faults may destroy more than a quorum survives: only safety is asked for, not that it settles.
    pub beyond_budget: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            controllers: 3,
            workers: 6,
            zones: 3,
            node_cpu_m: 4000,
            node_memory_mib: 8192,
            node_pods: 110,
            snapshot_entries: 1000,
            node_grace_ms: 3000,
            election_ms: 200,
            watch_history: 10_000,
            beyond_budget: false,
        }
    }
}

impl Shape {
    /// The zone of the n-th controller or worker, from 0.
    pub fn zone_of(&self, n: u32) -> u32 {
        n % self.zones.max(1)
    }
}
