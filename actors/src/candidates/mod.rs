//! What actors want and what has to be admitted: what webhooks and policies are asked about before there is an object.
//!
//! ```text
//!   an actor wants an object -> asks.rs: is anybody to be asked?  no: it is made
//!                                                            yes: a candidate, an object of a kind that the API does not have
//!   the leader asks, outside of any turn (`api/src/candidates.rs`) -> Request::Admit for the candidate's revision
//!     -> admit.rs: the candidate becomes the object that was admitted, with all that a new one passes
//!                  or goes; its owner is told, and held.rs keeps it from making others for a while
//! ```
//!
//! Nobody sees an object before it is admitted, as in Kubernetes: no client, no scheduler, no worker, no quota. Owners count their candidates as
//! what is on its way. A candidate is the dependent of whoever wants it, so it goes when that goes, and a new leader finds all of them in the state.
//!
//! Candidates of pods are of a kind of their own, as builds of level 5 made them; all others have one kind in common, and names that say
//! of what they are: `jobs.batch:report-29397600`.

mod admit;
mod asks;
mod held;
mod owner;

pub(crate) use admit::changed;
pub use held::is_record;
pub(crate) use held::{forget, leave};
pub use owner::account;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    kind::Kind,
    kinds::daemon_set,
    object::{Document, Object, ObjectKey, PodDigest},
    turn::Turn,
};

/// The kinds of objects that somebody may be asked about when actors make them.
pub const KINDS: [Kind; 4] = [Kind::POD, Kind::REPLICA_SET, Kind::JOB, Kind::PERSISTENT_VOLUME_CLAIM];
/// The kinds of candidates.
pub const PLACES: [Kind; 2] = [Kind::POD_CANDIDATE, Kind::CANDIDATE];
/// Where a candidate of a pod has the pod that it is to become.
const POD: &str = "pod";
/// Where any other one has its object, and what that is.
const OBJECT: &str = "object";
/// The node that a candidate of a DaemonSet is for.
const NODE: &str = "kontiki.io/node";

/// What became of an object that an actor wants.
#[derive(Debug)]
pub(crate) enum Made {
    /// It is there.
    There(Arc<Object>),
    /// It waits to be admitted.
    Waits,
    /// There is one of this name.
    Taken,
}

/// The kind of the candidates of a kind.
fn place(kind: Kind) -> Kind {
    match kind {
        Kind::POD => Kind::POD_CANDIDATE,
        _ => Kind::CANDIDATE,
    }
}

/// Makes an object that its owner has completed, or a candidate of it if somebody is to be asked about it.
pub(crate) fn make(turn: &mut Turn, owner: &Object, kind: Kind, object: Value) -> Made {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    if turn.state().get(&ObjectKey::new(kind, namespace, name)).is_some() {
        return Made::Taken;
    }
    if !asks::asks(turn.state(), kind, &object) {
        // Whatever was refused before, nobody is asked any more.
        held::forget(turn, owner, kind);
        return turn.create(kind, object).map_or(Made::Taken, Made::There);
    }
    let at = key(kind, namespace, name);
    let candidate = match kind {
        Kind::POD => of_pod(owner, &at, object),
        _ => of_other(owner, &at, kind, object),
    };
    match turn.create(at.kind, candidate) {
        Some(_) => Made::Waits,
        None => Made::Taken,
    }
}

fn of_pod(owner: &Object, at: &ObjectKey, pod: Value) -> Value {
    let mut metadata = json!({"name": at.name, "namespace": at.namespace});
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
    json!({"metadata": metadata, POD: pod})
}

/// What the object says of its owners is another matter: a claim may outlive whoever wants it.
fn of_other(owner: &Object, at: &ObjectKey, kind: Kind, mut object: Value) -> Value {
    say_kind(&mut object, kind);
    let metadata = json!({"name": at.name, "namespace": at.namespace,
        "ownerReferences": [Turn::controller_reference(owner)]});
    json!({"metadata": metadata, OBJECT: object})
}

fn say_kind(object: &mut Value, kind: Kind) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), kind.api_version().into());
        fields.insert("kind".into(), kind.info().kind.into());
    }
}

/// The node that a daemon set's pod is for.
fn node_of(pod: &Value) -> Option<String> {
    let document = Document::from_value(json!({"spec": pod["spec"]}));
    daemon_set::node_of(&PodDigest::of(&document)).map(|node| node.to_string())
}

/// Whether nobody waits where an owner's objects of a kind would, and nothing of them was refused: mostly, and cheap to see.
pub(crate) fn are_none(turn: &Turn, owner: &Object, kind: Kind) -> bool {
    turn.state().list(place(kind), Some(&owner.key.namespace)).next().is_none()
}

/// The candidates of an owner for objects of a kind, in the order of their names.
pub(crate) fn of(turn: &Turn, owner: &Object, kind: Kind) -> Vec<Arc<Object>> {
    let (state, place) = (turn.state(), place(kind));
    if are_none(turn, owner, kind) {
        return Vec::new();
    }
    let own = |object: &&Arc<Object>| {
        object.key.kind == place
            && name(&object.key, kind).is_some()
            && object.meta.controller().is_some_and(|r| r.uid == owner.meta.uid)
    };
    state.dependents(&owner.meta.uid).filter(own).cloned().collect()
}

/// The candidate for an object of this kind and name, if it is the owner's.
pub(crate) fn named(turn: &Turn, owner: &Object, kind: Kind, name: &str) -> Option<Arc<Object>> {
    let candidate = turn.state().get(&key(kind, &owner.key.namespace, name))?;
    candidate.meta.controller().is_some_and(|r| r.uid == owner.meta.uid).then(|| candidate.clone())
}

/// Takes back all that an owner wants of a kind; what was refused before is forgotten.
pub(crate) fn withdraw(turn: &mut Turn, owner: &Object, kind: Kind) {
    if are_none(turn, owner, kind) {
        return;
    }
    for candidate in of(turn, owner, kind) {
        turn.remove(&candidate.key);
    }
    held::forget(turn, owner, kind);
}

/// Where the candidate for an object of this kind and name is.
pub(crate) fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    match place(kind) {
        Kind::POD_CANDIDATE => ObjectKey::new(Kind::POD_CANDIDATE, namespace, name),
        place => ObjectKey::new(place, namespace, &format!("{}:{name}", kind.resource_name())),
    }
}

/// The name of the object that the candidate at a key is for, if it is one of this kind.
pub(crate) fn name(key: &ObjectKey, kind: Kind) -> Option<&str> {
    let name = key.name.as_str();
    match key.kind == place(kind) && !is_record(key) {
        false => None,
        true if kind == Kind::POD => Some(name),
        true => name.strip_prefix(&kind.resource_name())?.strip_prefix(':'),
    }
}

/// Whether this is a candidate, and of what: the kind of the object, and its name.
pub fn wanted(key: &ObjectKey) -> Option<(Kind, &str)> {
    KINDS.into_iter().find_map(|kind| Some((kind, name(key, kind)?)))
}

/// The node that a candidate of a daemon set is for.
pub(crate) fn node(candidate: &Object) -> Option<&str> {
    candidate.meta.annotations.get(NODE).map(String::as_str)
}

/// The object that a candidate is to become, complete but for what is only known of one that is there.
pub fn object(candidate: &Object) -> Value {
    let (kind, field) = match candidate.key.kind {
        Kind::POD_CANDIDATE => (Some(Kind::POD), POD),
        _ => (None, OBJECT),
    };
    let mut object = match candidate.document.rest_value()[field].take() {
        Value::Object(object) => Value::Object(object),
        _ => Value::Object(Map::new()),
    };
    if let Some(kind) = kind {
        say_kind(&mut object, kind);
    }
    object
}
