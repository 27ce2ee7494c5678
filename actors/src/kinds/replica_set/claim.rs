//! Which pods are a replica set's: those that name it as their managing owner and match its selector. It adopts what
//! matches and has no owner, and lets go of what does not match any more.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    object::{Object, ObjectKey, ReplicaSetDigest},
    turn::Turn,
};

fn owned_by(object: &Object, owner: &Object) -> bool {
    object.meta.controller().is_some_and(|r| r.uid == owner.meta.uid)
}

/// The set's pods that count: not ended, not leaving.
pub(super) fn active(turn: &Turn, me: &Object) -> Vec<Arc<Object>> {
    let dependents = turn.state().dependents(&me.meta.uid);
    dependents.filter(|o| owned_by(o, me) && o.is_active_pod()).cloned().collect()
}

/// The same, after adopting and letting go.
pub(super) fn pods(turn: &mut Turn, me: &Object, spec: &ReplicaSetDigest) -> Vec<Arc<Object>> {
    if !me.meta.deleting() {
        let strangers: Vec<ObjectKey> = active(turn, me)
            .iter()
            .filter(|pod| !spec.selector.matches(&pod.meta.labels))
            .map(|pod| pod.key.clone())
            .collect();
        for key in strangers {
            release(turn, &key, me);
        }
        if !spec.selector.is_empty() {
            let orphans: Vec<ObjectKey> = turn
                .state()
                .pods_matching(&me.key.namespace, &spec.selector)
                .filter(|pod| pod.meta.controller().is_none() && pod.is_active_pod())
                .map(|pod| pod.key.clone())
                .collect();
            for key in orphans {
                adopt(turn, &key, me);
            }
        }
    }
    active(turn, me)
}

/// Makes an owner the managing owner of an object.
pub(in crate::kinds) fn adopt(turn: &mut Turn, key: &ObjectKey, owner: &Object) {
    let reference = Turn::controller_reference(owner);
    turn.edit_metadata(key, |meta| {
        let list = meta.entry("ownerReferences").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.retain(|r| r["uid"] != reference["uid"]);
            list.push(reference);
        }
    });
}

/// Takes an owner off an object.
pub(in crate::kinds) fn release(turn: &mut Turn, key: &ObjectKey, owner: &Object) {
    turn.edit_metadata(key, |meta| {
        if let Some(list) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
            list.retain(|r| r["uid"] != owner.meta.uid.as_str());
            if list.is_empty() {
                meta.remove("ownerReferences");
            }
        }
    });
}
