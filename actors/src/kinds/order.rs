//! Which pods go first when there are too many, whoever has them: those that did the least.

use std::{cmp::Reverse, sync::Arc};

use crate::object::Object;

/// Sorts pods, the first to go first: without a node, not running, not ready, ready for a short time, often restarted, young. The name
/// decides between equals.
pub(super) fn least_first(pods: &mut [Arc<Object>]) {
    pods.sort_by_cached_key(|object| {
        let pod = object.pod().cloned().unwrap_or_default();
        let phase = match pod.phase.as_str() {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let ready_since = if pod.ready { pod.ready_since_ms } else { 0 };
        let age = (Reverse(ready_since), Reverse(pod.restarts), Reverse(object.meta.created_ms));
        ((pod.node.is_some(), phase, pod.ready), age, object.key.name.clone())
    });
}
