//! Persistent volumes and the claims to them: who is bound to what, which volumes are made and which go.
//!
//! ```text
//!   claim --reconcile--> a volume that fits --bind--> both say so
//!         \-- waits for a pod --scheduler: node--> a volume that fits there, or a folder of that node: made and bound at once
//!   claim gone --> volume released --policy Delete--> its worker removes the folder and says so --> volume gone
//! ```
//!
//! Words, phases and annotations follow Kubernetes' pv controller. Not for mounting (the worker does that).

mod bind;
pub mod claim;
mod class;
mod matching;
mod provision;
mod resize;
pub mod volume;

use std::sync::Arc;

use serde_json::Value;

pub use self::{class::Class, provision::default_class};
pub(crate) use self::{
    matching::{Choice, choose, waiting},
    provision::take_place,
    resize::admit as admit_update,
};
use crate::{
    input::PodReport,
    kind::Kind,
    object::{ClaimDigest, ClaimRef, Object, ObjectKey, VolumeDigest, storage::LOCAL_PATH},
    state::State,
    turn::Turn,
};

/// Holds a claim while pods use it.
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Holds a volume while a claim is bound to it.
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Holds a volume of the cluster's own driver until its folder is gone.
const FOLDER: &str = LOCAL_PATH;
/// Whoever binds says by it that both sides were written.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The other side was chosen by the cluster, not by a user.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is to make a claim's volume.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The node that the scheduler chose for a claim's volume.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The component in events, as Kubernetes has it.
const COMPONENT: &str = "persistentvolume-controller";

/// Whether it has the finalizer that every claim and every volume gets.
pub(crate) fn is_protected(object: &Object) -> bool {
    let finalizer = match object.key.kind {
        Kind::PERSISTENT_VOLUME => VOLUME_PROTECTION,
        _ => CLAIM_PROTECTION,
    };
    object.meta.deleting() || has(object, finalizer)
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.meta.finalizers.iter().any(|found| found == finalizer)
}

/// Gives an object finalizers that it lacks, unless it is on its way out.
fn protect(turn: &mut Turn, object: &Object, finalizers: &[&str]) {
    let missing: Vec<Value> =
        finalizers.iter().filter(|name| !has(object, name)).map(|name| (*name).into()).collect();
    if missing.is_empty() || object.meta.deleting() {
        return;
    }
    turn.edit_metadata(&object.key, |meta| {
        let list = meta.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.extend(missing);
        }
    });
}

/// The claim that a pod's volume names.
pub(crate) fn claim_of_pod<'a>(state: &'a State, pod: &Object, name: &str) -> Option<&'a Object> {
    let key = ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &pod.key.namespace, name);
    state.get(&key).map(|claim| &**claim)
}

/// The volume of this name.
pub(crate) fn volume_named<'a>(state: &'a State, name: &str) -> Option<&'a Object> {
    state.get(&ObjectKey::new(Kind::PERSISTENT_VOLUME, "", name)).map(|volume| &**volume)
}

fn claim_key(reference: &ClaimRef) -> ObjectKey {
    ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &reference.namespace, &reference.name)
}

/// Whether a volume is this claim's, or kept for one of its name.
fn is_for(reference: &ClaimRef, claim: &Object) -> bool {
    reference.namespace == claim.key.namespace
        && reference.name == claim.key.name
        && (reference.uid.is_empty() || reference.uid == claim.meta.uid)
}

/// Whether both sides of a claim's binding were written.
pub(crate) fn is_bound(claim: &Object, digest: &ClaimDigest) -> bool {
    !digest.volume.is_empty() && claim.meta.annotations.contains_key(BIND_COMPLETED)
}

/// Whether a node reaches a volume.
pub(crate) fn reaches(node: &Object, volume: &VolumeDigest) -> bool {
    let matches = |terms: &Vec<_>| {
        terms.iter().any(|term: &crate::object::SelectorTerm| term.matches(&node.key.name, &node.meta.labels))
    };
    volume.nodes.as_ref().is_none_or(matches)
}

/// The node that is to remove the folder of a volume, once nothing uses that any more.
pub fn to_be_removed_by(volume: &Object) -> Option<&str> {
    if !volume.meta.deleting() || !has(volume, FOLDER) {
        return None;
    }
    let digest = volume.volume()?;
    let loose = digest.phase != "Bound" && digest.policy == "Delete" && digest.driver == LOCAL_PATH;
    (loose && !digest.node.is_empty()).then_some(&digest.node)
}

/// A node says that the folder of a volume is gone. One that is not asked for it is not listened to.
pub(crate) fn folder_gone(turn: &mut Turn, report: &PodReport) {
    let Some(volume) = volume_named(turn.state(), &report.name) else { return };
    let asked = to_be_removed_by(volume) == Some(report.node.as_str());
    if report.gone && asked && volume.meta.uid == report.uid {
        let key = volume.key.clone();
        turn.release(&key, FOLDER);
    }
}

/// Who else is to react to a change of a claim, a volume, a class, a node, or a pod with claims.
pub(crate) fn changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let Some(object) = new.or(old) else { return };
    match object.key.kind {
        Kind::POD if new.is_none() => pod_gone(turn, object),
        Kind::PERSISTENT_VOLUME_CLAIM => {
            let volumes = [old, new].into_iter().flatten().filter_map(|claim| claim.claim());
            for name in volumes.map(|claim| claim.volume.clone()).filter(|name| !name.is_empty()) {
                turn.notify(&ObjectKey::new(Kind::PERSISTENT_VOLUME, "", &name));
            }
            if new.is_none() {
                claim_gone(turn, object);
            }
            turn.try_again(|pod, digest| {
                pod.namespace == object.key.namespace && digest.claims.contains(&object.key.name)
            });
        }
        Kind::PERSISTENT_VOLUME => volume_changed(turn, old, new),
        Kind::STORAGE_CLASS => {
            let waiting = waiting_claims(turn.state(), |_| true);
            waiting.iter().for_each(|key| turn.notify(key));
            turn.try_again(|_, digest| !digest.claims.is_empty());
        }
        // A node that is gone for good removes no folders.
        Kind::NODE if new.is_none() => {
            let held = turn.state().list(Kind::PERSISTENT_VOLUME, None);
            let held: Vec<ObjectKey> = held
                .filter(|volume| volume.meta.deleting())
                .filter(|volume| volume.volume().is_some_and(|volume| volume.node == object.key.name))
                .map(|volume| volume.key.clone())
                .collect();
            held.iter().for_each(|key| turn.notify(key));
        }
        _ => {}
    }
}

/// A pod whose own claim has this name may make it now.
fn claim_gone(turn: &mut Turn, claim: &Object) {
    let pods = turn.state().list(Kind::POD, Some(&claim.key.namespace));
    let makes = |pod: &&Arc<Object>| pod.pod().is_some_and(|pod| pod.own_claims.contains(&claim.key.name));
    let keys: Vec<ObjectKey> = pods.filter(makes).map(|pod| pod.key.clone()).collect();
    keys.iter().for_each(|key| turn.notify(key));
}

fn pod_gone(turn: &mut Turn, pod: &Object) {
    let Some(digest) = pod.pod() else { return };
    for name in &digest.claims {
        let leaving = claim_of_pod(turn.state(), pod, name).filter(|claim| claim.meta.deleting());
        if let Some(key) = leaving.map(|claim| claim.key.clone()) {
            turn.notify(&key);
        }
    }
}

fn volume_changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    for reference in [old, new].into_iter().flatten().filter_map(|volume| volume.volume()?.claim.as_ref()) {
        turn.notify(&claim_key(reference));
    }
    // What is free now may be what somebody waits for, and what was named may be there now.
    let free = new.is_some_and(|new| new.volume().is_some_and(|volume| volume.claim.is_none()));
    let same = old.zip(new).is_some_and(|(old, new)| {
        old.document.whole().spec == new.document.whole().spec && old.meta.labels == new.meta.labels
    });
    if let Some(new) = new
        && (old.is_none() || free)
        && !same
    {
        let waiting = waiting_claims(turn.state(), |claim| {
            claim.volume == new.key.name
                || (free
                    && new.volume().is_some_and(|volume| {
                        claim.class.as_ref().is_some_and(|class| *class == volume.class)
                    }))
        });
        waiting.iter().for_each(|key| turn.notify(key));
    }
    let nodes = |object: Option<&Object>| object.and_then(|o| o.volume()).map(|volume| volume.nodes.clone());
    if (free && !same) || (old.is_some() && nodes(old) != nodes(new)) {
        turn.try_again(|_, digest| !digest.claims.is_empty());
    }
}

/// The claims that are not bound and of which this holds.
fn waiting_claims(state: &State, holds: impl Fn(&ClaimDigest) -> bool) -> Vec<ObjectKey> {
    let claims = state.list(Kind::PERSISTENT_VOLUME_CLAIM, None);
    let waiting = claims.filter(|claim| claim.claim().is_some_and(|c| c.phase != "Bound" && holds(c)));
    waiting.map(|claim| claim.key.clone()).collect()
}
