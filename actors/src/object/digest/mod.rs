//! What actors and the scheduler need of an object, typed. Derived from the document at each change by a total
//! function: what cannot be read counts as absent. Never stored, so it may change from version to version.

mod admission;
mod affinity;
mod budget;
mod cron_job;
pub mod daemon_set;
mod definition;
pub mod job;
pub mod node;
mod placed;
pub mod pod;
mod rbac;
mod selector;
mod stateful_set;
pub mod storage;
pub mod template;
mod workload;

pub use admission::AdmissionDigest;
pub use affinity::{Affinity, PodAffinity, PodTerm, PreferredTerm};
pub use budget::BudgetDigest;
pub use cron_job::CronJobDigest;
pub use daemon_set::DaemonSetDigest;
pub use definition::{DefinedVersion, DefinitionDigest, Names};
pub use job::JobDigest;
pub use node::{NodeDigest, Taint};
pub use pod::{
    PodDigest, PodWants, Resources, Scalars, SpreadConstraint, Toleration, add_scalars, own_claim,
    take_scalars,
};
pub use rbac::{BindingDigest, RoleDigest, Subject, service_account};
pub use selector::{Requirement, Selector, SelectorTerm};
use serde::Deserialize;
pub use stateful_set::StatefulSetDigest;
pub use storage::{ClaimDigest, ClaimRef, VolumeDigest};
pub use workload::{DeploymentDigest, DeploymentStatus, ReplicaSetDigest, ReplicaSetStatus};

use super::{Document, Object, ObjectKey};
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
    /// A replica set's, or a replication controller's.
    ReplicaSet(Box<ReplicaSetDigest>),
    /// A deployment's.
    Deployment(Box<DeploymentDigest>),
    /// A disruption budget's.
    Budget(Box<BudgetDigest>),
    /// A role's, or a cluster role's.
    Role(Box<RoleDigest>),
    /// That of a binding of either.
    Binding(Box<BindingDigest>),
    /// A daemon set's.
    DaemonSet(Box<DaemonSetDigest>),
    /// A job's.
    Job(Box<JobDigest>),
    /// A stateful set's.
    StatefulSet(Box<StatefulSetDigest>),
    /// A cron job's.
    CronJob(Box<CronJobDigest>),
    /// That of a definition of a custom kind.
    Definition(Box<DefinitionDigest>),
    /// A claim's.
    Claim(Box<ClaimDigest>),
    /// A persistent volume's.
    Volume(Box<VolumeDigest>),
    /// That of a configuration of webhooks, of a policy, or of a binding of one.
    Admission(Box<AdmissionDigest>),
}

impl Digest {
    /// Derives the digest.
    pub fn of(key: &ObjectKey, document: &Document) -> Digest {
        match key.kind {
            Kind::POD => Digest::Pod(Box::new(PodDigest::of(document))),
            Kind::NODE => Digest::Node(Box::new(NodeDigest::of(document))),
            Kind::REPLICA_SET => Digest::ReplicaSet(Box::new(ReplicaSetDigest::of(document))),
            Kind::REPLICATION_CONTROLLER => {
                Digest::ReplicaSet(Box::new(ReplicaSetDigest::of_controller(document)))
            }
            Kind::DEPLOYMENT => Digest::Deployment(Box::new(DeploymentDigest::of(document))),
            Kind::POD_DISRUPTION_BUDGET => Digest::Budget(Box::new(BudgetDigest::of(document))),
            Kind::ROLE | Kind::CLUSTER_ROLE => Digest::Role(Box::new(RoleDigest::of(document))),
            Kind::ROLE_BINDING | Kind::CLUSTER_ROLE_BINDING => {
                Digest::Binding(Box::new(BindingDigest::of(key, document)))
            }
            Kind::DAEMON_SET => Digest::DaemonSet(Box::new(DaemonSetDigest::of(document))),
            Kind::JOB => Digest::Job(Box::new(JobDigest::of(document))),
            Kind::CRON_JOB => Digest::CronJob(Box::new(CronJobDigest::of(document))),
            Kind::STATEFUL_SET => Digest::StatefulSet(Box::new(StatefulSetDigest::of(document))),
            Kind::CUSTOM_RESOURCE_DEFINITION => Digest::Definition(Box::new(DefinitionDigest::of(document))),
            Kind::PERSISTENT_VOLUME_CLAIM => Digest::Claim(Box::new(ClaimDigest::of(document))),
            Kind::PERSISTENT_VOLUME => Digest::Volume(Box::new(VolumeDigest::of(document))),
            kind if AdmissionDigest::KINDS.contains(&kind) => {
                Digest::Admission(Box::new(AdmissionDigest::of(kind, document)))
            }
            _ => Digest::Passive,
        }
    }

    /// The same, from the digest before and the document that it was of: most changes leave the spec as it is.
    pub(super) fn after(old: &Object, before: &Document, document: &Document) -> Digest {
        let by_rest =
            |old: &Digest| matches!(old, Digest::Role(_) | Digest::Binding(_) | Digest::Admission(_));
        let by_labels = |old: &Digest| matches!(old, Digest::Pod(pod) if pod.follows_own_labels);
        if before.spec != document.spec
            || (before.metadata != document.metadata && by_labels(&old.digest))
            || (before.rest != document.rest && by_rest(&old.digest))
        {
            let placed = before.metadata == document.metadata || !by_labels(&old.digest);
            return match &old.digest {
                Digest::Pod(pod) if placed => match placed::node(&before.spec, &document.spec) {
                    Some(node) if pod.readable && pod.node.is_none() => {
                        Digest::Pod(Box::new(pod.placed(node, &document.status)))
                    }
                    _ => Digest::of(&old.key, document),
                },
                _ => Digest::of(&old.key, document),
            };
        }
        let mut digest = old.digest.clone();
        if before.status != document.status {
            match &mut digest {
                Digest::Passive
                | Digest::Budget(_)
                | Digest::Role(_)
                | Digest::Binding(_)
                | Digest::Admission(_) => {}
                Digest::Pod(pod) => pod.set_status(&document.status),
                Digest::Node(node) => **node = NodeDigest::of(document),
                Digest::ReplicaSet(set) => set.status = read(&document.status),
                Digest::Deployment(deployment) => deployment.status = read(&document.status),
                Digest::DaemonSet(set) => set.status = read(&document.status),
                Digest::Job(job) => job.status = read(&document.status),
                Digest::StatefulSet(set) => set.status = read(&document.status),
                Digest::CronJob(cron) => cron.status = read(&document.status),
                Digest::Definition(definition) => definition.status = read(&document.status),
                Digest::Claim(claim) => claim.set_status(&document.status),
                Digest::Volume(volume) => volume.set_status(&document.status),
            }
        }
        digest
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::object::ObjectKey;

    #[test]
    fn what_did_not_change_need_not_be_read_again() {
        let status = |n: i64| {
            json!({"phase": "Running", "replicas": n, "availableReplicas": n, "observedGeneration": n,
            "conditions": [{"type": "Ready", "status": if n > 1 { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "PodScheduled", "status": if n > 2 { "True" } else { "False" }, "reason": "Unschedulable"}],
            "containerStatuses": [{"restartCount": n}], "allocatable": {"cpu": format!("{n}"), "pods": "9"}})
        };
        let spec = |n: i64| {
            json!({"replicas": n, "nodeName": format!("n{n}"), "unschedulable": n > 1,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"priority": n}},
            "topologySpreadConstraints": [{"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["v"]}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{n}m")}}}]})
        };
        let document = |m: i64, s: i64, st: i64| {
            Document::from_value(
                json!({"metadata": {"name": "x", "generation": m, "labels": {"v": format!("{m}")}}, "spec": spec(s), "status": status(st),
                    "rules": [{"verbs": [format!("{s}")]}], "webhooks": [{"rules": [{"operations": ["CREATE"], "apiGroups": [""],
                        "apiVersions": ["v1"], "resources": [if st > 2 { "pods" } else { "nodes" }]}]}], "subjects": [{"kind": "User", "name": format!("{s}")}],
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{st}")}}),
            )
        };
        let budget = Kind::POD_DISRUPTION_BUDGET;
        let (role, binding) = (Kind::CLUSTER_ROLE, Kind::ROLE_BINDING);
        let workloads = [
            Kind::REPLICA_SET,
            Kind::REPLICATION_CONTROLLER,
            Kind::DEPLOYMENT,
            Kind::DAEMON_SET,
            Kind::JOB,
            Kind::CRON_JOB,
            Kind::STATEFUL_SET,
            Kind::CUSTOM_RESOURCE_DEFINITION,
            Kind::MUTATING_WEBHOOK_CONFIGURATION,
        ];
        for kind in
            [Kind::POD, Kind::NODE, budget, Kind::CONFIG_MAP, role, binding].into_iter().chain(workloads)
        {
            let mut object = Object::new(ObjectKey::new(kind, "d", "x"), 1, document(1, 1, 1));
            for (m, s, st) in [(1, 1, 1), (2, 1, 1), (2, 1, 2), (2, 2, 2), (2, 2, 3), (3, 3, 4), (3, 3, 1)] {
                object = Object::after(&object, 2, document(m, s, st));
                let fresh = Object::new(object.key.clone(), 2, document(m, s, st));
                assert_eq!(format!("{object:?}"), format!("{fresh:?}"), "{kind:?} {m} {s} {st}");
            }
            let empty =
                Object::after(&object, 3, Document { status: Default::default(), ..object.document.whole() });
            let fresh = Object::new(object.key.clone(), 3, empty.document.whole());
            assert_eq!(format!("{empty:?}"), format!("{fresh:?}"));
        }
    }
}
