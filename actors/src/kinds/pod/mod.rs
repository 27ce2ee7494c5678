//! The pod. Its worker drives it; what is left for its actor are the cases in which no worker speaks for it.

mod admission;
mod completion;
mod own_claims;
mod qos;
mod runtime_class;
mod tolerations;

use serde_json::Value;

pub(crate) use self::{admission::admit, own_claims::foreign};
pub use self::{
    admission::{new_from_template, new_named, new_with_prefix},
    completion::complete,
    qos::qos_class,
    runtime_class::apply_runtime_class,
    tolerations::bear_memory_pressure,
};
use super::{condition, job};
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{Object, ObjectKey},
    turn::Turn,
};

/// How long a pod may name a node that does not exist: the node may be about to join.
pub const NODE_MISSING_MS: i64 = 40_000;

/// When a pod that a node refused is made anew: one node is asked for again and again otherwise, in the same turn.
const REJECTED_MS: i64 = 10_000;
/// How the message of a status begins that says why a node did not take a pod.
pub(crate) const REJECTED: &str = "Pod was rejected: ";

/// So many pods that ended are kept, as in Kubernetes (`--terminated-pod-gc-threshold`).
pub const ENDED_LIMIT: usize = 12_500;
/// So many beyond that go by one reaction, if there are more: of what earlier builds left.
const SWEEP: usize = 100;

/// Ends a pod whose node does not exist, and has it looked at when its node asks pods to leave.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(pod) = me.pod() else { return };
    job::let_go_of_orphan(turn, me);
    own_claims::make(turn, me);
    if pod.terminal() {
        sweep(turn);
    }
    let Some(node) = &pod.node else { return };
    let key = ObjectKey::new(Kind::NODE, "", node);
    match turn.state().get(&key) {
        Some(node) => {
            let asks = node.node().is_some_and(|n| n.taints.iter().any(|t| t.effect == "NoExecute"));
            if asks && !me.meta.deleting() && !pod.terminal() {
                turn.notify(&key);
            }
        }
        None => {
            let since = me.meta.deletion_ms.unwrap_or(me.meta.created_ms).max(me.meta.created_ms);
            let due = since + NODE_MISSING_MS;
            if due <= turn.now_ms() {
                remove_without_node(turn, me);
            } else {
                turn.wake_by(&me.key, due);
            }
        }
    }
}

/// Keeps the pods that ended from becoming ever more: the oldest go first, whoever made them. A Job is told of its own by their finalizers
/// before they are gone.
fn sweep(turn: &mut Turn) {
    let surplus = turn.state().ended_count().saturating_sub(ENDED_LIMIT).min(SWEEP);
    let oldest: Vec<ObjectKey> = turn.state().ended().take(surplus).cloned().collect();
    for key in oldest {
        if turn.full() {
            // The next pod that ends comes by here again.
            return;
        }
        let options = DeleteOptions { grace_s: Some(0), ..DeleteOptions::default() };
        // It exists and there are no preconditions, so this is not refused.
        let _ = turn.delete(&key, &options);
    }
}

/// When the owner of a pod that its node refused may make another one; none for all other pods.
pub(super) fn rejected_until(pod: &Object, now_ms: i64) -> Option<i64> {
    let due = pod.meta.created_ms.saturating_add(REJECTED_MS);
    let failed = || pod.pod().is_some_and(|digest| digest.phase == "Failed");
    let rejected = || {
        pod.document.status_value()["message"].as_str().is_some_and(|message| message.starts_with(REJECTED))
    };
    (due > now_ms && failed() && rejected()).then_some(due)
}

/// Removes a pod without waiting for a worker: none will ever speak for it.
pub(super) fn remove(turn: &mut Turn, pod: &Object) {
    let options = DeleteOptions { grace_s: Some(0), ..DeleteOptions::default() };
    // It exists and there are no preconditions, so this is not refused.
    let _ = turn.delete(&pod.key, &options);
}

/// Removes a pod whose node is gone, with the reason in its status for whoever judges its end.
pub(super) fn remove_without_node(turn: &mut Turn, pod: &Object) {
    if pod.pod().is_some_and(|digest| !digest.terminal()) {
        let mut status = pod.document.status_value();
        disrupted(&mut status, "DeletionByPodGC", "PodGC: node no longer exists", &turn.now());
        turn.put_status(pod, status);
    }
    remove(turn, pod);
}

/// A status that says that the pod is not ready, since nobody can say otherwise. False when it said so already.
pub(super) fn not_ready(status: &mut Value, now: &str) -> bool {
    let ready = |kind: &str, status: &Value| {
        status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    let mut changed = false;
    for kind in ["Ready", "ContainersReady"] {
        if ready(kind, status) {
            changed |=
                condition::set(status, kind, "False", "NodeLost", "the pod's node is not in contact", now);
        }
    }
    changed
}

/// A status that says why the pod is disrupted.
pub(crate) fn disrupted(status: &mut Value, reason: &str, message: &str, now: &str) {
    condition::set(status, "DisruptionTarget", "True", reason, message, now);
}
