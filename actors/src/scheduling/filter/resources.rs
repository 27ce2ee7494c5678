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
        if wanted > 0 && wanted > free {
            missing.push(Reason::Insufficient(name.into()));
        }
    }
    for (name, wanted) in &pod.scalars {
        if *wanted > node.free_scalar(name) {
            missing.push(Reason::Insufficient(name.clone()));
        }
    }
    missing
}

/// Whether nothing is missing.
pub(super) fn enough(pod: &PodDigest, node: &NodeView<'_>) -> bool {
    node.free_pods >= 1
        && pod.requests.fits_in(node.free)
        && pod.scalars.iter().all(|(name, wanted)| *wanted <= node.free_scalar(name))
}
