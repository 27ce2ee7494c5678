//! How a job looks at its pods: which are tracked, which run, which have ended and how.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    kinds::claim,
    object::{JobDigest, Object, ObjectKey, parse_time_ms},
    turn::Turn,
};

/// A pod with this finalizer has not been counted yet; it goes in the entry that counts the pod.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The completion that a pod is for.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The job's pods, after adopting and letting go; who is adopted is tracked from then on.
pub(super) fn claimed(turn: &mut Turn, me: &Object, spec: &JobDigest) -> Vec<Arc<Object>> {
    let before: Vec<ObjectKey> =
        claim::owned(turn, me, Kind::POD).into_iter().map(|pod| pod.key.clone()).collect();
    let pods = claim::pods(turn, me, &spec.selector, |_| true);
    // Both are in the order of their names.
    let adopted = pods.iter().filter(|pod| before.binary_search(&pod.key).is_err() && !is_tracked(pod));
    let adopted: Vec<ObjectKey> = adopted.map(|pod| pod.key.clone()).collect();
    if adopted.is_empty() {
        return pods;
    }
    for key in &adopted {
        turn.edit_metadata(key, |meta| {
            let list = meta.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(FINALIZER.into());
            }
        });
    }
    claim::owned(turn, me, Kind::POD)
}

/// Whether a pod has still to be counted.
pub(super) fn is_tracked(pod: &Object) -> bool {
    pod.meta.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// Lets go of a pod that is counted, or that is not to be.
pub(super) fn untrack(turn: &mut Turn, key: &ObjectKey) {
    turn.edit_metadata(key, |meta| {
        if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
            list.retain(|finalizer| finalizer != FINALIZER);
            if list.is_empty() {
                meta.remove("finalizers");
            }
        }
    });
    turn.finish_deletion(key);
}

/// A tracked pod whose job is gone, has ended, or has let it go, is held by nobody.
pub(crate) fn let_go_of_orphan(turn: &mut Turn, pod: &Object) {
    if !is_tracked(pod) {
        return;
    }
    let owner = pod.meta.controller().and_then(|owner| turn.owner(&pod.key.namespace, owner));
    if owner.and_then(|owner| Some(owner.job()?.status.finished().is_some())) != Some(false) {
        untrack(turn, &pod.key);
    }
}

pub(super) fn phase(pod: &Object) -> &str {
    pod.pod().map_or("", |digest| digest.phase.as_str())
}

pub(super) fn succeeded(pod: &Object) -> bool {
    phase(pod) == "Succeeded"
}

/// Whether a pod failed. One that leaves counts as failed at once, unless pods are replaced only when they have ended.
pub(super) fn failed(pod: &Object, spec: &JobDigest) -> bool {
    if phase(pod) == "Failed" {
        return true;
    }
    // Without grace, its worker said that nothing of it runs, or there is none to say so.
    let over = pod.meta.deletion_grace_s == Some(0);
    pod.meta.deleting() && !succeeded(pod) && (over || !spec.replaces_ended_only)
}

/// Whether a pod is on its way out and still runs.
pub(super) fn terminating(pod: &Object) -> bool {
    pod.meta.deleting() && pod.pod().is_some_and(|digest| !digest.terminal())
}

/// The completion index of a pod, if it has one that there is.
pub(super) fn index(pod: &Object, spec: &JobDigest) -> Option<i64> {
    let index: i64 = pod.meta.annotations.get(INDEX)?.parse().ok()?;
    (0..spec.completions.unwrap_or(0)).contains(&index).then_some(index)
}

/// When a pod ended, as far as it is told.
pub(super) fn ended_ms(turn: &Turn, pod: &Object) -> i64 {
    let status = pod.document.status_value();
    let states = status["containerStatuses"].as_array().into_iter().flatten();
    let ended = states.filter_map(|c| parse_time_ms(c["state"]["terminated"]["finishedAt"].as_str()?)).max();
    let grace_ms = pod.meta.deletion_grace_s.unwrap_or(0).saturating_mul(1000);
    let left = pod.meta.deletion_ms.map(|at| at.saturating_sub(grace_ms));
    let unready = pod.pod().map(|digest| digest.ready_since_ms).filter(|at| *at > 0);
    ended.or(left).or(unready).unwrap_or(turn.now_ms()).min(turn.now_ms())
}
