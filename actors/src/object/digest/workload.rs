//! The digests of workloads: ReplicaSet and Deployment.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Selector, read, template};
use crate::object::Document;

/// What actors need of a replica set, or of a replication controller.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplicaSetDigest {
    /// How many pods it shall have.
    pub replicas: i64,
    /// Which pods are its own.
    pub selector: Selector,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_s: i64,
    /// What the pod template says, without the label that names its hash.
    pub template: template::Fingerprint,
    /// The labels of the template.
    pub template_labels: BTreeMap<CompactString, CompactString>,
    /// From its last status.
    pub status: ReplicaSetStatus,
}

/// The counters of a replica set's status.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// Pods that exist.
    pub replicas: i64,
    /// Of them with all the template's labels.
    pub fully_labeled_replicas: i64,
    /// Ready ones.
    pub ready_replicas: i64,
    /// Ready for long enough.
    pub available_replicas: i64,
    /// The generation these counters belong to.
    pub observed_generation: i64,
    /// Conditions: ReplicaFailure while pods cannot be created.
    pub conditions: Vec<Condition>,
}

/// What actors need of a deployment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DeploymentDigest {
    /// How many pods it shall have.
    pub replicas: i64,
    /// Which pods are its own.
    pub selector: Selector,
    /// What the pod template says.
    pub template: template::Fingerprint,
    /// `Recreate`, else RollingUpdate.
    pub recreate: bool,
    /// Number or percentage.
    pub max_surge: Value,
    /// Number or percentage.
    pub max_unavailable: Value,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_s: i64,
    /// No rollout while true.
    pub paused: bool,
    /// Seconds without progress until it is said.
    pub progress_deadline_s: Option<i64>,
    /// Old replica sets to keep.
    pub revision_history_limit: i64,
    /// From its last status.
    pub status: DeploymentStatus,
}

/// A deployment's status.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation this status belongs to.
    pub observed_generation: i64,
    /// Pods of all its replica sets.
    pub replicas: i64,
    /// Of the newest one.
    pub updated_replicas: i64,
    /// Ready ones.
    pub ready_replicas: i64,
    /// Available ones.
    pub available_replicas: i64,
    /// Missing ones.
    pub unavailable_replicas: i64,
    /// Times a replica set's name was taken.
    pub collision_count: i64,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    selector: Value,
    template: Value,
    strategy: Strategy,
    min_ready_seconds: i64,
    paused: bool,
    progress_deadline_seconds: Option<i64>,
    revision_history_limit: Option<i64>,
}

/// How a Deployment or a DaemonSet replaces its pods.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    pub(super) r#type: CompactString,
    pub(super) rolling_update: RollingUpdate,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RollingUpdate {
    pub(super) max_surge: Value,
    pub(super) max_unavailable: Value,
}

impl ReplicaSetDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> ReplicaSetDigest {
        let spec: Spec = read(&document.spec);
        ReplicaSetDigest {
            replicas: spec.replicas.unwrap_or(1),
            selector: Selector::of(&spec.selector),
            min_ready_s: spec.min_ready_seconds,
            template: template::Fingerprint::of(&spec.template),
            template_labels: template::labels(&spec.template),
            status: read(&document.status),
        }
    }
}

impl ReplicaSetDigest {
    /// Derives that of a replication controller, whose selector is a plain map of labels: none, or an empty one, selects no pods. No
    /// deployment compares its template.
    pub fn of_controller(document: &Document) -> ReplicaSetDigest {
        let spec: Spec = read(&document.spec);
        let labels: BTreeMap<CompactString, CompactString> =
            serde_json::from_value(spec.selector).unwrap_or_default();
        ReplicaSetDigest {
            replicas: spec.replicas.unwrap_or(1),
            selector: if labels.is_empty() { Selector::nothing() } else { Selector::of_labels(&labels) },
            min_ready_s: spec.min_ready_seconds,
            template: template::Fingerprint::default(),
            template_labels: template::labels(&spec.template),
            status: read(&document.status),
        }
    }
}

impl DeploymentDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> DeploymentDigest {
        let spec: Spec = read(&document.spec);
        DeploymentDigest {
            replicas: spec.replicas.unwrap_or(1),
            selector: Selector::of(&spec.selector),
            template: template::Fingerprint::of(&spec.template),
            recreate: spec.strategy.r#type == "Recreate",
            max_surge: spec.strategy.rolling_update.max_surge,
            max_unavailable: spec.strategy.rolling_update.max_unavailable,
            min_ready_s: spec.min_ready_seconds,
            paused: spec.paused,
            progress_deadline_s: spec.progress_deadline_seconds,
            revision_history_limit: spec.revision_history_limit.unwrap_or(10),
            status: read(&document.status),
        }
    }
}
