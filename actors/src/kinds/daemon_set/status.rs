//! What a daemon set says of itself.

use serde_json::{Value, json};

use super::fleet::Fleet;
use crate::{
    object::{DaemonSetDigest, Object, PodDigest},
    turn::Turn,
};

/// Writes the counters.
pub(super) fn write(turn: &mut Turn, me: &Object, spec: &DaemonSetDigest, fleet: &Fleet, collisions: i64) {
    let now_ms = turn.now_ms();
    let [mut desired, mut current, mut misscheduled, mut ready, mut available, mut updated] = [0_i64; 6];
    for station in fleet.stations.values() {
        if !station.verdict.runs {
            misscheduled += 1;
            continue;
        }
        desired += 1;
        // The oldest stands for the node.
        let Some(pod) = station.pods.first() else { continue };
        current += 1;
        let is = |test: &dyn Fn(&PodDigest) -> bool| i64::from(pod.pod().is_some_and(test));
        ready += is(&|digest| digest.ready);
        available += is(&|digest| digest.available(spec.min_ready_s, now_ms));
        updated += i64::from(fleet.is_new(pod));
    }
    let mut status = json!({
        "currentNumberScheduled": current, "desiredNumberScheduled": desired, "numberMisscheduled": misscheduled,
        "numberReady": ready,
    });
    let optional = [
        ("observedGeneration", me.meta.generation),
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired - available),
        ("collisionCount", collisions),
    ];
    for (field, count) in optional.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = count.into();
    }
    if let Some(conditions) = me.document.status_value().get("conditions") {
        status["conditions"] = Value::clone(conditions);
    }
    turn.put_status(me, status);
}

/// When the next ready pod becomes available.
pub(super) fn available_at(turn: &Turn, spec: &DaemonSetDigest, fleet: &Fleet) -> Option<i64> {
    let now = turn.now_ms();
    let pods = fleet.stations.values().flat_map(|station| &station.pods).filter_map(|pod| pod.pod());
    pods.filter(|pod| pod.ready && !pod.available(spec.min_ready_s, now))
        .map(|pod| pod.ready_since_ms + spec.min_ready_s * 1000)
        .min()
}
