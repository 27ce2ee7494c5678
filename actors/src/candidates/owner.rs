//! The kinds that make pods: who they are when they ask, and how they tell people.

use crate::{kind::Kind, object::Object};

/// The service account, in `kube-system`, as which Kubernetes' controller of a kind makes pods; none for kinds that make none.
pub fn account(owner: Kind) -> Option<&'static str> {
    Some(match owner {
        Kind::REPLICATION_CONTROLLER => "replication-controller",
        Kind::REPLICA_SET => "replicaset-controller",
        Kind::STATEFUL_SET => "statefulset-controller",
        Kind::DAEMON_SET => "daemon-set-controller",
        Kind::JOB => "job-controller",
        _ => return None,
    })
}

/// Who events about its pods are from.
pub(super) fn component(owner: &Object) -> &'static str {
    match owner.key.kind {
        Kind::DAEMON_SET => "daemonset-controller",
        kind => account(kind).unwrap_or("kontiki"),
    }
}

/// That a pod was made.
pub(super) fn made(owner: &Object, pod: &str) -> String {
    match owner.key.kind {
        Kind::STATEFUL_SET => format!("create Pod {pod} in StatefulSet {} successful", owner.key.name),
        _ => format!("Created pod: {pod}"),
    }
}

/// That it was not, and why.
pub(super) fn not_made(owner: &Object, pod: &str, why: &str) -> String {
    match owner.key.kind {
        Kind::STATEFUL_SET => {
            format!("create Pod {pod} in StatefulSet {} failed error: {why}", owner.key.name)
        }
        _ => format!("Error creating: {why}"),
    }
}
