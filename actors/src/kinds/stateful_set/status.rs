//! What a stateful set says of itself.

use serde_json::{Value, json};

use super::crew::{Crew, available, ready, revision};
use crate::{
    kinds::history::History,
    object::{Object, StatefulSetDigest},
    turn::Turn,
};

/// Writes the counters; an update is done when all pods are of the present template and ready.
pub(super) fn write(
    turn: &mut Turn,
    me: &Object,
    spec: &StatefulSetDigest,
    crew: &Crew,
    history: &History,
    former: &str,
) {
    let now = turn.now_ms();
    let newest = history.current.key.name.as_str();
    let count = |test: &dyn Fn(&Object) -> bool| {
        i64::try_from(crew.all().filter(|pod| test(pod)).count()).unwrap_or(i64::MAX)
    };
    let of = |name: &str| count(&|pod| !pod.meta.deleting() && revision(pod) == name);
    let (replicas, ready, updated) = (count(&|_| true), count(&ready), of(newest));
    let done = !spec.on_delete && [updated, ready, replicas].iter().all(|n| *n == spec.replicas);
    let (current, current_name) = if done { (updated, newest) } else { (of(former), former) };
    let mut status = json!({
        "observedGeneration": me.meta.generation, "replicas": replicas,
        "availableReplicas": count(&|pod| available(pod, spec, now)),
        "currentRevision": current_name, "updateRevision": newest, "collisionCount": history.collisions,
    });
    let optional = [("readyReplicas", ready), ("currentReplicas", current), ("updatedReplicas", updated)];
    for (field, count) in optional.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = count.into();
    }
    if let Some(conditions) = me.document.status_value().get("conditions") {
        status["conditions"] = Value::clone(conditions);
    }
    turn.put_status(me, status);
}

/// When the next ready pod becomes available.
pub(super) fn available_at(turn: &Turn, spec: &StatefulSetDigest, crew: &Crew) -> Option<i64> {
    let now = turn.now_ms();
    let pods = crew.all().filter(|pod| ready(pod) && !available(pod, spec, now)).filter_map(|pod| pod.pod());
    pods.map(|pod| pod.ready_since_ms + spec.min_ready_s * 1000).min()
}
