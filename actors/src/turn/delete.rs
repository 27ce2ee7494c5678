//! Deletion: grace for pods, finalizers, what becomes of dependents.

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};
use serde_json::{Value, json};

use super::Turn;
use crate::{
    input::{DeleteOptions, Outcome, Propagation, Rejection},
    kind::Kind,
    kinds::{definition, disruption_budget, pod},
    object::{Object, ObjectKey, rfc3339},
};

/// The finalizer of a foreground deletion.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that leaves dependents behind.
const ORPHAN: &str = "orphan";
/// Namespaces that the cluster needs.
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

fn deleted(object: &Object) -> Outcome {
    Outcome::Deleted {
        key: object.key.clone(),
        revision: object.revision,
        document: Some(object.document.whole()),
    }
}

fn pending(object: &Object) -> Outcome {
    Outcome::Object {
        key: object.key.clone(),
        revision: object.revision,
        document: Some(object.document.whole()),
    }
}

impl Turn {
    /// Deletes an object as asked: at once, or by marking it and waiting for its worker, its finalizers or its
    /// dependents. Asked again, it may only become sooner. What becomes of dependents follows later in the turn.
    pub fn delete(&mut self, key: &ObjectKey, options: &DeleteOptions) -> Result<Outcome, Rejection> {
        let mut object = self.state.get(key).cloned().ok_or_else(|| Rejection::NotFound(key.clone()))?;
        check(&object, options)?;
        if options.eviction {
            disruption_budget::may_evict(&self.state, &object)?;
            object = self.evicted(&object);
        }
        if key.kind == Kind::NAMESPACE && object.meta.deleting() {
            let message = "The system is ensuring all content is removed from this namespace.  Upon completion, this \
                           namespace will automatically be purged by the system.";
            return Err(Rejection::Conflict(key.clone(), message.into()));
        }
        let grace = grace_of(&object, options);
        if object.meta.deleting() {
            let remaining = object.meta.deletion_grace_s.unwrap_or(0);
            if key.kind != Kind::POD || grace >= remaining {
                return Ok(pending(&object));
            }
        }
        let mut finalizers: Vec<String> = object.meta.finalizers.iter().map(ToString::to_string).collect();
        match options.propagation {
            Some(Propagation::Orphan) => finalizers.push(ORPHAN.into()),
            Some(Propagation::Foreground) => finalizers.push(FOREGROUND.into()),
            _ => {}
        }
        if key.kind == Kind::CUSTOM_RESOURCE_DEFINITION && !object.meta.deleting() {
            finalizers.push(definition::FINALIZER.into());
        }
        finalizers.sort();
        finalizers.dedup();
        let namespace = key.kind == Kind::NAMESPACE;
        if (finalizers.is_empty() || planted(Defect::FinalizerIgnored)) && grace == 0 && !namespace {
            self.remove(key);
            return Ok(deleted(&object));
        }
        let at = rfc3339(self.now_ms().saturating_add(grace.saturating_mul(1000)));
        let first = !object.meta.deleting();
        // In a circle of owners that all wait for their dependents, nobody would ever go: who closes it is waited for no more.
        let closes_circle = options.propagation == Some(Propagation::Foreground)
            && self.state.dependents(&object.meta.uid).any(|d| d.key == *key || waits_in_foreground(d));
        self.edit_metadata(key, |meta| {
            // Its controllers do something else from here on, so it counts as changed, once.
            if first && object.meta.generation > 0 {
                meta.insert("generation".into(), (object.meta.generation + 1).into());
            }
            meta.insert("deletionTimestamp".into(), at.into());
            meta.insert("deletionGracePeriodSeconds".into(), grace.into());
            if !finalizers.is_empty() {
                meta.insert("finalizers".into(), json!(finalizers));
            }
            let owners = meta.get_mut("ownerReferences").filter(|_| closes_circle);
            for owner in owners.and_then(Value::as_array_mut).into_iter().flatten() {
                if owner["blockOwnerDeletion"] == true {
                    owner["blockOwnerDeletion"] = false.into();
                }
            }
        });
        let Some(marked) = self.state.get(key) else { return Ok(deleted(&object)) };
        let outcome = pending(marked);
        if waits_for_dependents(marked) {
            self.to_collect.insert(key.clone());
        }
        Ok(outcome)
    }

    /// The pod with the reason of its end in its status: whoever judges that end, such as a Job, must know it.
    fn evicted(&mut self, pod: &Object) -> Arc<Object> {
        let mut status = pod.document.status_value();
        pod::disrupted(&mut status, "EvictionByEvictionAPI", "Eviction API: evicting", &self.now());
        self.put_status(pod, status)
    }

    /// Goes on with a deletion that was asked for: serves the finalizers that are the cluster's own, and removes the
    /// object when nothing holds it any more. A placed pod is held by its worker until that says it is gone.
    pub fn finish_deletion(&mut self, key: &ObjectKey) {
        let Some(object) = self.state.get(key).cloned().filter(|o| o.meta.deleting()) else { return };
        let has = |name: &str| object.meta.finalizers.iter().any(|f| f == name);
        if has(ORPHAN) {
            self.release_dependents(&object);
            if self.state.dependents(&object.meta.uid).next().is_none() {
                self.drop_finalizer(key, ORPHAN);
            } else {
                let now = self.now_ms();
                self.wake_by(key, now);
            }
        }
        if has(FOREGROUND) {
            self.delete_dependents(&object, true);
            let blocked = self
                .state
                .dependents(&object.meta.uid)
                .any(|d| d.meta.owners.iter().any(|r| r.uid == object.meta.uid && r.block_owner_deletion));
            if !blocked {
                self.drop_finalizer(key, FOREGROUND);
            }
        }
        let Some(object) = self.state.get(key).cloned() else { return };
        let held_by_worker = object.pod().is_some_and(|p| p.node.is_some() && !p.terminal())
            && object.meta.deletion_grace_s.unwrap_or(0) > 0;
        if object.meta.finalizers.is_empty() && !held_by_worker && key.kind != Kind::NAMESPACE {
            self.remove(key);
        }
    }

    /// The worker says that nothing of a pod runs any more.
    pub(super) fn pod_gone(&mut self, pod: &Object) {
        if pod.meta.finalizers.is_empty() {
            self.remove(&pod.key);
        } else {
            self.edit_metadata(&pod.key, |meta| {
                meta.insert("deletionGracePeriodSeconds".into(), 0.into());
            });
            self.finish_deletion(&pod.key);
        }
    }

    /// Takes a finalizer away; with the last one goes an object whose deletion was asked for.
    pub(crate) fn release(&mut self, key: &ObjectKey, finalizer: &str) {
        self.drop_finalizer(key, finalizer);
        self.finish_deletion(key);
    }

    fn drop_finalizer(&mut self, key: &ObjectKey, name: &str) {
        self.edit_metadata(key, |meta| {
            if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
                list.retain(|f| f != name);
                if list.is_empty() {
                    meta.remove("finalizers");
                }
            }
        });
    }
}

/// Whether a deletion goes on when something happened to dependents.
pub(super) fn waits_for_dependents(object: &Object) -> bool {
    object.meta.deleting() && object.meta.finalizers.iter().any(|f| f == ORPHAN || f == FOREGROUND)
}

pub(super) fn waits_in_foreground(object: &Object) -> bool {
    object.meta.deleting() && object.meta.finalizers.iter().any(|f| f == FOREGROUND)
}

fn check(object: &Object, options: &DeleteOptions) -> Result<(), Rejection> {
    let key = &object.key;
    if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != object.meta.uid) {
        let message = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object.meta.uid
        );
        return Err(Rejection::Conflict(key.clone(), message));
    }
    if let Some(revision) = options.revision.filter(|r| *r != object.revision) {
        let message = format!(
            "Precondition failed: the ResourceVersion in the precondition ({revision}) does not match the \
             ResourceVersion in record ({}). The object might have been modified",
            object.revision
        );
        return Err(Rejection::Conflict(key.clone(), message));
    }
    if key.kind == Kind::NAMESPACE && PROTECTED.contains(&key.name.as_str()) {
        return Err(Rejection::Forbidden(key.clone(), "this namespace may not be deleted".into()));
    }
    Ok(())
}

/// Seconds that the object still has: only a placed pod that has not ended has any.
fn grace_of(object: &Object, options: &DeleteOptions) -> i64 {
    let Some(pod) = object.pod() else { return 0 };
    if pod.node.is_none() || pod.terminal() {
        return 0;
    }
    match options.grace_s.unwrap_or(pod.grace_s) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}
