//! A DaemonSet's digest.

use serde::Deserialize;
use serde_json::Value;

use super::{PodDigest, Selector, Toleration, read, template, workload::Strategy};
use crate::object::Document;

/// What actors need of a daemon set.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DaemonSetDigest {
    /// Which pods are its own.
    pub selector: Selector,
    /// What the pod template says.
    pub template: template::Fingerprint,
    /// What its pods ask of a node: selector, affinity, tolerations, with those that all daemon pods have.
    pub pod: PodDigest,
    /// Its pods use their nodes' network.
    pub host_network: bool,
    /// Pods of a former template stay until somebody deletes them.
    pub on_delete: bool,
    /// Number or percentage.
    pub max_unavailable: Value,
    /// Number or percentage.
    pub max_surge: Value,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_s: i64,
    /// Old templates to keep.
    pub revision_history_limit: i64,
    /// From its last status.
    pub status: DaemonSetStatus,
}

/// What of a daemon set's status its actor goes by.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    /// The generation this status belongs to.
    pub observed_generation: i64,
    /// Times a revision's name was taken.
    pub collision_count: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Value,
    template: Value,
    update_strategy: Strategy,
    min_ready_seconds: i64,
    revision_history_limit: Option<i64>,
}

/// The taints that every daemon pod bears: (key, effect). Daemons run on nodes that others leave.
pub const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// The taint that those bear besides that use their node's network.
pub const BORNE_ON_HOST: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

impl DaemonSetDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> DaemonSetDigest {
        let spec: Spec = read(&document.spec);
        let mut pod = PodDigest::of(&Document::from_value(spec.template.clone()));
        let host_network = spec.template["spec"]["hostNetwork"] == true;
        let borne = BORNE.into_iter().chain(Some(BORNE_ON_HOST).filter(|_| host_network));
        pod.bear(borne.map(|(key, effect)| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        }));
        DaemonSetDigest {
            selector: Selector::of(&spec.selector),
            template: template::Fingerprint::of(&spec.template),
            pod,
            host_network,
            on_delete: spec.update_strategy.r#type == "OnDelete",
            max_unavailable: spec.update_strategy.rolling_update.max_unavailable,
            max_surge: spec.update_strategy.rolling_update.max_surge,
            min_ready_s: spec.min_ready_seconds,
            revision_history_limit: spec.revision_history_limit.unwrap_or(10),
            status: read(&document.status),
        }
    }
}
