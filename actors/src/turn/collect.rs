//! Garbage collection: what becomes of objects whose owners are gone. By the index of dependents, never by scanning.

use std::collections::BTreeSet;

use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use super::{
    Turn,
    delete::{waits_for_dependents, waits_in_foreground},
};
use crate::{
    input::{DeleteOptions, Propagation},
    object::{Object, ObjectKey, OwnerRef, Uid},
};

impl Turn {
    /// An owner is gone: its dependents follow it, unless another owner still holds them.
    pub(super) fn owner_gone(&mut self, owner: &Object) {
        let dependents: Vec<ObjectKey> =
            self.state.dependents(&owner.meta.uid).map(|d| d.key.clone()).collect();
        if planted(Defect::GarbageOfTheLiving) && owner.pod().is_some_and(|p| p.restarts > 0) {
            self.delete_siblings(owner);
        }
        self.to_collect.extend(dependents.into_iter().skip(usize::from(planted(Defect::GarbageLeft))));
    }

    /// Collects what came up, and what comes up by that: one object after the other, since a chain of owners may be longer than a
    /// stack. What does not fit into the turn is derived again from the state when it is woken.
    pub(super) fn collect_all(&mut self) {
        while let Some(key) = self.to_collect.pop_first() {
            if self.full() {
                let now = self.now_ms();
                self.wake_by(&key, now);
            } else {
                self.collect(&key);
                self.finish_deletion(&key);
            }
        }
    }

    /// Whether an object's wake-up may be the only thing by which collection goes on.
    pub(super) fn waits_for_collection(&self, key: &ObjectKey) -> bool {
        self.state.get(key).is_some_and(|object| {
            waits_for_dependents(object) || object.meta.owners.iter().any(|r| self.dangling(object, r))
        })
    }

    /// The planted mistake: who else names the same owner is taken for its dependent.
    fn delete_siblings(&mut self, one: &Object) {
        let above = one.meta.controller().map(|owner| owner.uid.clone()).unwrap_or_default();
        let siblings: Vec<ObjectKey> = self.state.dependents(&above).map(|d| d.key.clone()).collect();
        for key in siblings {
            let _ = self.delete(&key, &DeleteOptions::default());
        }
    }

    /// Deletes an object all of whose owners are gone; lets go of single ones that are.
    pub(super) fn collect(&mut self, key: &ObjectKey) {
        let Some(object) = self.state.get(key).cloned() else { return };
        let (gone, solid): (Vec<&OwnerRef>, Vec<&OwnerRef>) =
            object.meta.owners.iter().partition(|r| self.dangling(&object, r));
        if gone.is_empty() {
            return;
        }
        for reference in &gone {
            self.tell_of_stranger(&object, reference);
        }
        if solid.is_empty() {
            let options =
                DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            // It exists and has no preconditions: a refusal can only be a protected namespace, which has no owner.
            let _ = self.delete(key, &options);
        } else {
            let uids = gone.iter().map(|r| r.uid.clone()).collect();
            self.forget_owners(key, &uids);
        }
    }

    /// An object that names owners of which none is there is looked at again in a moment.
    pub(super) fn collect_later(&mut self, object: &Object) {
        let owners = &object.meta.owners;
        if !owners.is_empty() && owners.iter().all(|r| self.dangling(object, r)) {
            let at = self.now_ms() + 1000;
            self.wake_by(&object.key, at);
        }
    }

    /// Lets dependents forget their owner.
    pub(super) fn release_dependents(&mut self, owner: &Object) {
        let uids = BTreeSet::from([owner.meta.uid.clone()]);
        let dependents: Vec<ObjectKey> =
            self.state.dependents(&owner.meta.uid).map(|d| d.key.clone()).collect();
        for key in dependents {
            if self.full() {
                return;
            }
            self.forget_owners(&key, &uids);
        }
    }

    /// Deletes dependents; those that block their owner in the foreground, so that they wait for theirs. One that somebody else holds, too,
    /// stays with him, and forgets those that wait for its end.
    pub(super) fn delete_dependents(&mut self, owner: &Object, foreground: bool) {
        let dependents: Vec<_> =
            self.state.dependents(&owner.meta.uid).filter(|d| !d.meta.deleting()).cloned().collect();
        for dependent in dependents {
            if self.full() {
                let now = self.now_ms();
                self.wake_by(&owner.key, now);
                return;
            }
            let waiting = self.waiting_owners(&dependent);
            let holds = |r: &OwnerRef| !waiting.contains(&r.uid) && !self.dangling(&dependent, r);
            if dependent.meta.owners.iter().any(holds) {
                self.forget_owners(&dependent.key, &waiting);
                continue;
            }
            let blocks =
                dependent.meta.owners.iter().any(|r| r.uid == owner.meta.uid && r.block_owner_deletion);
            let owns = self.state.dependents(&dependent.meta.uid).next().is_some();
            let propagation =
                if foreground && blocks && owns { Propagation::Foreground } else { Propagation::Background };
            let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
            let _ = self.delete(&dependent.key, &options);
        }
    }

    /// The owners of an object that wait in the foreground for its end.
    fn waiting_owners(&self, object: &Object) -> BTreeSet<Uid> {
        let owners = object.meta.owners.iter();
        let waits = |r: &&OwnerRef| {
            self.owner(&object.key.namespace, r).is_some_and(|owner| waits_in_foreground(&owner))
        };
        owners.filter(waits).map(|r| r.uid.clone()).collect()
    }

    fn forget_owners(&mut self, key: &ObjectKey, uids: &BTreeSet<Uid>) {
        // What an owner only wanted, nobody wants without it.
        if key.kind.is_internal() {
            self.remove(key);
            return;
        }
        self.edit_metadata(key, |meta| {
            if let Some(list) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                list.retain(|r| r["uid"].as_str().is_none_or(|uid| !uids.contains(uid)));
                if list.is_empty() {
                    meta.remove("ownerReferences");
                }
            }
        });
    }

    /// Tells people of an owner that exists, but in a namespace where it cannot be one. Not which: that may be nobody's business there.
    fn tell_of_stranger(&mut self, object: &Object, reference: &OwnerRef) {
        let (own, found) = (&object.key.namespace, self.state.by_uid(&reference.uid));
        if found.is_none_or(|owner| owner.key.namespace.is_empty() || owner.key.namespace == *own) {
            return;
        }
        let OwnerRef { api_version, kind, name, uid, .. } = reference;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {own}, name: {name}, uid: {uid}] does not exist in namespace {own:?}"
        );
        self.event(object, "Warning", "OwnerRefInvalidNamespace", message, "garbage-collector-controller");
    }

    /// Whether a reference means nothing that exists. A kind that is not served is never taken for gone, nor is a
    /// namespaced owner of a cluster-scoped object.
    fn dangling(&self, object: &Object, reference: &OwnerRef) -> bool {
        match self.state.kind_named(&reference.api_version, &reference.kind) {
            None => false,
            Some(kind) if kind.info().namespaced && object.key.namespace.is_empty() => false,
            Some(_) => self.owner(&object.key.namespace, reference).is_none(),
        }
    }
}
