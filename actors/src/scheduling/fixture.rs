//! Clusters for tests.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{Placement, plan};
use crate::{
    change::Change,
    kind::Kind,
    object::{Document, ObjectKey},
    state::State,
};

/// A state to plan on.
#[derive(Default)]
pub(super) struct Cluster {
    /// The state.
    pub(super) state: State,
    /// Pods made and not yet placed.
    pub(super) pods: Vec<ObjectKey>,
}

impl Cluster {
    /// Any object.
    pub(super) fn put(&mut self, key: &ObjectKey, value: Value) {
        let change = Change::between(key.clone(), None, &Document::from_value(value)).unwrap();
        self.state.apply(&change);
    }

    /// A ready node.
    pub(super) fn node(&mut self, name: &str, cpu: &str, labels: Value, spec: Value) {
        self.node_with_status(
            name,
            labels,
            spec,
            json!({
                "allocatable": {"cpu": cpu, "memory": "64Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            }),
        );
    }

    /// A node in any state.
    pub(super) fn node_with_status(&mut self, name: &str, labels: Value, spec: Value, status: Value) {
        let metadata = json!({"name": name, "uid": format!("node-{name}"), "labels": labels});
        let node = json!({"metadata": metadata, "spec": spec, "status": status});
        self.put(&ObjectKey::new(Kind::NODE, "", name), node);
    }

    /// Nodes `n0`, `n1` ... of four cores over as many zones.
    pub(super) fn nodes(count: usize, zones: usize) -> Cluster {
        let mut cluster = Cluster::default();
        for node in 0..count {
            let name = format!("n{node:04}");
            let zone = format!("z{}", node % zones);
            let labels = json!({"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name});
            cluster.node(&name, "4", labels, json!({}));
        }
        cluster
    }

    /// A waiting pod; with an owner if it is not empty.
    pub(super) fn pod(&mut self, name: &str, owner: &str, spec: Value) -> ObjectKey {
        let key = ObjectKey::new(Kind::POD, "default", name);
        let mut metadata = json!({"name": name, "namespace": "default", "uid": format!("pod-{name}"),
            "labels": {"app": owner}, "creationTimestamp": "2026-01-01T00:00:00Z"});
        if !owner.is_empty() {
            metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner,
                "uid": owner, "controller": true}]);
        }
        self.put(&key, json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}));
        self.pods.push(key.clone());
        key
    }

    /// Waiting pods of one owner.
    pub(super) fn replicas(&mut self, owner: &str, count: usize, spec: &Value) {
        for replica in 0..count {
            self.pod(&format!("{owner}-{replica:05}"), owner, spec.clone());
        }
    }

    /// Asks a pod to end.
    pub(super) fn end(&mut self, key: &ObjectKey) {
        let old = self.state.get(key).unwrap().document.whole();
        let mut metadata = old.metadata_value();
        metadata["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        let change = Change::between(key.clone(), Some(&old), &old.with_metadata(metadata)).unwrap();
        self.state.apply(&change);
    }

    /// Plans all waiting pods.
    pub(super) fn plan(&self) -> Vec<Placement> {
        plan(&self.state, &self.pods, 0)
    }

    /// Makes a plan true.
    pub(super) fn assign(&mut self, placements: &[Placement]) {
        for placement in placements {
            let Ok(node) = &placement.node else { continue };
            let old = self.state.get(&placement.pod).unwrap().document.whole();
            let mut spec = old.spec_value();
            spec["nodeName"] = node.as_str().into();
            let change = Change::between(placement.pod.clone(), Some(&old), &old.with_spec(spec)).unwrap();
            self.state.apply(&change);
        }
        self.pods.clear();
    }
}

/// A spec that asks for this much cpu.
pub(super) fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}
