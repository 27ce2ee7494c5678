//! The kinds that make what has to be admitted: who they are when they ask, and how they tell people.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    kind::Kind,
    kinds::{cron_job, deployment, replica_set, stateful_set},
    object::Object,
    turn::Turn,
};

/// The service account, in `kube-system`, as which Kubernetes' controller of a kind makes objects; none for kinds that make none that anybody is
/// asked about.
pub fn account(owner: Kind) -> Option<&'static str> {
    Some(match owner {
        Kind::REPLICATION_CONTROLLER => "replication-controller",
        Kind::REPLICA_SET => "replicaset-controller",
        Kind::STATEFUL_SET => "statefulset-controller",
        Kind::DAEMON_SET => "daemon-set-controller",
        Kind::JOB => "job-controller",
        Kind::DEPLOYMENT => "deployment-controller",
        Kind::CRON_JOB => "cronjob-controller",
        _ => return None,
    })
}

/// Who events about its pods are from.
fn component(owner: &Object) -> &'static str {
    match owner.key.kind {
        Kind::DAEMON_SET => "daemonset-controller",
        kind => account(kind).unwrap_or("kontiki"),
    }
}

/// Tells people that an object was admitted and made, and has its owner note it. `wanted` is the object as the owner wanted it.
pub(super) fn made(turn: &mut Turn, owner: &Object, made: &Arc<Object>, wanted: &Value) {
    let name = &made.key.name;
    let message = match (made.key.kind, owner.key.kind) {
        (Kind::REPLICA_SET, _) => return deployment::admitted(turn, owner, made),
        (Kind::JOB, _) => return cron_job::admitted(turn, owner, made, wanted),
        (Kind::PERSISTENT_VOLUME_CLAIM, _) => return stateful_set::claim_made(turn, owner, name),
        (_, Kind::STATEFUL_SET) => {
            format!("create Pod {name} in StatefulSet {} successful", owner.key.name)
        }
        _ => format!("Created pod: {name}"),
    };
    // One that its node refuses is no success, and speaks for itself.
    if made.is_active_pod() {
        turn.event(owner, "Normal", "SuccessfulCreate", message, component(owner));
    }
}

/// Tells people that one was not made, and why.
pub(super) fn not_made(turn: &mut Turn, owner: &Object, kind: Kind, name: &str, why: &str) {
    let message = match (kind, owner.key.kind) {
        (Kind::REPLICA_SET, _) => return deployment::refused(turn, owner, name, why),
        (Kind::JOB, _) => return cron_job::refused(turn, owner, why),
        (Kind::PERSISTENT_VOLUME_CLAIM, _) => {
            return stateful_set::claim_refused(turn, owner, name, why);
        }
        (_, Kind::STATEFUL_SET) => {
            format!("create Pod {name} in StatefulSet {} failed error: {why}", owner.key.name)
        }
        _ => format!("Error creating: {why}"),
    };
    turn.event(owner, "Warning", "FailedCreate", message, component(owner));
    if owner.replica_set().is_some() {
        replica_set::refused(turn, owner, why);
    }
}
