//! The pod of a daemon set for a node: its template, what all daemon pods bear, and the node's name, by which the scheduler places it.

use serde_json::{Value, json};

use super::fleet::{GENERATION, GENERATION_LABEL};
use crate::{
    kinds::history::HASH_LABEL,
    object::{
        DaemonSetDigest, Object,
        daemon_set::{BORNE, BORNE_ON_HOST},
    },
};

/// The template for all nodes.
pub(super) fn of(me: &Object, spec: &DaemonSetDigest, hash: &str) -> Value {
    let mut template = me.document.spec_value()["template"].take();
    let labels = &mut template["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels[HASH_LABEL] = hash.into();
    if let Some(generation) = me.meta.annotations.get(GENERATION) {
        labels[GENERATION_LABEL] = generation.as_str().into();
    }
    let tolerations = &mut template["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let borne = BORNE.into_iter().chain(Some(BORNE_ON_HOST).filter(|_| spec.host_network));
    if let Some(list) = tolerations.as_array_mut() {
        borne.for_each(|(key, effect)| bear(list, key, effect));
    }
    template
}

/// One like it takes its place: it may have been borne for a time only.
fn bear(list: &mut Vec<Value>, key: &str, effect: &str) {
    let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
    let alike = |other: &&mut Value| {
        ["key", "operator", "effect"].iter().all(|field| other[*field] == toleration[*field])
            && other["value"].as_str().unwrap_or_default().is_empty()
    };
    match list.iter_mut().find(alike) {
        Some(other) => *other = toleration,
        None => list.push(toleration),
    }
}

/// The template for one node. What the set says of nodes has been asked already.
pub(super) fn on_node(template: &Value, node: &str) -> Value {
    let mut template = template.clone();
    let mut required = &mut template["spec"];
    for field in ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"] {
        required = &mut required[field];
        if !required.is_object() {
            *required = json!({});
        }
    }
    required["nodeSelectorTerms"] =
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    let annotations = &mut template["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = json!({});
    }
    template
}
