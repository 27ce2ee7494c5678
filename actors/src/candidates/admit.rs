//! What came of asking about a candidate: it becomes an object, or it goes and its owner waits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{held, node_of, object, of, owner, wanted};
use crate::{
    input::{Admission, Outcome, Rejection},
    kind::Kind,
    kinds::{
        namespace,
        pod::{admit as pass, bear_memory_pressure, qos_class},
    },
    limits,
    object::{AdmissionDigest, Document, Meta, Object, ObjectKey, ReplicaSetDigest},
    quota,
    turn::{Turn, answer},
};

/// What of an object's metadata nobody who is asked about it can change: who it is, and whose.
const KEPT: [&str; 4] = ["name", "namespace", "generateName", "ownerReferences"];

impl Turn {
    /// Does as was decided about a candidate, if it still is what was asked about.
    pub(crate) fn admit(
        &mut self,
        key: &ObjectKey,
        revision: u64,
        verdict: &Admission,
    ) -> Result<Outcome, Rejection> {
        let found = wanted(key).and_then(|of| Some((of, self.state().get(key)?.clone())));
        let ((kind, name), candidate) = found.ok_or_else(|| Rejection::NotFound(key.clone()))?;
        if candidate.revision != revision {
            return Err(Rejection::Conflict(key.clone(), "it is not what was asked about any more".into()));
        }
        self.remove(key);
        let owner = candidate.meta.controller().and_then(|owner| self.owner(&key.namespace, owner));
        let stays = |owner: &Arc<Object>| {
            !owner.meta.deleting() && !namespace::terminating(self.state(), &key.namespace)
        };
        let Some(owner) = owner.filter(stays) else {
            // Nobody wants it any more.
            return Ok(Outcome::Done);
        };
        // Its removal lets the owner look again, who knows what to do about a name that is taken. Names of pods are nobody else's mostly.
        if kind != Kind::POD && self.state().get(&ObjectKey::new(kind, &key.namespace, name)).is_some() {
            return Ok(Outcome::Done);
        }
        let was = object(&candidate);
        let admitted = match verdict {
            Admission::As(document) => become_object(self, &owner, kind, &candidate, &was, document),
            Admission::Not(why) => Err(why.clone()),
        };
        Ok(match admitted {
            Ok(made) => {
                held::forget(self, &owner, kind);
                owner::made(self, &owner, &made, &was);
                answer(&made)
            }
            Err(why) => {
                refuse(self, &owner, kind, name, &why);
                Outcome::Done
            }
        })
    }
}

/// Makes the object, after all that a new one passes when its owner makes it: what was changed in it may need completion, and may be too much.
fn become_object(
    turn: &mut Turn,
    owner: &Object,
    kind: Kind,
    candidate: &Object,
    was: &Value,
    document: &Document,
) -> Result<Arc<Object>, String> {
    let mut object = document.to_value();
    let name = was["metadata"]["name"].as_str().unwrap_or_default();
    let at = ObjectKey::new(kind, &candidate.key.namespace, name);
    let forbidden = |why: &str| format!("{} {name:?} is forbidden: {why}", kind.resource_name());
    if turn.state().get(&at).is_some() {
        return Err(format!("{} {name:?} already exists", kind.resource_name()));
    }
    identify(kind, &mut object["metadata"], &was["metadata"], candidate);
    object["status"] = was["status"].clone();
    if !finds_again(owner, kind, &object, was) {
        let what = match kind {
            Kind::REPLICA_SET => "replica set",
            _ => "pod",
        };
        return Err(forbidden(&format!(
            "webhooks made of it a {what} that its owner would not know as its own"
        )));
    }
    match kind {
        Kind::POD => {
            let class = qos_class(&object["spec"]);
            bear_memory_pressure(&mut object["spec"], class);
            object["status"] = json!({"phase": "Pending", "qosClass": class});
            pass(turn, &mut object)?;
        }
        Kind::PERSISTENT_VOLUME_CLAIM => {
            limits::admit(turn.state(), &at, &mut object)
                .and_then(|()| quota::admit_value(turn, &at, &object))
                .map_err(|why| forbidden(&why))?;
        }
        _ => {}
    }
    Ok(turn.put_new(&at, object))
}

/// Gives the object back who it is: the uid and the time of its candidate, too.
fn identify(kind: Kind, metadata: &mut Value, was: &Value, candidate: &Object) {
    if !metadata.is_object() {
        *metadata = json!({});
    }
    // Those by which its owner counts it stay.
    let mut finalizers: Vec<Value> = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    for finalizer in was["finalizers"].as_array().into_iter().flatten() {
        if !finalizers.contains(finalizer) {
            finalizers.push(finalizer.clone());
        }
    }
    let of_candidate = candidate.document.metadata_value();
    let Some(fields) = metadata.as_object_mut() else { return };
    for gone in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "managedFields", "finalizers"]
    {
        fields.remove(gone);
    }
    if !finalizers.is_empty() {
        fields.insert("finalizers".into(), finalizers.into());
    }
    let from = |source: &Value, field: &str| source.get(field).cloned();
    let kept = KEPT.iter().map(|field| (*field, from(was, field)));
    let own = ["uid", "creationTimestamp"].map(|field| (field, from(&of_candidate, field)));
    for (field, value) in kept.chain(own) {
        match value {
            Some(value) => drop(fields.insert(field.into(), value)),
            None => drop(fields.remove(field)),
        }
    }
    if kind.info().generation {
        fields.insert("generation".into(), 1.into());
    }
}

/// Whether its owner would count the object as its own, and for what it was made for. One that it would not know would be made again and
/// again: in Kubernetes it is.
fn finds_again(owner: &Object, kind: Kind, object: &Value, was: &Value) -> bool {
    let labels =
        || Meta::of(&Document::from_value(json!({"metadata": object["metadata"]})).metadata).labels.clone();
    match kind {
        Kind::POD => {
            let selected = owner.pod_selector().is_none_or(|selector| selector.matches(&labels()));
            selected && (owner.key.kind != Kind::DAEMON_SET || node_of(object) == node_of(was))
        }
        Kind::REPLICA_SET => {
            let template = |set: &Value| ReplicaSetDigest::of(&Document::from_value(set.clone())).template;
            owner.deployment().is_none_or(|spec| spec.selector.matches(&labels()))
                && template(object) == template(was)
        }
        // By its name.
        _ => true,
    }
}

/// Tells of a refusal, and has the owner wait. What is refused of one object is refused of the others of its kind that it has on their way.
fn refuse(turn: &mut Turn, owner: &Object, kind: Kind, name: &str, why: &str) {
    for other in of(turn, owner, kind) {
        turn.remove(&other.key);
    }
    let until = held::refused(turn, owner, kind);
    owner::not_made(turn, owner, kind, name, why);
    turn.wake_by(&owner.key, until);
    turn.notify(&owner.key);
}

/// Something changed: if it says who is asked, owners that wait try again.
pub(crate) fn changed(turn: &mut Turn, of: &ObjectKey) {
    if AdmissionDigest::KINDS.contains(&of.kind) {
        held::forgive(turn);
    }
}
