//! What a replica set says of itself, and when it has to look again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::RETRY_MS;
use crate::{
    kinds::condition,
    object::{Object, ReplicaSetDigest},
    turn::Turn,
};

/// The condition of a set whose pods are refused.
const FAILURE: &str = "ReplicaFailure";

/// Whether pods could be made as wanted.
pub(super) enum Failure {
    /// Nothing was tried: what was said before stands.
    Unchanged,
    /// As wanted.
    None,
    /// Refused, for this reason.
    Create(String),
    /// Made and refused by their node: not before this time.
    Later(i64),
}

fn refused(spec: &ReplicaSetDigest) -> bool {
    spec.status.conditions.iter().any(|c| c.r#type == FAILURE)
}

/// Whether pods were refused a moment ago: asking again at once would get the same answer.
pub(super) fn waits_to_retry(turn: &Turn, me: &Object, spec: &ReplicaSetDigest) -> bool {
    refused(spec) && turn.state().wake_of(&me.key).is_some_and(|at| at > turn.now_ms())
}

/// Says that pods are refused.
pub(super) fn refused_for(turn: &mut Turn, me: &Object, why: &str) {
    let Some(me) = turn.state().get(&me.key).cloned() else { return };
    let (mut status, now) = (me.document.status_value(), turn.now());
    condition::set(&mut status, FAILURE, "True", "FailedCreate", why, &now);
    turn.put_status(&me, status);
}

/// Writes the counters and conditions, if they differ.
pub(super) fn write(
    turn: &mut Turn,
    me: &Object,
    spec: &ReplicaSetDigest,
    pods: &[Arc<Object>],
    failure: &Failure,
) {
    let (now_ms, now) = (turn.now_ms(), turn.now());
    let count = |test: &dyn Fn(&Object) -> bool| pods.iter().filter(|pod| test(pod)).count();
    let labels = &spec.template_labels;
    let labelled = |pod: &Object| labels.iter().all(|(key, value)| pod.meta.labels.get(key) == Some(value));
    let mut status = json!({"replicas": pods.len(), "observedGeneration": me.meta.generation});
    let counters = [
        ("fullyLabeledReplicas", count(&labelled)),
        ("readyReplicas", count(&|pod| pod.pod().is_some_and(|p| p.ready))),
        ("availableReplicas", count(&|pod| pod.pod().is_some_and(|p| p.available(spec.min_ready_s, now_ms)))),
    ];
    for (field, value) in counters.into_iter().filter(|(_, value)| *value > 0) {
        status[field] = value.into();
    }
    let before = me.document.status_value();
    if let Some(conditions) = before.get("conditions") {
        status["conditions"] = conditions.clone();
    }
    match failure {
        Failure::Unchanged | Failure::Later(_) => {}
        Failure::None => {
            if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
                list.retain(|c| c["type"] != FAILURE);
            }
            if status["conditions"].as_array().is_some_and(Vec::is_empty)
                && let Some(map) = status.as_object_mut()
            {
                map.remove("conditions");
            }
        }
        Failure::Create(why) => {
            condition::set(&mut status, FAILURE, "True", "FailedCreate", why, &now);
        }
    }
    turn.put_status(me, status);
}

/// Wakes the set when the next ready pod becomes available or a refused one is tried again.
pub(super) fn set_wake(
    turn: &mut Turn,
    me: &Object,
    spec: &ReplicaSetDigest,
    pods: &[Arc<Object>],
    failure: &Failure,
) {
    let now = turn.now_ms();
    if turn.state().wake_of(&me.key) == Some(now) {
        return;
    }
    let available_at = pods
        .iter()
        .filter_map(|pod| pod.pod())
        .filter(|pod| pod.ready && !pod.available(spec.min_ready_s, now))
        .map(|pod| pod.ready_since_ms + spec.min_ready_s * 1000)
        .min();
    let retry_at = match failure {
        Failure::Create(_) => Some(now + RETRY_MS),
        Failure::Later(at) => Some(*at),
        Failure::Unchanged if refused(spec) => turn.state().wake_of(&me.key).filter(|at| *at > now),
        _ => None,
    };
    turn.wake(&me.key, [available_at, retry_at].into_iter().flatten().min());
}
