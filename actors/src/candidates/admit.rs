//! What came of asking about a candidate: it becomes a pod, or it goes and its owner waits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    held, node_of, of,
    owner::{component, made, not_made},
    pod,
};
use crate::{
    input::{Admission, Outcome, Rejection},
    kind::Kind,
    kinds::{
        namespace,
        pod::{admit as pass, bear_memory_pressure, qos_class},
        replica_set,
    },
    object::{AdmissionDigest, Document, Meta, Object, ObjectKey},
    turn::Turn,
};

/// What of a pod's metadata nobody who is asked about it can change: who it is, and whose.
const KEPT: [&str; 4] = ["name", "namespace", "generateName", "ownerReferences"];

impl Turn {
    /// Does as was decided about a candidate, if it still is what was asked about.
    pub(crate) fn admit(
        &mut self,
        key: &ObjectKey,
        revision: u64,
        verdict: &Admission,
    ) -> Result<Outcome, Rejection> {
        let found =
            self.state().get(key).filter(|_| key.kind == Kind::POD_CANDIDATE && !held::is_record(key));
        let candidate = found.cloned().ok_or_else(|| Rejection::NotFound(key.clone()))?;
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
        let admitted = match verdict {
            Admission::As(document) => become_pod(self, &owner, &candidate, document),
            Admission::Not(why) => Err(why.clone()),
        };
        match admitted {
            Ok(pod) => {
                held::admitted(self, &owner);
                // One that its node refuses is no success, and speaks for itself.
                if pod.is_active_pod() {
                    let message = made(&owner, &pod.key.name);
                    self.event(&owner, "Normal", "SuccessfulCreate", message, component(&owner));
                }
            }
            Err(why) => refuse(self, &owner, &key.name, &why),
        }
        Ok(Outcome::Done)
    }
}

/// Makes the pod, after all that a new pod passes when its owner makes it: what was changed in it may need completion, and may be too much.
fn become_pod(
    turn: &mut Turn,
    owner: &Object,
    candidate: &Object,
    document: &Document,
) -> Result<Arc<Object>, String> {
    let (was, mut pod) = (pod(candidate), document.to_value());
    let name = candidate.key.name.as_str();
    let at = ObjectKey::new(Kind::POD, &candidate.key.namespace, name);
    if turn.state().get(&at).is_some() {
        return Err(format!("pods {name:?} already exists"));
    }
    identify(&mut pod["metadata"], &was["metadata"], candidate);
    let forbidden = |why: &str| format!("pods {name:?} is forbidden: {why}");
    if !finds_again(owner, &pod, &was) {
        return Err(forbidden("webhooks made of it a pod that its owner would not know as its own"));
    }
    let class = qos_class(&pod["spec"]);
    bear_memory_pressure(&mut pod["spec"], class);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
    pass(turn, &mut pod)?;
    let names_node = pod["spec"]["nodeName"].is_string();
    let document = Document::from_value(pod);
    Ok(match names_node {
        true => turn.put_on_its_node(&at, document),
        false => turn.put(&at, document),
    })
}

/// Gives the pod back who it is: the uid and the time of its candidate, too.
fn identify(metadata: &mut Value, was: &Value, candidate: &Object) {
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
    fields.insert("generation".into(), 1.into());
}

/// Whether its owner would count the pod as its own, and for what it was made for. One that it would not know would be made again and again.
fn finds_again(owner: &Object, pod: &Value, was: &Value) -> bool {
    let labels =
        Meta::of(&Document::from_value(json!({"metadata": pod["metadata"]})).metadata).labels.clone();
    let selected = owner.pod_selector().is_none_or(|selector| selector.matches(&labels));
    selected && (owner.key.kind != Kind::DAEMON_SET || node_of(pod) == node_of(was))
}

/// Tells of a refusal, and has the owner wait. What is refused of one of its pods is refused of the others that it has on their way.
fn refuse(turn: &mut Turn, owner: &Object, name: &str, why: &str) {
    for other in of(turn, owner) {
        turn.remove(&other.key);
    }
    let until = held::refused(turn, owner);
    turn.event(owner, "Warning", "FailedCreate", not_made(owner, name, why), component(owner));
    if owner.replica_set().is_some() {
        replica_set::refused(turn, owner, why);
    }
    turn.wake_by(&owner.key, until);
    turn.notify(&owner.key);
}

/// Something changed: if it says who is asked, owners that wait try again.
pub(crate) fn changed(turn: &mut Turn, of: &ObjectKey) {
    if AdmissionDigest::KINDS.contains(&of.kind) {
        held::forgive(turn);
    }
}
