//! What a worker is told about a pod: the pod as it is, the ConfigMaps and Secrets that it refers to, and its claims with the volumes that
//! they are bound to; no others. By a digest it says
//! later what it has been told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kontiki_actors::{Document, Kind, Object, ObjectKey, State, kinds::storage};
use kontiki_proto::worker::{Dependency, PodAssignment, VolumeRemoval};
use serde_json::Value;

/// Builds the assignment of a pod from a state.
pub(super) fn assignment(
    state: &State,
    pod: &Object,
    dependencies: &BTreeSet<ObjectKey>,
    trace: Option<&str>,
) -> PodAssignment {
    PodAssignment {
        uid: pod.meta.uid.to_string(),
        namespace: pod.key.namespace.to_string(),
        name: pod.key.name.to_string(),
        revision: pod.revision,
        pod: pod.to_json().into(),
        traceparent: trace.unwrap_or_default().to_string(),
        digest: digest(state, pod, dependencies),
        dependencies: dependencies
            .iter()
            .filter_map(|key| state.get(key))
            .map(|object| Dependency {
                kind: object.key.kind.info().kind.to_string(),
                namespace: object.key.namespace.to_string(),
                name: object.key.name.to_string(),
                revision: object.revision,
                object: object.to_json().into(),
            })
            .collect(),
    }
}

/// The same for as long as there is [no news](is_news) of the pod and of what it refers to, whoever leads: what a new leader need not
/// say again. A pod's revision does not tell, for it changes with each report of the worker itself.
pub(super) fn digest(state: &State, pod: &Object, dependencies: &BTreeSet<ObjectKey>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    let Document { metadata, spec, status: _, rest } = &pod.document.whole();
    for part in [pod.meta.uid.as_bytes(), metadata, spec, rest] {
        add(part);
    }
    for object in dependencies.iter().filter_map(|key| state.get(key)) {
        add(object.key.kind.info().kind.as_bytes());
        add(object.key.name.as_bytes());
        add(&object.revision.to_le_bytes());
    }
    let hash = hasher.finalize().to_hex();
    // 128 bits: two that are alike by chance are not to be expected.
    hash[..32].to_owned()
}

/// The ConfigMaps and Secrets that a pod's spec refers to (volumes, env, envFrom, imagePullSecrets), its claims, and their volumes; and its
/// RuntimeClass.
pub(super) fn dependencies(state: &State, pod: &Object) -> BTreeSet<ObjectKey> {
    let mut found = BTreeSet::new();
    let spec = pod.document.spec_value();
    if let Some(class) = spec["runtimeClassName"].as_str().filter(|class| !class.is_empty()) {
        found.insert(ObjectKey::new(Kind::RUNTIME_CLASS, "", class));
    }
    let mut add = |kind: Kind, name: &Value| {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            found.insert(ObjectKey::new(kind, &pod.key.namespace, name));
        }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for volume in list(&spec["volumes"]) {
        add(Kind::CONFIG_MAP, &volume["configMap"]["name"]);
        add(Kind::SECRET, &volume["secret"]["secretName"]);
        for source in list(&volume["projected"]["sources"]) {
            add(Kind::CONFIG_MAP, &source["configMap"]["name"]);
            add(Kind::SECRET, &source["secret"]["name"]);
        }
    }
    for secret in list(&spec["imagePullSecrets"]) {
        add(Kind::SECRET, &secret["name"]);
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec[field]) {
            for source in list(&container["envFrom"]) {
                add(Kind::CONFIG_MAP, &source["configMapRef"]["name"]);
                add(Kind::SECRET, &source["secretRef"]["name"]);
            }
            for env in list(&container["env"]) {
                add(Kind::CONFIG_MAP, &env["valueFrom"]["configMapKeyRef"]["name"]);
                add(Kind::SECRET, &env["valueFrom"]["secretKeyRef"]["name"]);
            }
        }
    }
    for name in pod.pod().into_iter().flat_map(|digest| &digest.claims) {
        let key = ObjectKey::new(Kind::PERSISTENT_VOLUME_CLAIM, &pod.key.namespace, name);
        let claim = state.get(&key).and_then(|claim| claim.claim());
        if let Some(claim) = claim.filter(|claim| !claim.volume.is_empty()) {
            found.insert(ObjectKey::new(Kind::PERSISTENT_VOLUME, "", &claim.volume));
        }
        found.insert(key);
    }
    found
}

/// The removal of a volume's folder, if this node is to do that.
pub(super) fn removal(volume: &Object, node: &str) -> Option<VolumeRemoval> {
    (storage::to_be_removed_by(volume)? == node)
        .then(|| VolumeRemoval { uid: volume.meta.uid.to_string(), name: volume.key.name.to_string() })
}

/// Whether a change of a pod is news for its worker: everything but the status, which the worker wrote itself.
pub(super) fn is_news(old: &Object, new: &Object) -> bool {
    let (a, b) = (old.document.whole(), new.document.whole());
    old.meta.uid != new.meta.uid || a.spec != b.spec || a.metadata != b.metadata || a.rest != b.rest
}

/// Whether it is a pod of this node.
pub(super) fn is_on(object: &Object, node: &str) -> bool {
    object.pod().is_some_and(|pod| pod.node.as_deref() == Some(node))
}

/// The node's pods that refer to these objects, by the names of those that did. The state may be ahead of what the session was told: a
/// pod of such a name may have been made anew since, on another node.
pub(super) fn users_on(
    state: &State,
    node: &str,
    objects: &BTreeSet<ObjectKey>,
    users: &BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
) -> Vec<Arc<Object>> {
    let names: BTreeSet<&ObjectKey> = objects.iter().filter_map(|key| users.get(key)).flatten().collect();
    names.into_iter().filter_map(|name| state.get(name)).filter(|pod| is_on(pod, node)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_pod_refers_to_goes_with_it() {
        let document = Document::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "volumes": [{"name": "a", "configMap": {"name": "c1"}}, {"name": "b", "secret": {"secretName": "s1"}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "s2"}}]}}],
            "imagePullSecrets": [{"name": "s4"}, {}], "runtimeClassName": "vm",
            "containers": [{"name": "x", "envFrom": [{"configMapRef": {"name": "c2"}}],
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "k"}}}]}],
            "ephemeralContainers": [{"name": "y", "envFrom": [{"secretRef": {"name": "s5"}}]}]}}));
        let pod = Object::new(ObjectKey::new(Kind::POD, "n", "p"), 1, document);
        let names: Vec<String> =
            dependencies(&State::default(), &pod).iter().map(|k| k.name.to_string()).collect();
        assert_eq!(names, ["c1", "c2", "s1", "s2", "s3", "s4", "s5", "vm"]);
    }

    #[test]
    fn a_pod_that_was_made_anew_elsewhere_is_no_more_this_nodes() {
        let mut state = State::default();
        for (name, node) in [("web-0", "b"), ("web-1", "a")] {
            let document =
                Document::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name},
                "spec": {"nodeName": node, "containers": [{"name": "x", "image": "x"}]}}));
            state.restore(Object::new(ObjectKey::new(Kind::POD, "n", name), 1, document));
        }
        let map = ObjectKey::new(Kind::CONFIG_MAP, "n", "m");
        // Both were on node a when it was told of them; web-2 is gone.
        let told = ["web-0", "web-1", "web-2"].map(|name| ObjectKey::new(Kind::POD, "n", name));
        let users = BTreeMap::from([(map.clone(), BTreeSet::from(told))]);
        let found = |node: &str| -> Vec<String> {
            let pods = users_on(&state, node, &BTreeSet::from([map.clone()]), &users);
            pods.iter().map(|pod| pod.key.name.to_string()).collect()
        };
        assert_eq!(found("a"), ["web-1"]);
    }
}
