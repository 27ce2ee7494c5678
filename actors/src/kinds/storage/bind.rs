//! Binding: both sides say in the same turn that they belong together.

use serde_json::{Value, json};

use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use crate::{
    object::{Object, ObjectKey},
    turn::Turn,
};

/// Binds a claim and a volume. Doing it again changes nothing.
pub(super) fn bind(turn: &mut Turn, volume: &ObjectKey, claim: &ObjectKey) {
    let (Some(volume), Some(claim)) = (turn.state().get(volume).cloned(), turn.state().get(claim).cloned())
    else {
        return;
    };
    let (Some(held), Some(wanted)) = (volume.volume(), claim.claim()) else { return };

    let mut spec = volume.document.spec_value();
    let mut metadata = volume.document.metadata_value();
    if held.claim.is_none() {
        metadata["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
    }
    if held.claim.as_ref().is_none_or(|reference| reference.uid != claim.meta.uid) {
        spec["claimRef"] = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.key.namespace,
            "name": claim.key.name, "uid": claim.meta.uid, "resourceVersion": claim.revision.to_string(),
        });
    }
    let status = with_phase(&volume, "Bound", &turn.now());
    let document = volume.document.with_metadata(metadata).with_spec(spec.clone()).with_status(status);
    turn.put(&volume.key, document);

    let mut metadata = claim.document.metadata_value();
    metadata["annotations"][BIND_COMPLETED] = "yes".into();
    let mut asked = claim.document.spec_value();
    if wanted.volume.is_empty() {
        metadata["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        asked["volumeName"] = volume.key.name.as_str().into();
    }
    let mut status = claim.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    status["phase"] = "Bound".into();
    status["accessModes"] = spec["accessModes"].clone();
    status["capacity"] = spec["capacity"].clone();
    turn.put(&claim.key, claim.document.with_metadata(metadata).with_spec(asked).with_status(status));
}

/// The status of a volume with another phase; when it came into this one is kept with it.
pub(super) fn with_phase(volume: &Object, phase: &str, now: &str) -> Value {
    let mut status = volume.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    if status["phase"] != phase {
        status = json!({"phase": phase, "lastPhaseTransitionTime": now});
    }
    status
}
