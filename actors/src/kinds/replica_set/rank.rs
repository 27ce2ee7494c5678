//! Which pods go first when there are too many: those whose loss is felt least.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use compact_str::CompactString;

use crate::{kind::Kind, object::Object, turn::Turn};

/// By this annotation people say which pods they would rather keep: the lower goes first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods, the first to go first: without a node, not running, not ready, cheap by annotation, beside many others of
/// the same workload, ready for a short time, often restarted, young. The name decides between equals.
pub(super) fn first_to_go(turn: &Turn, me: &Object, mut pods: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    let crowd = crowds(turn, me);
    pods.sort_by_cached_key(|object| {
        let pod = object.pod().cloned().unwrap_or_default();
        let phase = match pod.phase.as_str() {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let cost =
            object.meta.annotations.get(DELETION_COST).and_then(|c| c.parse::<i32>().ok()).unwrap_or(0);
        let beside = pod.node.as_ref().and_then(|node| crowd.get(node)).copied().unwrap_or(0);
        let ready_since = if pod.ready { pod.ready_since_ms } else { 0 };
        (
            (pod.node.is_some(), phase, pod.ready, cost),
            (Reverse(beside), Reverse(ready_since), Reverse(pod.restarts), Reverse(object.meta.created_ms)),
            object.key.name.clone(),
        )
    });
    pods
}

/// How many pods of the same workload each node carries: of this set and of those with the same managing owner.
fn crowds(turn: &Turn, me: &Object) -> BTreeMap<CompactString, usize> {
    let state = turn.state();
    let mut sets = vec![me.meta.uid.clone()];
    if let Some(owner) = me.meta.controller() {
        let siblings = state.dependents(&owner.uid).filter(|o| o.key.kind == Kind::REPLICA_SET);
        sets.extend(siblings.map(|o| o.meta.uid.clone()).filter(|uid| *uid != me.meta.uid));
    }
    let mut crowds = BTreeMap::new();
    for uid in sets {
        for object in state.dependents(&uid).filter(|o| !o.meta.deleting()) {
            if let Some(node) = object.pod().filter(|p| !p.terminal()).and_then(|p| p.node.clone()) {
                *crowds.entry(node).or_default() += 1;
            }
        }
    }
    crowds
}
