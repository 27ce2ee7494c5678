//! Pods that actors want and that have to be admitted: what webhooks and policies are asked about before there is a pod.
//!
//! ```text
//!   an actor wants a pod -> asks.rs: is anybody to be asked?  no: the pod is made
//!                                                            yes: a candidate, an object of a kind that the API does not have
//!   the leader asks, outside of any turn (`api/src/candidates/`) -> Request::Admit for the candidate's revision
//!     -> admit.rs: the candidate becomes the pod that was admitted, with all that a new pod passes
//!                  or goes; its owner is told, and held.rs keeps it from making others for a while
//! ```
//!
//! Nobody sees a pod before it is admitted, as in Kubernetes: no client, no scheduler, no worker, no quota. Owners count their candidates as pods
//! on their way. A candidate is the owner's dependent, so it goes when that goes, and a new leader finds all of them in the state.

mod admit;
mod asks;
mod held;
mod owner;

pub(crate) use admit::changed;
pub use held::is_record;
pub(crate) use held::leave;
pub use owner::account;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    kind::Kind,
    kinds::daemon_set,
    object::{Document, Object, ObjectKey, PodDigest},
    turn::Turn,
};

/// Where a candidate has the pod that it is to become.
const POD: &str = "pod";
/// The node that a candidate of a DaemonSet is for.
const NODE: &str = "kontiki.io/node";

/// What became of a pod that an actor wants.
#[derive(Debug)]
pub(crate) enum Made {
    /// It is there.
    Pod(Arc<Object>),
    /// It waits to be admitted.
    Waits,
    /// There is one of this name.
    Taken,
}

/// Makes a pod that its owner has completed, or a candidate of it if somebody is to be asked about it.
pub(crate) fn make(turn: &mut Turn, owner: &Object, pod: Value) -> Made {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let key = ObjectKey::new(Kind::POD, text("namespace"), text("name"));
    if turn.state().get(&key).is_some() {
        return Made::Taken;
    }
    if !asks::asks(turn.state(), &pod) {
        // Whatever was refused before, nobody is asked any more.
        held::admitted(turn, owner);
        return turn.create(Kind::POD, pod).map_or(Made::Taken, Made::Pod);
    }
    let mut metadata = json!({"name": key.name, "namespace": key.namespace});
    // By these its owner knows what it is for, without reading the pod.
    for field in ["labels", "annotations", "ownerReferences"] {
        if let Some(value) = pod["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    if owner.key.kind == Kind::DAEMON_SET
        && let Some(node) = node_of(&pod)
    {
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][NODE] = node.into();
    }
    match turn.create(Kind::POD_CANDIDATE, json!({"metadata": metadata, POD: pod})) {
        Some(_) => Made::Waits,
        None => Made::Taken,
    }
}

/// The node that a daemon set's pod is for.
fn node_of(pod: &Value) -> Option<String> {
    let document = Document::from_value(json!({"spec": pod["spec"]}));
    daemon_set::node_of(&PodDigest::of(&document)).map(|node| node.to_string())
}

/// The candidates of an owner, in the order of their names.
pub(crate) fn of(turn: &Turn, owner: &Object) -> Vec<Arc<Object>> {
    let state = turn.state();
    if state.list(Kind::POD_CANDIDATE, Some(&owner.key.namespace)).next().is_none() {
        return Vec::new();
    }
    let own = |object: &&Arc<Object>| {
        object.key.kind == Kind::POD_CANDIDATE
            && !is_record(&object.key)
            && object.meta.controller().is_some_and(|r| r.uid == owner.meta.uid)
    };
    state.dependents(&owner.meta.uid).filter(own).cloned().collect()
}

/// The candidate of this name, if it is the owner's.
pub(crate) fn named(turn: &Turn, owner: &Object, name: &str) -> Option<Arc<Object>> {
    let candidate = turn.state().get(&key(&owner.key.namespace, name))?;
    candidate.meta.controller().is_some_and(|r| r.uid == owner.meta.uid).then(|| candidate.clone())
}

/// Where the candidate of a pod of this name is.
pub(crate) fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(Kind::POD_CANDIDATE, namespace, name)
}

/// The node that a candidate of a daemon set is for.
pub(crate) fn node(candidate: &Object) -> Option<&str> {
    candidate.meta.annotations.get(NODE).map(String::as_str)
}

/// The pod that a candidate is to become, complete but for what is only known of a pod that is there.
pub fn pod(candidate: &Object) -> Value {
    let mut pod = match candidate.document.rest_value()[POD].take() {
        Value::Object(pod) => pod,
        _ => Map::new(),
    };
    pod.insert("apiVersion".into(), Kind::POD.api_version().into());
    pod.insert("kind".into(), Kind::POD.info().kind.into());
    Value::Object(pod)
}
