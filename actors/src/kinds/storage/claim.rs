//! The claim: finds its volume, or says what it waits for; and is held while pods use it.

use serde_json::json;

use super::{
    CLAIM_PROTECTION, COMPONENT, Class, PROVISIONER, bind::bind, class, has, is_bound, is_for, matching,
    protect, resize, volume_named,
};
use crate::{
    kind::Kind,
    object::{ClaimDigest, Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// Brings a claim nearer to its volume.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    if me.meta.deleting() {
        if has(me, CLAIM_PROTECTION) && !in_use(turn.state(), me) {
            turn.release(&me.key, CLAIM_PROTECTION);
        }
        return;
    }
    protect(turn, me, &[CLAIM_PROTECTION]);
    let Some(claim) = me.claim() else { return };
    if is_bound(me, claim) {
        bound(turn, me, claim);
    } else if me.meta.annotations.contains_key(super::BIND_COMPLETED) {
        lost(
            turn,
            me,
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        );
    } else if claim.volume.is_empty() {
        find(turn, me, claim);
    } else {
        take(turn, me, claim);
    }
}

/// Whether a pod uses it that has a node: until it is gone, as in Kubernetes, for what has ended may still be mounted.
fn in_use(state: &State, me: &Object) -> bool {
    let mut pods = state.list(Kind::POD, Some(&me.key.namespace));
    pods.any(|pod| pod.pod().is_some_and(|pod| pod.node.is_some() && pod.claims.contains(&me.key.name)))
}

/// It takes any volume that fits.
fn find(turn: &mut Turn, me: &Object, claim: &ClaimDigest) {
    if claim.class.is_none()
        && let Some(default) = class::default(turn.state())
    {
        // It reacts to that by itself.
        return turn.edit_spec(&me.key, |spec| spec["storageClassName"] = default.as_str().into());
    }
    let name = claim.class.as_deref().unwrap_or_default();
    let class = Class::named(turn.state(), name);
    let waits = class.as_ref().is_some_and(|class| class.waits_for_consumer);
    let first = matching::fitting(turn.state(), me, claim).into_iter().next();
    // Until a pod has a node, only what was kept for it is its.
    let found = first.filter(|volume| !waits || volume.volume().is_some_and(|volume| volume.claim.is_some()));
    if let Some(volume) = found.map(|volume| volume.key.clone()) {
        return bind(turn, &volume, &me.key);
    }
    let (r#type, reason, message) = match &class {
        Some(class) if waits => match class.refusal().filter(|_| class.is_local_path()) {
            Some(refusal) => ("Warning", "ProvisioningFailed", refusal.to_owned()),
            None => (
                "Normal",
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
        },
        None if name.is_empty() => (
            "Normal",
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".to_owned(),
        ),
        None => ("Warning", "ProvisioningFailed", format!("storageclass.storage.k8s.io {name:?} not found")),
        Some(class) if class.is_local_path() => (
            "Warning",
            "ProvisioningFailed",
            format!(
                "failed to provision volume with StorageClass {name:?}: configuration error, no node was specified: a class of \
                 {} needs volumeBindingMode WaitForFirstConsumer",
                class.provisioner
            ),
        ),
        Some(class) if class.provisioner == "kubernetes.io/no-provisioner" => {
            ("Warning", "ProvisioningFailed", format!("no volume plugin matched name: {}", class.provisioner))
        }
        Some(class) => {
            let provisioner = &class.provisioner;
            turn.edit_metadata(&me.key, |meta| {
                let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
                annotations[PROVISIONER] = provisioner.as_str().into();
            });
            (
                "Normal",
                "ExternalProvisioning",
                format!(
                    "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
                     system administrator. If volume creation is delayed, please verify that the provisioner is running and \
                     correctly registered."
                ),
            )
        }
    };
    tell(turn, me, r#type, reason, message);
}

/// It takes the volume that it names, and no other.
fn take(turn: &mut Turn, me: &Object, claim: &ClaimDigest) {
    let Some(volume) = volume_named(turn.state(), &claim.volume) else { return };
    let Some(digest) = volume.volume().filter(|_| !volume.meta.deleting()) else { return };
    let (key, name) = (volume.key.clone(), volume.key.name.clone());
    match &digest.claim {
        Some(reference) if !is_for(reference, me) => {
            let message = format!("volume {name:?} already bound to a different claim.");
            tell(turn, me, "Warning", "FailedBinding", message);
        }
        Some(_) => bind(turn, &key, &me.key),
        None => match matching::mismatch(digest, claim) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                tell(turn, me, "Warning", "VolumeMismatch", message);
            }
            None => bind(turn, &key, &me.key),
        },
    }
}

/// It is bound: its volume must be there, and be its.
fn bound(turn: &mut Turn, me: &Object, claim: &ClaimDigest) {
    let key = ObjectKey::new(Kind::PERSISTENT_VOLUME, "", &claim.volume);
    let Some(volume) = turn.state().get(&key).cloned() else {
        return lost(
            turn,
            me,
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        );
    };
    match volume.volume().and_then(|volume| volume.claim.as_ref()) {
        Some(reference) if !is_for(reference, me) => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(turn, me, "ClaimMisbound", message);
        }
        _ => {
            resize::grow(turn, me, claim, &volume);
            bind(turn, &key, &me.key);
        }
    }
}

fn lost(turn: &mut Turn, me: &Object, reason: &str, message: &str) {
    if me.claim().is_some_and(|claim| claim.phase == "Lost") {
        return;
    }
    turn.put_status(me, json!({"phase": "Lost"}));
    turn.event(me, "Warning", reason, message.to_owned(), COMPONENT);
}

/// Says what it waits for.
fn tell(turn: &mut Turn, me: &Object, r#type: &str, reason: &str, message: String) {
    turn.event(me, r#type, reason, message, COMPONENT);
}
