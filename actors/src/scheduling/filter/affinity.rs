//! Node selector and required node affinity: labels that a pod insists on.

use crate::{
    object::{Object, PodDigest},
    scheduling::{reasons::Reason, view::NodeView},
};

pub(super) fn refuses(pod: &PodDigest, node: &NodeView<'_>) -> Option<Reason> {
    (!selects(pod, node.object)).then_some(Reason::Affinity)
}

/// Whether a pod's node selector and required node affinity let it onto a node.
pub fn selects(pod: &PodDigest, node: &Object) -> bool {
    let labels = &node.meta.labels;
    let selected = pod.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let wanted = match &pod.affinity.required {
        Some(terms) => terms.iter().any(|term| term.matches(&node.key.name, labels)),
        None => true,
    };
    selected && wanted
}
