//! Filters: whether a node may take a pod at all. One file each. The fixed ones read only the node's object and are
//! asked once per template and node; room changes with every placement; spread is no property of one node.

pub(super) mod affinity;
mod cordon;
pub(super) mod pod_affinity;
pub(super) mod ports;
mod ready;
mod resources;
pub(super) mod spread;
pub(super) mod taints;

use super::{
    reasons::Reason,
    score::{self, Preference},
    view::{NodeView, Ports},
};
use crate::object::{PodDigest, PodWants};

/// The fixed filters in Kubernetes' order; the first that refuses gives the reason.
pub(super) fn fixed(pod: &PodDigest, node: &NodeView<'_>) -> Option<Reason> {
    cordon::refuses(pod, node)
        .or_else(|| taints::refuses(pod, node))
        .or_else(|| ready::refuses(node))
        .or_else(|| affinity::refuses(pod, node))
}

/// What is missing for a pod on a node that the fixed filters let through; empty: it fits.
pub(super) fn room(pod: &PodDigest, node: &NodeView<'_>, ports: &Ports) -> Vec<Reason> {
    match ports::refuses(pod, ports) {
        Some(reason) => vec![reason],
        None => resources::missing(pod, node),
    }
}

/// Whether [`room`] finds nothing missing, without saying what.
pub(super) fn has_room(pod: &PodDigest, node: &NodeView<'_>, ports: Option<&Ports>) -> bool {
    resources::enough(pod, node) && ports.is_none_or(|ports| ports::refuses(pod, ports).is_none())
}

/// What the fixed filters and scores say of every node, for all pods with the same selectors and tolerations.
pub(super) struct Shape {
    example: PodDigest,
    /// Per node.
    pub verdicts: Vec<Verdict>,
}

/// What they say of one node.
pub(super) struct Verdict {
    /// Why it may not.
    pub refusal: Option<Reason>,
    /// Whether selector and affinity match, taints apart: such a node's domains count for topology spread.
    pub selected: bool,
    /// Whether it is cordoned or has a taint that the pod does not bear.
    pub tainted: bool,
    /// How welcome it is.
    pub preference: Preference,
}

impl Shape {
    /// Asks for every node.
    pub(super) fn new(pod: &PodDigest, nodes: &[NodeView<'_>]) -> Shape {
        let verdict = |node: &NodeView<'_>| {
            let refusal = fixed(pod, node);
            let selected = refusal.is_none() || affinity::refuses(pod, node).is_none();
            // Asked first, so nothing else hides it.
            let tainted = matches!(refusal, Some(Reason::Unschedulable | Reason::Taint { .. }));
            Verdict { refusal, selected, tainted, preference: score::preference(pod, node) }
        };
        let example = PodWants {
            node_selector: pod.node_selector.clone(),
            affinity: pod.affinity.clone(),
            tolerations: pod.tolerations.clone(),
            ..PodWants::default()
        };
        Shape { example: example.into(), verdicts: nodes.iter().map(verdict).collect() }
    }

    /// Whether this pod is of this shape.
    pub(super) fn is_of(&self, pod: &PodDigest) -> bool {
        let example = &self.example;
        example.node_selector == pod.node_selector
            && example.affinity == pod.affinity
            && example.tolerations == pod.tolerations
    }
}
