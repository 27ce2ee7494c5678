//! How far a deployment is: counters, conditions, and the deadline by which it is to get on.

use serde_json::{Map, Value, json};

use super::{
    amount,
    claim::{Sets, digest, replicas},
};
use crate::{
    object::{Condition, DeploymentDigest, DeploymentStatus, Object, parse_time_ms},
    turn::Turn,
};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const NEWEST_AVAILABLE: &str = "NewReplicaSetAvailable";
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// A deadline as long as this is none.
const NO_DEADLINE_S: i64 = i32::MAX as i64;

/// A deployment's conditions, on their way to its status.
#[derive(Clone)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    pub(super) fn of(spec: &DeploymentDigest) -> Conditions {
        Conditions(spec.status.conditions.clone())
    }

    fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|c| c.r#type == kind)
    }

    pub(super) fn progressing(&self) -> Option<&Condition> {
        self.get(PROGRESSING)
    }

    fn remove(&mut self, kind: &str) {
        self.0.retain(|c| c.r#type != kind);
    }

    /// Sets a condition. With the same value and reason it stays as it is; the transition time is that of the value.
    fn set(&mut self, kind: &str, value: &str, reason: &str, message: String, now: &str) {
        let mut since = Some(now.to_string());
        if let Some(old) = self.get(kind).filter(|old| old.status == value) {
            if old.reason.as_deref() == Some(reason) {
                return;
            }
            since = old.last_transition_time.clone();
        }
        self.remove(kind);
        self.0.push(Condition {
            r#type: kind.into(),
            status: value.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: since,
            last_update_time: Some(now.into()),
        });
    }

    /// Sets the Progressing condition of a deployment that has a deadline.
    pub(super) fn progress(
        &mut self,
        spec: &DeploymentDigest,
        value: &str,
        reason: &str,
        message: String,
        now: &str,
    ) {
        if deadline_s(spec).is_some() {
            self.set(PROGRESSING, value, reason, message, now);
        }
    }

    /// The pods got on: the time of the last step counts from now.
    fn stepped(&mut self, message: String, now: &str) {
        let since = self
            .get(PROGRESSING)
            .filter(|old| old.status == "True")
            .and_then(|c| c.last_transition_time.clone());
        self.remove(PROGRESSING);
        self.set(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let (Some(since), Some(new)) = (since, self.0.last_mut()) {
            new.last_transition_time = Some(since);
        }
    }

    /// Says that the deployment was paused or resumed: a pause does not count against the deadline.
    pub(super) fn note_pause(&mut self, spec: &DeploymentDigest, now: &str) {
        let reason = self.progressing().and_then(|c| c.reason.as_deref());
        if reason == Some(DEADLINE_EXCEEDED) {
            return;
        }
        let said = reason == Some(PAUSED);
        if spec.paused && !said {
            self.progress(spec, "Unknown", PAUSED, "Deployment is paused".into(), now);
        } else if !spec.paused && said {
            self.progress(spec, "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now);
        }
    }

    fn to_value(&self) -> Value {
        // Clients write conditions, too, and leave out what they like.
        let one = |c: &Condition| {
            let mut condition = json!({
                "type": c.r#type, "status": c.status, "reason": c.reason, "message": c.message,
                "lastTransitionTime": c.last_transition_time, "lastUpdateTime": c.last_update_time,
            });
            if let Some(fields) = condition.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            condition
        };
        self.0.iter().map(one).collect()
    }
}

fn deadline_s(spec: &DeploymentDigest) -> Option<i64> {
    spec.progress_deadline_s.filter(|s| *s < NO_DEADLINE_S)
}

/// The numbers of a status.
pub(super) struct Counters(DeploymentStatus);

/// Counts what the deployment's sets say of themselves.
pub(super) fn counters(me: &Object, spec: &DeploymentDigest, sets: &Sets) -> Counters {
    let sum = |field: &dyn Fn(&Object) -> i64| sets.all().map(|set| field(set)).sum::<i64>();
    let available = sum(&|set| digest(set).status.available_replicas);
    Counters(DeploymentStatus {
        observed_generation: me.meta.generation,
        replicas: sum(&|set| digest(set).status.replicas),
        updated_replicas: sets.newest.as_ref().map_or(0, |set| digest(set).status.replicas),
        ready_replicas: sum(&|set| digest(set).status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(&|set| replicas(set)) - available).max(0),
        collision_count: spec.status.collision_count,
        conditions: Vec::new(),
    })
}

impl Counters {
    /// Whether all pods are of the newest template and available.
    pub(super) fn complete(&self, spec: &DeploymentDigest) -> bool {
        let status = &self.0;
        [status.updated_replicas, status.replicas, status.available_replicas]
            .iter()
            .all(|n| *n == spec.replicas)
    }

    /// Whether this is nearer to the goal than what was said last.
    fn nearer_than(&self, last: &DeploymentStatus) -> bool {
        let status = &self.0;
        status.updated_replicas > last.updated_replicas
            || status.replicas - status.updated_replicas < last.replicas - last.updated_replicas
            || status.ready_replicas > last.ready_replicas
            || status.available_replicas > last.available_replicas
    }

    fn to_value(&self, conditions: &Conditions) -> Value {
        let status = &self.0;
        let numbers = [
            ("observedGeneration", status.observed_generation),
            ("replicas", status.replicas),
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("unavailableReplicas", status.unavailable_replicas),
            ("collisionCount", status.collision_count),
        ];
        let mut map: Map<String, Value> = numbers
            .into_iter()
            .filter(|(_, n)| *n != 0)
            .map(|(name, n)| (name.to_string(), n.into()))
            .collect();
        if !conditions.0.is_empty() {
            map.insert("conditions".into(), conditions.to_value());
        }
        Value::Object(map)
    }
}

/// Writes the status as counted, without a word on progress: paused, scaled or deleted.
pub(super) fn write(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    sets: &Sets,
    conditions: Conditions,
) {
    write_counted(turn, me, spec, sets, conditions, spec.status.collision_count);
    turn.wake(&me.key, None);
}

/// The same with another count of names that were taken.
pub(super) fn write_counted(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    sets: &Sets,
    mut conditions: Conditions,
    collisions: i64,
) {
    let mut counters = counters(me, spec, sets);
    counters.0.collision_count = collisions;
    note_availability(&counters, spec, &mut conditions, &turn.now());
    turn.put_status(me, counters.to_value(&conditions));
}

fn note_availability(counters: &Counters, spec: &DeploymentDigest, conditions: &mut Conditions, now: &str) {
    let enough = counters.0.available_replicas >= spec.replicas - amount::unavailable(spec);
    let (value, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions.set(AVAILABLE, value, reason, message.into(), now);
}

/// Writes the status of a rollout: counters, progress, and the wake-up for its deadline.
pub(super) fn write_progress(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    sets: &Sets,
    mut conditions: Conditions,
) {
    let (now_ms, now) = (turn.now_ms(), turn.now());
    let counters = counters(me, spec, sets);
    note_availability(&counters, spec, &mut conditions, &now);
    let subject = match &sets.newest {
        Some(set) => format!("ReplicaSet {:?}", set.key.name),
        None => format!("Deployment {:?}", me.key.name),
    };
    if deadline_s(spec).is_none() {
        conditions.remove(PROGRESSING);
    } else if !done_before(&counters, &conditions) {
        if counters.complete(spec) {
            let message = format!("{subject} has successfully progressed.");
            conditions.set(PROGRESSING, "True", NEWEST_AVAILABLE, message, &now);
        } else if counters.nearer_than(&spec.status) {
            conditions.stepped(format!("{subject} is progressing."), &now);
        } else if due_ms(spec, &conditions).is_some_and(|due| due < now_ms) {
            let message = format!("{subject} has timed out progressing.");
            conditions.set(PROGRESSING, "False", DEADLINE_EXCEEDED, message, &now);
        }
    }
    match failure(sets) {
        Some((reason, message)) => conditions.set(FAILURE, "True", &reason, message, &now),
        None => conditions.remove(FAILURE),
    }
    let wake = due_ms(spec, &conditions).filter(|_| !counters.complete(spec)).map(|due| due + 1000);
    turn.put_status(me, counters.to_value(&conditions));
    turn.wake(&me.key, wake);
}

/// Whether the rollout was finished already: pods that fail later are not its business.
fn done_before(counters: &Counters, conditions: &Conditions) -> bool {
    counters.0.replicas == counters.0.updated_replicas
        && conditions.progressing().is_some_and(|c| c.reason.as_deref() == Some(NEWEST_AVAILABLE))
}

/// When the deadline is over, while there is one running.
fn due_ms(spec: &DeploymentDigest, conditions: &Conditions) -> Option<i64> {
    let progressing = conditions.progressing()?;
    if matches!(progressing.reason.as_deref(), Some(NEWEST_AVAILABLE | DEADLINE_EXCEEDED)) {
        return None;
    }
    let last = progressing.last_update_time.as_deref().and_then(parse_time_ms)?;
    Some(last + deadline_s(spec)?.saturating_mul(1000))
}

/// Why pods are refused, if they are: the newest set's reason first.
fn failure(sets: &Sets) -> Option<(String, String)> {
    let of = |set: &Object| {
        let conditions = digest(set).status.conditions;
        let condition = conditions.into_iter().find(|c| c.r#type == FAILURE)?;
        Some((condition.reason.unwrap_or_default(), condition.message.unwrap_or_default()))
    };
    sets.newest.iter().chain(&sets.old).find_map(|set| of(set))
}

/// Writes that the present spec was seen, and nothing else.
pub(super) fn observe(turn: &mut Turn, me: &Object) {
    let mut status = me.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    status["observedGeneration"] = me.meta.generation.into();
    turn.put_status(me, status);
}
