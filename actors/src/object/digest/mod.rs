//! What actors and the scheduler need of an object, typed. Derived from the document at each change by a total
//! function: what cannot be read counts as absent. Never stored, so it may change from version to version.

pub mod node;
pub mod pod;
mod selector;
pub mod template;
mod workload;

pub use node::{NodeDigest, Taint};
pub use pod::{Affinity, PodDigest, PreferredTerm, Resources, SpreadConstraint, Toleration};
pub use selector::{Requirement, Selector, SelectorTerm};
use serde::Deserialize;
pub use workload::{DeploymentDigest, DeploymentStatus, ReplicaSetDigest, ReplicaSetStatus};

use super::Document;
use crate::kind::Kind;

/// The digest of an object, by kind.
#[derive(Clone, Debug)]
pub enum Digest {
    /// A kind that no actor reads.
    Passive,
    /// A pod's.
    Pod(Box<PodDigest>),
    /// A node's.
    Node(Box<NodeDigest>),
    /// A replica set's.
    ReplicaSet(Box<ReplicaSetDigest>),
    /// A deployment's.
    Deployment(Box<DeploymentDigest>),
}

impl Digest {
    /// Derives the digest.
    pub fn of(kind: Kind, document: &Document) -> Digest {
        match kind {
            Kind::POD => Digest::Pod(Box::new(PodDigest::of(document))),
            Kind::NODE => Digest::Node(Box::new(NodeDigest::of(document))),
            Kind::REPLICA_SET => Digest::ReplicaSet(Box::new(ReplicaSetDigest::of(document))),
            Kind::DEPLOYMENT => Digest::Deployment(Box::new(DeploymentDigest::of(document))),
            _ => Digest::Passive,
        }
    }
}

/// A condition of a status.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `Ready`.
    pub r#type: compact_str::CompactString,
    /// `True`, `False`, `Unknown`.
    pub status: compact_str::CompactString,
    /// A word for programs.
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
    /// RFC 3339.
    pub last_transition_time: Option<String>,
    /// RFC 3339; Deployments only.
    pub last_update_time: Option<String>,
}

/// Reads one segment; a default when it is absent or not of this shape.
fn read<T: serde::de::DeserializeOwned + Default>(segment: &[u8]) -> T {
    serde_json::from_slice(segment).unwrap_or_default()
}
