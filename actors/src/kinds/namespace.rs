//! The namespace: what appears with it, and its end, which takes everything in it along.

use std::collections::BTreeMap;

use kontiki_hooks::{Defect, planted};
use serde_json::{Value, json};

use super::condition;
use crate::{
    candidates,
    input::DeleteOptions,
    kind::Kind,
    object::{Document, Object, ObjectKey},
    service_accounts::{DEFAULT, ROOT_CA},
    state::State,
    turn::Turn,
};

/// The finalizer by which the cluster holds a namespace until it is empty.
const FINALIZER: &str = "kubernetes";
/// The label that carries the name, for selectors of namespaces.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Where the CA comes from that all namespaces are given.
const CA_NAMESPACE: &str = "kube-system";
/// Objects deleted by one reaction: the rest follows in next turns.
const BATCH: usize = 500;

/// Whether a namespace is on its way out: nothing new may come into it.
pub fn terminating(state: &State, namespace: &str) -> bool {
    state.get(&ObjectKey::new(Kind::NAMESPACE, "", namespace)).is_some_and(|n| n.meta.deleting())
}

/// Completes a new namespace; empties one that is deleted.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    if me.meta.deleting() {
        empty(turn, me);
    } else {
        complete(turn, me);
        furnish(turn, me);
    }
}

/// Phase, finalizer and label.
fn complete(turn: &mut Turn, me: &Object) {
    let mut document = me.document.whole();
    let mut spec = document.spec_value();
    if spec.get("finalizers").is_none() {
        if !spec.is_object() {
            spec = json!({});
        }
        spec["finalizers"] = json!([FINALIZER]);
        document = document.with_spec(spec);
    }
    let mut status = document.status_value();
    if status["phase"] != "Active" {
        if !status.is_object() {
            status = json!({});
        }
        status["phase"] = "Active".into();
        document = document.with_status(status);
    }
    if me.meta.labels.get(NAME_LABEL) != Some(&me.key.name) {
        let mut metadata = document.metadata_value();
        if !metadata["labels"].is_object() {
            metadata["labels"] = json!({});
        }
        metadata["labels"][NAME_LABEL] = me.key.name.as_str().into();
        document = document.with_metadata(metadata);
    }
    turn.put(&me.key, document);
}

/// What pods in it rely on: the default account and the cluster's CA, as it is and not as somebody wrote it.
fn furnish(turn: &mut Turn, me: &Object) {
    let name = me.key.name.as_str();
    turn.create(Kind::SERVICE_ACCOUNT, json!({"metadata": {"name": DEFAULT, "namespace": name}}));
    let Some(source) = turn.state().get(&root_ca(CA_NAMESPACE)).cloned() else { return };
    match turn.state().get(&root_ca(name)).cloned() {
        None => {
            let data = source.document.rest_value()["data"].take();
            let metadata = json!({"name": ROOT_CA, "namespace": name});
            turn.create(Kind::CONFIG_MAP, json!({"metadata": metadata, "data": data}));
        }
        Some(copy) => {
            let document = Document { rest: source.document.whole().rest, ..copy.document.whole() };
            turn.put(&copy.key, document);
        }
    }
}

fn root_ca(namespace: &str) -> ObjectKey {
    ObjectKey::new(Kind::CONFIG_MAP, namespace, ROOT_CA)
}

/// Whether a namespace has what it is furnished with.
pub(crate) fn is_furnished(state: &State, namespace: &str) -> bool {
    let account = ObjectKey::new(Kind::SERVICE_ACCOUNT, namespace, DEFAULT);
    let has_ca = state.get(&root_ca(namespace)).is_some() || state.get(&root_ca(CA_NAMESPACE)).is_none();
    state.get(&account).is_some() && has_ca
}

/// Whether a namespace is furnished with this.
pub(crate) fn furnishes(key: &ObjectKey) -> bool {
    match key.kind {
        Kind::SERVICE_ACCOUNT => key.name == DEFAULT,
        Kind::CONFIG_MAP => key.name == ROOT_CA,
        _ => false,
    }
}

/// Something was changed or removed that a namespace is furnished with: it is put right in the same turn, unless the namespace goes.
pub(crate) fn furniture_changed(turn: &mut Turn, old: &Object, new: Option<&Object>) {
    let namespace = ObjectKey::new(Kind::NAMESPACE, "", &old.key.namespace);
    if terminating(turn.state(), &namespace.name) || turn.state().get(&namespace).is_none() {
        return;
    }
    // Here it comes from nowhere else.
    if new.is_none() && old.key == root_ca(CA_NAMESPACE) {
        let data = old.document.rest_value()["data"].take();
        let metadata = json!({"name": ROOT_CA, "namespace": CA_NAMESPACE});
        turn.create(Kind::CONFIG_MAP, json!({"metadata": metadata, "data": data}));
    }
    turn.notify(&namespace);
}

/// Nobody changes what the CA is that all namespaces are given: an update of it takes what it says of its metadata and leaves the rest.
pub(crate) fn keep_root_ca(old: &Object, new: &mut Document) {
    if old.key == root_ca(CA_NAMESPACE) {
        new.rest = old.document.whole().rest;
    }
}

/// Deletes what is in it: pods first, since they still use the rest; goes itself when nothing is left.
fn empty(turn: &mut Turn, me: &Object) {
    if turn.state().wake_of(&me.key) == Some(turn.now_ms()) {
        // Asked for in this turn: the rest is a next turn's.
        return;
    }
    let mut left = BATCH;
    delete_all(turn, me, Kind::POD, &mut left);
    for place in candidates::PLACES {
        delete_all(turn, me, place, &mut left);
    }
    let pods_remain = turn.state().list(Kind::POD, Some(&me.key.name)).next().is_some();
    if !pods_remain {
        for kind in namespaced(turn.state()) {
            delete_all(turn, me, kind, &mut left);
        }
    }
    if left == 0 || turn.full() {
        let now = turn.now_ms();
        turn.wake(&me.key, Some(now));
        return;
    }
    let remaining = Remaining::of(turn.state(), &me.key.name);
    if remaining.kinds.is_empty() || planted(Defect::NamespaceForgets) {
        turn.edit_spec(&me.key, |spec| {
            if let Some(list) = spec.get_mut("finalizers").and_then(Value::as_array_mut) {
                list.retain(|f| f != FINALIZER);
            }
        });
        let held = turn.state().get(&me.key).is_none_or(|namespace| {
            let finalizers = namespace.document.spec_value()["finalizers"].as_array().map_or(0, Vec::len);
            finalizers > 0 || !namespace.meta.finalizers.is_empty()
        });
        if !held {
            turn.remove(&me.key);
        }
    } else {
        let now = turn.now();
        let mut status = me.document.status_value();
        remaining.describe(&mut status, &now);
        turn.put_status(me, status);
    }
}

fn namespaced(state: &State) -> Vec<Kind> {
    state.kinds().filter(|kind| kind.info().namespaced).collect()
}

fn delete_all(turn: &mut Turn, me: &Object, kind: Kind, left: &mut usize) {
    let state = turn.state();
    let keys = state.list(kind, Some(&me.key.name)).filter(|o| !o.meta.deleting()).map(|o| o.key.clone());
    let keys: Vec<ObjectKey> = keys.take(*left).collect();
    for key in keys {
        if turn.full() {
            *left = 0;
            return;
        }
        *left -= 1;
        // What its owner's deletion took along before is gone already: nothing to refuse, nothing to say.
        let _ = turn.delete(&key, &DeleteOptions::default());
    }
}

/// What is still in a namespace that goes.
struct Remaining {
    kinds: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    fn of(state: &State, namespace: &str) -> Remaining {
        let mut remaining = Remaining { kinds: BTreeMap::new(), finalizers: BTreeMap::new() };
        for kind in namespaced(state) {
            for object in state.list(kind, Some(namespace)) {
                let info = kind.info();
                *remaining.kinds.entry(format!("{}.{}", info.plural, info.group)).or_default() += 1;
                for finalizer in &object.meta.finalizers {
                    *remaining.finalizers.entry(finalizer.to_string()).or_default() += 1;
                }
            }
        }
        remaining
    }

    fn describe(&self, status: &mut Value, now: &str) {
        if !status.is_object() {
            *status = json!({});
        }
        status["phase"] = "Terminating".into();
        let mut set = |kind: &str, value: bool, reason: &str, message: &str| {
            condition::set(status, kind, if value { "True" } else { "False" }, reason, message, now);
        };
        set(
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        );
        set(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        );
        set(
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        );
        let list: Vec<String> =
            self.kinds.iter().map(|(kind, count)| format!("{kind} has {count} resource instances")).collect();
        let message = format!("Some resources are remaining: {}", list.join(", "));
        set("NamespaceContentRemaining", true, "SomeResourcesRemain", &message);
        if self.finalizers.is_empty() {
            let message = "All content-preserving finalizers finished";
            set("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message);
        } else {
            let list: Vec<String> = self
                .finalizers
                .iter()
                .map(|(name, count)| format!("{name} in {count} resource instances"))
                .collect();
            let message =
                format!("Some content in the namespace has finalizers remaining: {}", list.join(", "));
            set("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", &message);
        }
    }
}
