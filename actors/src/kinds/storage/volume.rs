//! The volume: whose it is, and what becomes of it afterwards.

use serde_json::Value;

use super::{
    BOUND_BY_CONTROLLER, COMPONENT, FOLDER, PROVISIONED_BY, VOLUME_PROTECTION, bind::with_phase, claim_key,
    has, protect, to_be_removed_by,
};
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{Object, ObjectKey, VolumeDigest, storage::LOCAL_PATH},
    turn::Turn,
};

/// Brings a volume's phase up to date, and does what its policy says once its claim is gone.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(volume) = me.volume() else { return };
    let own = volume.driver == LOCAL_PATH;
    protect(turn, me, if own { &[VOLUME_PROTECTION, FOLDER] } else { &[VOLUME_PROTECTION] });
    settle(turn, &me.key, volume);
    // What is said of it may just have changed.
    let Some(me) = turn.state().get(&me.key).cloned().filter(|me| me.meta.deleting()) else { return };
    if me.volume().is_some_and(|volume| volume.phase == "Bound") {
        return;
    }
    if has(&me, VOLUME_PROTECTION) {
        turn.release(&me.key, VOLUME_PROTECTION);
    }
    // Its folder stays, or there is nobody any more who could remove it; else the worker is asked.
    let there = |node: &str| turn.state().get(&ObjectKey::new(Kind::NODE, "", node)).is_some();
    if has(&me, FOLDER) && !to_be_removed_by(&me).is_some_and(there) {
        turn.release(&me.key, FOLDER);
    }
}

fn settle(turn: &mut Turn, key: &ObjectKey, volume: &VolumeDigest) {
    let Some(reference) = volume.claim.as_ref() else { return phase(turn, key, "Available") };
    if reference.uid.is_empty() {
        phase(turn, key, "Available");
        return turn.notify(&claim_key(reference));
    }
    let claim =
        turn.state().get(&claim_key(reference)).filter(|claim| claim.meta.uid == reference.uid).cloned();
    let Some(claim) = claim else {
        // A volume that failed stays so: whoever looks after it has read why.
        if volume.phase != "Failed" {
            phase(turn, key, "Released");
            reclaim(turn, key, volume);
        }
        return;
    };
    match claim.claim().map(|claim| claim.volume.as_str()) {
        Some("") => turn.notify(&claim.key),
        Some(name) if name == key.name => {
            phase(turn, key, "Bound");
            turn.notify(&claim.key);
        }
        // The claim took another one. What was made for it is of no use; what was chosen for it is free again.
        _ if volume.policy == "Delete" && made(turn, key) => {
            phase(turn, key, "Released");
            reclaim(turn, key, volume);
        }
        _ => unbind(turn, key),
    }
}

fn made(turn: &Turn, key: &ObjectKey) -> bool {
    turn.state().get(key).is_some_and(|me| me.meta.annotations.contains_key(PROVISIONED_BY))
}

fn phase(turn: &mut Turn, key: &ObjectKey, phase: &str) {
    let Some(me) = turn.state().get(key).cloned() else { return };
    let status = with_phase(&me, phase, &turn.now());
    turn.put_status(&me, status);
}

/// What the policy says, for a volume whose claim is gone.
fn reclaim(turn: &mut Turn, key: &ObjectKey, volume: &VolumeDigest) {
    match volume.policy.as_str() {
        "Delete" if volume.driver == LOCAL_PATH => {
            // It exists and there are no preconditions, so this is not refused.
            let _ = turn.delete(key, &DeleteOptions::default());
        }
        // Whoever made it deletes it.
        "Delete" if made(turn, key) => {}
        "Delete" => fail(
            turn,
            key,
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                key.name
            ),
        ),
        "Recycle" => {
            fail(turn, key, "VolumeFailedRecycle", "no recyclable volume plugin matched".to_owned());
        }
        _ => {}
    }
}

fn fail(turn: &mut Turn, key: &ObjectKey, reason: &str, message: String) {
    let Some(me) = turn.state().get(key).cloned() else { return };
    let mut status = with_phase(&me, "Failed", &turn.now());
    status["reason"] = reason.into();
    status["message"] = message.as_str().into();
    turn.put_status(&me, status);
    turn.event(&me, "Warning", reason, message, COMPONENT);
}

/// The volume forgets a claim that is bound to another: wholly if the cluster chose it, else it stays kept for that name.
fn unbind(turn: &mut Turn, key: &ObjectKey) {
    let Some(me) = turn.state().get(key).cloned() else { return };
    let chosen = me.meta.annotations.contains_key(BOUND_BY_CONTROLLER);
    let (mut spec, mut metadata) = (me.document.spec_value(), me.document.metadata_value());
    if chosen {
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("claimRef");
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(BOUND_BY_CONTROLLER);
        }
    } else if let Some(reference) = spec.get_mut("claimRef").and_then(Value::as_object_mut) {
        reference.remove("uid");
        reference.remove("resourceVersion");
    }
    turn.put(key, me.document.with_spec(spec).with_metadata(metadata));
    phase(turn, key, "Available");
}
