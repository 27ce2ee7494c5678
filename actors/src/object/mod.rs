//! An object: a key, its canonical JSON document in segments, and the typed digest that actors and the scheduler read.
//! Not for reading JSON ad hoc: what an actor needs of a document again and again belongs into its digest.

mod digest;
mod document;
mod key;
mod meta;

pub use digest::{
    Affinity, BudgetDigest, Condition, DeploymentDigest, DeploymentStatus, Digest, NodeDigest, PodAffinity,
    PodDigest, PodTerm, PreferredTerm, ReplicaSetDigest, ReplicaSetStatus, Requirement, Resources, Selector,
    SelectorTerm, SpreadConstraint, Taint, Toleration, node, pod, template,
};
pub use document::Document;
pub use key::{KeyError, ObjectKey, Uid};
pub use meta::{Meta, OwnerRef, parse_time_ms, rfc3339};

use std::sync::Arc;

/// One stored object at one revision.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it stands.
    pub key: ObjectKey,
    /// The revision of its last change: its resourceVersion.
    pub revision: u64,
    /// What is served.
    pub document: Document,
    /// Its metadata, typed. Shared with what the object was before, while it says the same.
    pub meta: Arc<Meta>,
    /// What actors and the scheduler need of spec and status.
    pub digest: Digest,
}

impl Object {
    /// Builds an object from its document: the digest is derived, never stored.
    pub fn new(key: ObjectKey, revision: u64, document: Document) -> Object {
        let meta = Arc::new(Meta::of(&document.metadata));
        let digest = Digest::of(key.kind, &document);
        Object { key, revision, document, meta, digest }
    }

    /// The same, made from what the object was before: what its unchanged segments say is not read again.
    pub fn after(old: &Object, revision: u64, document: Document) -> Object {
        let same = old.document.metadata == document.metadata;
        let meta = if same { old.meta.clone() } else { Arc::new(Meta::of(&document.metadata)) };
        let digest = Digest::after(old, &document);
        Object { key: old.key.clone(), revision, document, meta, digest }
    }

    /// The whole object as JSON bytes, with apiVersion, kind and resourceVersion.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.document.len() + 128);
        self.write_json(&mut out);
        out
    }

    /// Appends the whole object as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.document.write_json(self.key.kind, self.revision, out);
    }

    /// The whole object as a JSON value.
    pub fn to_value(&self) -> serde_json::Value {
        let mut value = self.document.to_value();
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), self.key.kind.api_version().into());
            map.insert("kind".into(), self.key.kind.info().kind.into());
            if let Some(meta) = map.get_mut("metadata").and_then(|m| m.as_object_mut()) {
                meta.insert("resourceVersion".into(), self.revision.to_string().into());
            }
        }
        value
    }

    /// The pod digest, if it is a pod.
    pub fn pod(&self) -> Option<&PodDigest> {
        if let Digest::Pod(digest) = &self.digest { Some(digest) } else { None }
    }

    /// Whether it is a pod that counts for its owner: not ended, not leaving.
    pub fn is_active_pod(&self) -> bool {
        !self.meta.deleting() && self.pod().is_some_and(|pod| !pod.terminal())
    }

    /// The node digest, if it is a node.
    pub fn node(&self) -> Option<&NodeDigest> {
        if let Digest::Node(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The replica set digest, if it is one.
    pub fn replica_set(&self) -> Option<&ReplicaSetDigest> {
        if let Digest::ReplicaSet(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The deployment digest, if it is one.
    pub fn deployment(&self) -> Option<&DeploymentDigest> {
        if let Digest::Deployment(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a disruption budget, if it is one.
    pub fn budget(&self) -> Option<&BudgetDigest> {
        if let Digest::Budget(digest) = &self.digest { Some(digest) } else { None }
    }
}
