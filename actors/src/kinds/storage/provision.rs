//! Volumes that the cluster makes itself: folders of workers, each below its worker's data directory. An object names no path; the worker
//! derives it from the volume's own name.

use serde_json::{Value, json};

use super::{
    COMPONENT, Class, FOLDER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, VOLUME_PROTECTION, bind::bind,
    choose, matching,
};
use crate::{
    kind::Kind,
    object::{
        Document, Object, ObjectKey,
        storage::{LOCAL_PATH, NODE_ATTRIBUTE},
    },
    turn::Turn,
};

/// The label by which volumes keep to their node.
const HOST_NAME: &str = "kubernetes.io/hostname";

/// The class of such volumes that every cluster begins with; it is the default one.
pub fn default_class() -> (ObjectKey, Document) {
    const NAME: &str = "local-path";
    let class = json!({
        "metadata": {"name": NAME, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": LOCAL_PATH, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
    });
    (ObjectKey::new(Kind::STORAGE_CLASS, "", NAME), Document::from_value(class))
}

/// Binds what a pod's claims wait for, now that it gets this node. False if that cannot be: then nothing was done.
pub(crate) fn take_place(turn: &mut Turn, pod: &Object, node: &str) -> bool {
    use super::Choice;
    if pod.pod().is_none_or(|digest| digest.claims.is_empty()) {
        return true;
    }
    let state = turn.state().clone();
    let Some(node) = state.get(&ObjectKey::new(Kind::NODE, "", node)) else { return false };
    let Some(choices) = choose(&matching::waiting(&state, pod), node) else { return false };
    for choice in choices {
        match choice {
            Choice::Found { claim, volume } => bind(turn, &volume, &claim),
            Choice::Make { claim } => make(turn, &claim, node),
        }
    }
    true
}

fn make(turn: &mut Turn, claim: &ObjectKey, node: &Object) {
    let Some(claim) = turn.state().get(claim).cloned() else { return };
    let spec = claim.document.spec_value();
    let name = format!("pvc-{}", claim.meta.uid);
    let class_name = spec["storageClassName"].as_str().unwrap_or_default();
    let Some(class) = Class::named(turn.state(), class_name) else { return };
    turn.edit_metadata(&claim.key, |meta| {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        annotations[SELECTED_NODE] = node.key.name.as_str().into();
        annotations[PROVISIONER] = LOCAL_PATH.into();
    });
    let host = node.meta.labels.get(HOST_NAME).unwrap_or(&node.key.name);
    let mut volume: Value = json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: LOCAL_PATH},
            "finalizers": [VOLUME_PROTECTION, FOLDER]},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"], "volumeMode": "Filesystem", "storageClassName": class_name,
            "persistentVolumeReclaimPolicy": class.policy,
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.key.namespace,
                "name": claim.key.name, "uid": claim.meta.uid, "resourceVersion": claim.revision.to_string()},
            "csi": {"driver": LOCAL_PATH, "volumeHandle": name, "volumeAttributes": {NODE_ATTRIBUTE: node.key.name}},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": HOST_NAME, "operator": "In", "values": [host]}]}]}},
        },
        "status": {"phase": "Bound", "lastPhaseTransitionTime": turn.now()},
    });
    if class.policy.is_empty() {
        volume["spec"]["persistentVolumeReclaimPolicy"] = "Delete".into();
    }
    let key = ObjectKey::new(Kind::PERSISTENT_VOLUME, "", &name);
    if turn.create(Kind::PERSISTENT_VOLUME, volume).is_some() {
        let message = format!("Successfully provisioned volume {name}");
        turn.event(&claim, "Normal", "ProvisioningSucceeded", message, COMPONENT);
    }
    bind(turn, &key, &claim.key);
}
