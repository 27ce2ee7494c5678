//! Preferred node affinity.

use crate::{object::PodDigest, scheduling::view::NodeView};

/// The sum of the weights of the terms that match.
pub(super) fn preferred(pod: &PodDigest, node: &NodeView<'_>) -> i64 {
    let labels = &node.object.meta.labels;
    let matching =
        pod.affinity.preferred.iter().filter(|preferred| preferred.term.matches(node.name(), labels));
    matching.fold(0, |sum, preferred| sum.saturating_add(preferred.weight))
}
