//! What nodes and pods use, as the API and the controller that it runs in hand it to each other.

/// What a node uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// Its name.
    pub node: String,
    /// When it was measured, Unix milliseconds.
    pub time_ms: i64,
    /// The time before that over which the work of processors is averaged.
    pub window_ms: u64,
    /// Processors, in billionths.
    pub cpu_nanocores: u64,
    /// Its working set.
    pub memory_bytes: u64,
    /// Its pods, if they were asked for, in any order.
    pub pods: Vec<PodUsage>,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Its uid.
    pub uid: String,
    /// Its containers that run, by name.
    pub containers: Vec<ContainerUsage>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Processors, in billionths.
    pub cpu_nanocores: u64,
    /// Its working set.
    pub memory_bytes: u64,
}
