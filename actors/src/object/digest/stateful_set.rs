//! A StatefulSet's digest.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Selector, read, template};
use crate::object::Document;

/// What actors need of a stateful set.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StatefulSetDigest {
    /// How many pods it shall have.
    pub replicas: i64,
    /// The ordinal of the first.
    pub start: i64,
    /// Which pods are its own.
    pub selector: Selector,
    /// What the pod template says.
    pub template: template::Fingerprint,
    /// Pods come and go all at once, not one after the other.
    pub parallel: bool,
    /// Pods of a former template stay until somebody deletes them.
    pub on_delete: bool,
    /// Only pods from this ordinal on, counted from the first, get the present template.
    pub partition: i64,
    /// Number or percentage: so many pods at a time may be missing in an update; none: one after the other.
    pub max_unavailable: Option<Value>,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_s: i64,
    /// Old templates to keep.
    pub revision_history_limit: i64,
    /// The claims of pods go with the set.
    pub claims_go_with_set: bool,
    /// The claims of a pod go with it when the set gets smaller.
    pub claims_go_with_pod: bool,
    /// From its last status.
    pub status: StatefulSetStatus,
}

/// What of a stateful set's status its actor goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    /// The generation this status belongs to.
    pub observed_generation: i64,
    /// The revision that all pods were of when the last update was done.
    pub current_revision: String,
    /// Times a revision's name was taken.
    pub collision_count: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    ordinals: Ordinals,
    selector: Value,
    template: Value,
    pod_management_policy: CompactString,
    update_strategy: Strategy,
    min_ready_seconds: i64,
    revision_history_limit: Option<i64>,
    persistent_volume_claim_retention_policy: Retention,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ordinals {
    start: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    r#type: CompactString,
    rolling_update: RollingUpdate,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    partition: i64,
    max_unavailable: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Retention {
    when_deleted: CompactString,
    when_scaled: CompactString,
}

impl StatefulSetDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> StatefulSetDigest {
        let spec: Spec = read(&document.spec);
        let retention = spec.persistent_volume_claim_retention_policy;
        StatefulSetDigest {
            replicas: spec.replicas.unwrap_or(1),
            start: spec.ordinals.start,
            selector: Selector::of(&spec.selector),
            template: template::Fingerprint::of(&spec.template),
            parallel: spec.pod_management_policy == "Parallel",
            on_delete: spec.update_strategy.r#type == "OnDelete",
            partition: spec.update_strategy.rolling_update.partition,
            max_unavailable: spec.update_strategy.rolling_update.max_unavailable,
            min_ready_s: spec.min_ready_seconds,
            revision_history_limit: spec.revision_history_limit.unwrap_or(10),
            claims_go_with_set: retention.when_deleted == "Delete",
            claims_go_with_pod: retention.when_scaled == "Delete",
            status: read(&document.status),
        }
    }
}
