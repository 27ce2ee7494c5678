//! Cordoned nodes take no new pods, unless a pod bears exactly that.

use super::taints::tolerated;
use crate::{
    object::{PodDigest, Taint},
    scheduling::{reasons::Reason, view::NodeView},
};

/// The taint that a cordon stands for.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(super) fn refuses(pod: &PodDigest, node: &NodeView<'_>) -> Option<Reason> {
    if node.object.meta.deleting() {
        return Some(Reason::Unschedulable);
    }
    if !node.digest.unschedulable {
        return None;
    }
    let taint = Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
    (!tolerated(&pod.tolerations, &taint)).then_some(Reason::Unschedulable)
}
