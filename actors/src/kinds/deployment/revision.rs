//! Revisions: each template has its replica set, and each use of a template its number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    COMPONENT, DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY,
    claim::{self, Sets, digest, replicas},
    history::revision_of,
    rollout, scale,
    status::{self, Conditions},
};
use crate::{
    candidates::{self, Made},
    kind::Kind,
    object::{DeploymentDigest, Document, Object, ReplicaSetDigest, template::HASH_LABEL},
    turn::Turn,
};

/// Annotations of the deployment that are not its sets' business.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];
/// The list of former revisions is cut to this.
const HISTORY_MAX: usize = 2000;
/// How many names are tried in one reaction when they are taken.
const NAME_TRIES: usize = 16;

/// Of the replica sets that wait to be admitted those go that are not of the present template. A deployment that is changed may try at once,
/// whatever was refused before.
pub(super) fn keep_candidates(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) {
    if candidates::are_none(turn, me, Kind::REPLICA_SET) {
        return;
    }
    for candidate in candidates::of(turn, me, Kind::REPLICA_SET) {
        let wanted = ReplicaSetDigest::of(&Document::from_value(candidates::object(&candidate)));
        if sets.newest.is_some() || wanted.template != spec.template {
            turn.remove(&candidate.key);
        }
    }
    if sets.newest.is_some() || spec.status.observed_generation != me.meta.generation {
        candidates::forget(turn, me, Kind::REPLICA_SET);
    }
}

/// Makes the newest template's replica set, if it is missing. True when it was made, or waits to be.
pub(super) fn ensure_newest(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    sets: &mut Sets,
    conditions: &mut Conditions,
) -> bool {
    if sets.newest.is_some() {
        annotate_newest(turn, me, spec, sets, conditions);
        return false;
    }
    let leave = candidates::leave(turn, me, Kind::REPLICA_SET, 1);
    if leave.most == 0 || !candidates::of(turn, me, Kind::REPLICA_SET).is_empty() {
        status::write(turn, me, spec, sets, conditions.clone());
        turn.wake(&me.key, leave.wake);
        return true;
    }
    let size = rollout::newest_size(spec, sets);
    let revision = next_revision(sets);
    for collisions in (spec.status.collision_count..).take(NAME_TRIES) {
        let hash = spec.template.hash(collisions);
        let set = replica_set(me, spec, &hash, size, revision);
        match candidates::make(turn, me, Kind::REPLICA_SET, set) {
            Made::There(set) => {
                note_created(turn, me, spec, &set, conditions);
                sets.newest = Some(set);
            }
            // The rest is said when it is there.
            Made::Waits => {}
            Made::Taken => continue,
        }
        status::write_counted(turn, me, spec, sets, conditions.clone(), collisions);
        return true;
    }
    let message = format!("Failed to create new replica set: {NAME_TRIES} names for it are taken");
    conditions.progress(spec, "False", "ReplicaSetCreateError", message.clone(), &turn.now());
    turn.event(me, "Warning", "ReplicaSetCreateError", message, COMPONENT);
    status::write(turn, me, spec, sets, conditions.clone());
    true
}

/// Says that a replica set was made.
fn note_created(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    set: &Object,
    conditions: &mut Conditions,
) {
    let size = replicas(set);
    if size > 0 {
        let message = format!("Scaled up replica set {} from 0 to {size}", set.key.name);
        turn.event(me, "Normal", "ScalingReplicaSet", message, COMPONENT);
    }
    let message = format!("Created new replica set {:?}", set.key.name);
    conditions.progress(spec, "True", "NewReplicaSetCreated", message, &turn.now());
    set_revision(turn, me, revision_of(set));
}

/// A replica set that somebody was asked about is there.
pub(crate) fn admitted(turn: &mut Turn, me: &Object, set: &Object) {
    let Some(spec) = me.deployment() else { return };
    let sets = claim::sets(turn, me, spec);
    let mut conditions = Conditions::of(spec);
    note_created(turn, me, spec, set, &mut conditions);
    status::write_counted(turn, me, spec, &sets, conditions, spec.status.collision_count);
}

/// It is not, for this reason.
pub(crate) fn refused(turn: &mut Turn, me: &Object, name: &str, why: &str) {
    let Some(spec) = me.deployment() else { return };
    let message = format!("Failed to create new replica set {name:?}: {why}");
    let sets = claim::sets(turn, me, spec);
    let mut conditions = Conditions::of(spec);
    conditions.progress(spec, "False", "ReplicaSetCreateError", message.clone(), &turn.now());
    turn.event(me, "Warning", "ReplicaSetCreateError", message, COMPONENT);
    status::write_counted(turn, me, spec, &sets, conditions, spec.status.collision_count);
}

fn replica_set(me: &Object, spec: &DeploymentDigest, hash: &str, size: i64, revision: i64) -> Value {
    let own = me.document.spec_value();
    let with_hash = |mut value: Value, labels: &str| {
        if !value[labels].is_object() {
            value[labels] = json!({});
        }
        value[labels][HASH_LABEL] = hash.into();
        value
    };
    let mut template = own["template"].clone();
    template["metadata"] = with_hash(template["metadata"].take(), "labels");
    let mut annotations = inherited(me);
    annotations.push((REVISION.into(), revision.to_string()));
    annotations.extend(scale::sizes(spec).map(|(name, value)| (name.to_string(), value)));
    let metadata = json!({
        "name": format!("{}-{hash}", me.key.name), "namespace": me.key.namespace,
        "labels": template["metadata"]["labels"], "ownerReferences": [Turn::controller_reference(me)],
    });
    let mut set = json!({
        "metadata": scale::annotated(metadata, &annotations),
        "spec": {
            "replicas": size, "selector": with_hash(own["selector"].clone(), "matchLabels"), "template": template,
        },
        "status": {"replicas": 0},
    });
    if spec.min_ready_s > 0 {
        set["spec"]["minReadySeconds"] = spec.min_ready_s.into();
    }
    set
}

/// Annotations that a replica set takes over from its deployment.
fn inherited(me: &Object) -> Vec<(String, String)> {
    let theirs = me.meta.annotations.iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
    theirs.map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn next_revision(sets: &Sets) -> i64 {
    sets.old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1
}

/// Keeps the newest set's annotations in line: its revision is the highest, so a set that is gone back to gets a new
/// one and remembers the old.
pub(super) fn annotate_newest(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    sets: &mut Sets,
    conditions: &mut Conditions,
) {
    let Some(set) = sets.newest.clone() else { return };
    let mut annotations = inherited(me);
    let (had, next) = (revision_of(&set), next_revision(sets));
    if had < next {
        annotations.push((REVISION.into(), next.to_string()));
        if had > 0 {
            annotations.push((REVISION_HISTORY.into(), history_with(&set, had)));
        }
    }
    let mut document = set.document.whole();
    let mut metadata = scale::annotated(document.metadata_value(), &annotations);
    if digest(&set).min_ready_s != spec.min_ready_s {
        let mut value = document.spec_value();
        value["minReadySeconds"] = spec.min_ready_s.into();
        document = document.with_spec(value);
        metadata["generation"] = (set.meta.generation + 1).into();
    }
    let set: Arc<Object> = turn.put(&set.key, document.with_metadata(metadata));
    set_revision(turn, me, had.max(next));
    if conditions.progressing().is_none() {
        let message = format!("Found new replica set {:?}", set.key.name);
        conditions.progress(spec, "True", "FoundNewReplicaSet", message, &turn.now());
    }
    sets.newest = Some(set);
}

fn history_with(set: &Object, revision: i64) -> String {
    let before = set.meta.annotations.get(REVISION_HISTORY).map_or("", String::as_str);
    let mut all: Vec<&str> = before.split(',').filter(|r| !r.is_empty()).collect();
    let revision = revision.to_string();
    all.push(&revision);
    while all.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_MAX {
        all.remove(0);
    }
    all.join(",")
}

/// The deployment carries the revision it is at; that is no change of its spec.
fn set_revision(turn: &mut Turn, me: &Object, revision: i64) {
    turn.edit_metadata(&me.key, |meta| {
        let metadata =
            scale::annotated(Value::Object(std::mem::take(meta)), &[(REVISION.into(), revision.to_string())]);
        if let Value::Object(map) = metadata {
            *meta = map;
        }
    });
}
