//! Scaling: one set, or all of them when the deployment's replicas were changed in the middle of a rollout.

use std::{cmp::Reverse, sync::Arc};

use serde_json::{Value, json};

use super::{
    COMPONENT, DESIRED_REPLICAS, MAX_REPLICAS, amount,
    claim::{Sets, digest, replicas},
};
use crate::{
    object::{DeploymentDigest, Object},
    turn::Turn,
};

fn annotation(set: &Object, name: &str) -> Option<i64> {
    set.meta.annotations.get(name).and_then(|text| text.parse().ok())
}

/// The annotations by which a set remembers the deployment's size.
pub(super) fn sizes(spec: &DeploymentDigest) -> [(&'static str, String); 2] {
    [
        (DESIRED_REPLICAS, spec.replicas.to_string()),
        (MAX_REPLICAS, (spec.replicas + amount::surge(spec)).to_string()),
    ]
}

/// Whether the deployment's replicas were changed since its sets were scaled.
pub(super) fn asked_for(spec: &DeploymentDigest, sets: &Sets) -> bool {
    let differs = |set: &Arc<Object>| annotation(set, DESIRED_REPLICAS).is_some_and(|d| d != spec.replicas);
    sets.active().iter().any(differs)
}

/// Gives a set a size and says so. True when the size changed.
pub(super) fn one(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, set: &Object, size: i64) -> bool {
    let from = replicas(set);
    let mut document = set.document.whole();
    let mut metadata = document.metadata_value();
    if from != size {
        let mut value = document.spec_value();
        value["replicas"] = size.into();
        document = document.with_spec(value);
        metadata["generation"] = (set.meta.generation + 1).into();
    }
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    for (name, value) in sizes(spec) {
        metadata["annotations"][name] = value.into();
    }
    turn.put(&set.key, document.with_metadata(metadata));
    if from == size {
        return false;
    }
    let way = if size > from { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {} from {from} to {size}", set.key.name);
    turn.event(me, "Normal", "ScalingReplicaSet", message, COMPONENT);
    true
}

/// Brings the sets to the deployment's size without going on with the rollout. True when a size changed.
pub(super) fn all(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) -> bool {
    let mut targets: Vec<(Arc<Object>, i64)> =
        sets.active().into_iter().map(|s| (s.clone(), replicas(&s))).collect();
    if let Some(only) = only_one(sets) {
        targets = vec![(only, spec.replicas)];
    } else if saturated(spec, sets) {
        for (set, size) in &mut targets {
            if sets.newest.as_ref().is_none_or(|newest| newest.key != set.key) {
                *size = 0;
            }
        }
    } else if !spec.recreate {
        targets = proportional(spec, sets.active());
    }
    let mut changed = false;
    for (set, size) in targets {
        changed |= one(turn, me, spec, &set, size);
    }
    changed
}

/// The set that alone has pods; when none has any, the one to fill: the newest, else the latest of the others.
fn only_one(sets: &Sets) -> Option<Arc<Object>> {
    let active = sets.active();
    match active.as_slice() {
        [] => sets.newest.clone().or_else(|| sets.old.last().cloned()),
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// Whether the newest set does the whole work already.
fn saturated(spec: &DeploymentDigest, sets: &Sets) -> bool {
    sets.newest.as_ref().is_some_and(|set| {
        let own = digest(set);
        own.replicas == spec.replicas
            && annotation(set, DESIRED_REPLICAS) == Some(spec.replicas)
            && own.status.available_replicas == spec.replicas
    })
}

/// Shares what is to be added or taken out among the sets by their sizes; the largest gets what rounding leaves.
fn proportional(spec: &DeploymentDigest, mut sets: Vec<Arc<Object>>) -> Vec<(Arc<Object>, i64)> {
    let total: i64 = sets.iter().map(|set| replicas(set)).sum();
    let allowed = if spec.replicas > 0 { spec.replicas + amount::surge(spec) } else { 0 };
    let to_add = allowed - total;
    if to_add > 0 {
        sets.sort_by_key(|set| (Reverse(replicas(set)), Reverse(set.meta.created_ms), set.key.clone()));
    } else {
        sets.sort_by_key(|set| (Reverse(replicas(set)), set.meta.created_ms, set.key.clone()));
    }
    let mut added = 0;
    let mut sized = Vec::with_capacity(sets.len());
    for set in sets {
        let share = share(spec, &set, to_add - added, to_add);
        added += share;
        let size = replicas(&set) + share;
        sized.push((set, size));
    }
    if let Some((_, size)) = sized.first_mut() {
        *size = (*size + to_add - added).max(0);
    }
    sized
}

fn share(spec: &DeploymentDigest, set: &Object, left: i64, to_add: i64) -> i64 {
    if to_add == 0 || left == 0 {
        return 0;
    }
    let size = replicas(set);
    let fraction = if spec.replicas == 0 {
        -size
    } else {
        let before =
            annotation(set, MAX_REPLICAS).filter(|max| *max > 0).unwrap_or(spec.status.replicas).max(1);
        let after = spec.replicas + amount::surge(spec);
        // Rounded to the nearest, halves up.
        (size * after * 2 + before) / (before * 2) - size
    };
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// The object's metadata with other annotations; those not named stay.
pub(super) fn annotated(mut metadata: Value, annotations: &[(String, String)]) -> Value {
    if !annotations.is_empty() && !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    for (name, value) in annotations {
        metadata["annotations"][name.as_str()] = value.as_str().into();
    }
    metadata
}
