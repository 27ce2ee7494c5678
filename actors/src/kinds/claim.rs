//! Which objects are an owner's: those that name it as their managing owner and match its selector. It adopts what matches and has no
//! owner, and lets go of what does not match any more.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    object::{Object, ObjectKey, Selector},
    turn::Turn,
};

/// Whether an object names another one as its managing owner.
pub(super) fn owned_by(object: &Object, owner: &Object) -> bool {
    object.meta.controller().is_some_and(|r| r.uid == owner.meta.uid)
}

/// The objects of a kind that name this one as their managing owner, by name.
pub(super) fn owned(turn: &Turn, me: &Object, kind: Kind) -> Vec<Arc<Object>> {
    let dependents = turn.state().dependents(&me.meta.uid);
    dependents.filter(|object| object.key.kind == kind && owned_by(object, me)).cloned().collect()
}

/// An owner's pods that count for it, after adopting and letting go.
pub(super) fn pods(
    turn: &mut Turn,
    me: &Object,
    selector: &Selector,
    counts: impl Fn(&Object) -> bool,
) -> Vec<Arc<Object>> {
    let own = |turn: &Turn| {
        let mut pods = owned(turn, me, Kind::POD);
        pods.retain(|pod| counts(pod));
        pods
    };
    let pods = own(turn);
    if me.meta.deleting() {
        return pods;
    }
    let strangers: Vec<&Arc<Object>> = pods.iter().filter(|p| !selector.matches(&p.meta.labels)).collect();
    let mut orphans: Vec<ObjectKey> = Vec::new();
    if !selector.is_empty() {
        let lonely =
            |pod: &&Arc<Object>| pod.meta.controller().is_none() && !pod.meta.deleting() && counts(pod);
        let found = turn.state().pods_matching(&me.key.namespace, selector).filter(lonely);
        orphans.extend(found.map(|pod| pod.key.clone()));
    }
    if strangers.is_empty() && orphans.is_empty() {
        return pods;
    }
    strangers.into_iter().for_each(|pod| release(turn, &pod.key, me));
    orphans.iter().for_each(|key| adopt(turn, key, me));
    own(turn)
}

/// Makes an owner the managing owner of an object.
pub(super) fn adopt(turn: &mut Turn, key: &ObjectKey, owner: &Object) {
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
pub(super) fn release(turn: &mut Turn, key: &ObjectKey, owner: &Object) {
    turn.edit_metadata(key, |meta| {
        if let Some(list) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
            list.retain(|r| r["uid"] != owner.meta.uid.as_str());
            if list.is_empty() {
                meta.remove("ownerReferences");
            }
        }
    });
}
