//! Node selector and required node affinity: labels that a pod insists on.

use crate::{
    object::PodDigest,
    scheduling::{reasons::Reason, view::NodeView},
};

pub(super) fn refuses(pod: &PodDigest, node: &NodeView<'_>) -> Option<Reason> {
    let labels = &node.object.meta.labels;
    let selected = pod.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let wanted = match &pod.affinity.required {
        Some(terms) => terms.iter().any(|term| term.matches(node.name(), labels)),
        None => true,
    };
    (!selected || !wanted).then_some(Reason::Affinity)
}
