//! Resources and the number of pods. What a pod does not ask for is never missing, even on an overfull node.

use crate::{
    object::PodDigest,
    scheduling::{reasons::Reason, view::NodeView},
};

/// Everything that is missing, so that people see it at once.
pub(super) fn missing(pod: &PodDigest, node: &NodeView<'_>) -> Vec<Reason> {
    let mut missing = Vec::new();
    if node.free_pods < 1 {
        missing.push(Reason::TooManyPods);
    }
    for (name, wanted, free) in [
        ("cpu", pod.requests.cpu_milli, node.free.cpu_milli),
        ("memory", pod.requests.memory, node.free.memory),
        ("ephemeral-storage", pod.requests.ephemeral_storage, node.free.ephemeral_storage),
    ] {
        if lacks(wanted, free) {
            missing.push(Reason::Insufficient(name));
        }
    }
    missing
}

/// Whether nothing is missing.
pub(super) fn enough(pod: &PodDigest, node: &NodeView<'_>) -> bool {
    let (wanted, free) = (&pod.requests, &node.free);
    node.free_pods >= 1
        && !lacks(wanted.cpu_milli, free.cpu_milli)
        && !lacks(wanted.memory, free.memory)
        && !lacks(wanted.ephemeral_storage, free.ephemeral_storage)
}

fn lacks(wanted: i64, free: i64) -> bool {
    wanted > 0 && wanted > free
}
