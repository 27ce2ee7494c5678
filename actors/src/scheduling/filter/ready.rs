//! Nodes that are not in contact take no new pods, whatever a pod bears: nobody would start it.

use crate::scheduling::{reasons::Reason, view::NodeView};

pub(super) fn refuses(node: &NodeView<'_>) -> Option<Reason> {
    (node.digest.ready != "True").then_some(Reason::NotReady)
}
