//! Taints that only ask to stay away.

use crate::{
    object::PodDigest,
    scheduling::{filter::taints::tolerated, view::NodeView},
};

/// How many of them the pod does not bear.
pub(super) fn unwelcome(pod: &PodDigest, node: &NodeView<'_>) -> usize {
    let asking = node.digest.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    asking.filter(|taint| !tolerated(&pod.tolerations, taint)).count()
}
