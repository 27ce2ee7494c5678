//! Scores: which of the nodes that may take a pod suits it best. One file each. They are compared one after another,
//! not added up: what the pod's author or the node's owner prefers, then an even spread, then free room. So each
//! placement can be explained by the first score that differed.

mod affinity;
mod allocation;
pub(super) mod pod_affinity;
pub(super) mod spread;
mod taints;

use std::cmp::Reverse;

pub(super) use allocation::allocation;

use super::view::NodeView;
use crate::object::PodDigest;

/// How welcome a pod is on a node by what both say; the greater the better.
pub(super) type Preference = (Reverse<usize>, i64);

/// Fewest taints that ask to stay away, then the greatest sum of preferred terms.
pub(super) fn preference(pod: &PodDigest, node: &NodeView<'_>) -> Preference {
    (Reverse(taints::unwelcome(pod, node)), affinity::preferred(pod, node))
}
