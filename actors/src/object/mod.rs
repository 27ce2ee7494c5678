//! An object: a key, its canonical JSON document in segments, and the typed digest that actors and the scheduler read.
//! Not for reading JSON ad hoc: what an actor needs of a document again and again belongs into its digest.

pub(crate) mod difference;
mod digest;
mod document;
mod key;
pub(crate) mod meta;
mod packed;

pub use digest::{
    AdmissionDigest, Affinity, BindingDigest, BudgetDigest, ClaimDigest, ClaimRef, Condition, CronJobDigest,
    DaemonSetDigest, DefinedVersion, DefinitionDigest, DeploymentDigest, DeploymentStatus, Digest, JobDigest,
    Names, NodeDigest, PodAffinity, PodDigest, PodTerm, PodWants, PreferredTerm, ReplicaSetDigest,
    ReplicaSetStatus, Requirement, Resources, RoleDigest, Scalars, Selector, SelectorTerm, SpreadConstraint,
    StatefulSetDigest, Subject, Taint, Toleration, VolumeDigest, add_scalars, daemon_set, job, node,
    own_claim, pod, service_account, storage, take_scalars, template,
};
pub use document::Document;
pub use key::{KeyError, ObjectKey, Uid};
pub use meta::{CommonMeta, Meta, OwnerRef, parse_time_ms, rfc3339};
pub use packed::Packed;

use std::sync::Arc;

/// One stored object at one revision.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it stands.
    pub key: ObjectKey,
    /// The revision of its last change: its resourceVersion.
    pub revision: u64,
    /// What is served.
    pub document: Packed,
    /// Its metadata, typed. Shared with what the object was before, while it says the same.
    pub meta: Arc<Meta>,
    /// What actors and the scheduler need of spec and status.
    pub digest: Digest,
}

impl Object {
    /// Builds an object from its document: the digest is derived, never stored.
    pub fn new(key: ObjectKey, revision: u64, document: Document) -> Object {
        let meta = Arc::new(Meta::of(&document.metadata));
        let digest = Digest::of(&key, &document);
        Object { key, revision, document: document.into(), meta, digest }
    }

    /// The same, made from what the object was before: what its unchanged segments say is not read again.
    pub fn after(old: &Object, revision: u64, document: Document) -> Object {
        Object::after_document(old, &old.document.whole(), revision, document)
    }

    /// The same, where the document that it had is at hand.
    pub(crate) fn after_document(
        old: &Object,
        before: &Document,
        revision: u64,
        document: Document,
    ) -> Object {
        let same = before.metadata == document.metadata;
        let meta = if same { old.meta.clone() } else { Arc::new(Meta::of(&document.metadata)) };
        let digest = Digest::after(old, before, &document);
        Object { key: old.key.clone(), revision, document: document.into(), meta, digest }
    }

    /// The whole object as JSON bytes, with apiVersion, kind and resourceVersion. Of built-in kinds.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.document.len() + 128);
        self.write_json(&mut out);
        out
    }

    /// Appends the whole object as JSON. Of built-in kinds.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let kind = self.key.kind;
        self.document.write_json(kind, kind.info().version, self.revision, out);
    }

    /// The whole object as a JSON value. Of built-in kinds.
    pub fn to_value(&self) -> serde_json::Value {
        self.to_value_in(self.key.kind.info().version)
    }

    /// The whole object as a JSON value, in a version of its kind.
    pub fn to_value_in(&self, version: &str) -> serde_json::Value {
        let mut value = self.document.to_value();
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), self.key.kind.api_version_in(version).into());
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

    /// The claim digest, if it is a claim.
    pub fn claim(&self) -> Option<&ClaimDigest> {
        if let Digest::Claim(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The volume digest, if it is a persistent volume.
    pub fn volume(&self) -> Option<&VolumeDigest> {
        if let Digest::Volume(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a replica set or replication controller, if it is one.
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

    /// The digest of a Role or ClusterRole, if it is one.
    pub fn role(&self) -> Option<&RoleDigest> {
        if let Digest::Role(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a RoleBinding or ClusterRoleBinding, if it is one.
    pub fn binding(&self) -> Option<&BindingDigest> {
        if let Digest::Binding(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a daemon set, if it is one.
    pub fn daemon_set(&self) -> Option<&DaemonSetDigest> {
        if let Digest::DaemonSet(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a job, if it is one.
    pub fn job(&self) -> Option<&JobDigest> {
        if let Digest::Job(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a stateful set, if it is one.
    pub fn stateful_set(&self) -> Option<&StatefulSetDigest> {
        if let Digest::StatefulSet(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a cron job, if it is one.
    pub fn cron_job(&self) -> Option<&CronJobDigest> {
        if let Digest::CronJob(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a definition of a custom kind, if it is one.
    pub fn definition(&self) -> Option<&DefinitionDigest> {
        if let Digest::Definition(digest) = &self.digest { Some(digest) } else { None }
    }

    /// The digest of a configuration of webhooks, of a policy or of its binding, if it is one.
    pub fn admission(&self) -> Option<&AdmissionDigest> {
        if let Digest::Admission(digest) = &self.digest { Some(digest) } else { None }
    }

    /// Which pods are its own, if it is of a kind that manages pods.
    pub fn pod_selector(&self) -> Option<&Selector> {
        match &self.digest {
            Digest::ReplicaSet(digest) => Some(&digest.selector),
            Digest::DaemonSet(digest) => Some(&digest.selector),
            Digest::Job(digest) => Some(&digest.selector),
            Digest::StatefulSet(digest) => Some(&digest.selector),
            _ => None,
        }
    }
}
