//! Which replica sets are a deployment's: adoption, release, and which of them has the present template.

use std::sync::Arc;

use crate::{
    kind::Kind,
    kinds::{
        claim::{adopt, owned, release},
        replica_set::LARGE,
    },
    object::{DeploymentDigest, Object, ObjectKey, ReplicaSetDigest},
    turn::Turn,
};

/// A deployment's replica sets, the oldest first.
pub(super) struct Sets {
    /// That of the present template, if there is one.
    pub newest: Option<Arc<Object>>,
    /// All others.
    pub old: Vec<Arc<Object>>,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.old.iter().chain(&self.newest)
    }

    pub(super) fn active(&self) -> Vec<Arc<Object>> {
        self.all().filter(|set| replicas(set) > 0).cloned().collect()
    }
}

/// How many pods a set is asked for.
pub(super) fn replicas(set: &Object) -> i64 {
    set.replica_set().map_or(0, |s| s.replicas)
}

/// What a set says of itself, with nothing for a set that is none.
pub(super) fn digest(set: &Object) -> ReplicaSetDigest {
    set.replica_set().cloned().unwrap_or_default()
}

/// How many pods of a set are available. A large set's own count is of a moment ago (see `gather`): going by it would take pods for broken
/// that work by now, or for working that are broken. So they are counted here, which is done only while a rollout takes pods down.
pub(super) fn available(turn: &Turn, set: &Object) -> i64 {
    let spec = digest(set);
    if turn.state().active_pods(&set.meta.uid) <= LARGE {
        return spec.status.available_replicas;
    }
    let now_ms = turn.now_ms();
    let is_available = |pod: &&Arc<Object>| {
        pod.is_active_pod() && pod.pod().is_some_and(|pod| pod.available(spec.min_ready_s, now_ms))
    };
    let count = turn.state().dependents(&set.meta.uid).filter(is_available).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn adoptable(set: &Object, spec: &DeploymentDigest) -> bool {
    set.meta.controller().is_none()
        && !set.meta.deleting()
        && !spec.selector.is_empty()
        && spec.selector.matches(&set.meta.labels)
}

fn own(turn: &Turn, me: &Object) -> Vec<Arc<Object>> {
    owned(turn, me, Kind::REPLICA_SET)
}

/// The deployment's sets, after adopting and letting go. Sets without an owner are looked for when the spec is new;
/// afterwards each of them offers itself.
pub(super) fn sets(turn: &mut Turn, me: &Object, spec: &DeploymentDigest) -> Sets {
    if !me.meta.deleting() {
        for set in own(turn, me) {
            if !spec.selector.matches(&set.meta.labels) {
                release(turn, &set.key, me);
            }
        }
        if spec.status.observed_generation != me.meta.generation || me.meta.generation == 0 {
            let state = turn.state();
            let orphans =
                state.list(Kind::REPLICA_SET, Some(&me.key.namespace)).filter(|set| adoptable(set, spec));
            let orphans: Vec<ObjectKey> = orphans.map(|set| set.key.clone()).collect();
            for key in orphans {
                adopt(turn, &key, me);
            }
        }
    }
    let mut sets = own(turn, me);
    sets.sort_by(|a, b| (a.meta.created_ms, &a.key).cmp(&(b.meta.created_ms, &b.key)));
    let newest = sets.iter().position(|set| {
        !set.meta.deleting() && set.replica_set().is_some_and(|s| s.template == spec.template)
    });
    let newest = newest.map(|at| sets.remove(at));
    Sets { newest, old: sets }
}

/// A replica set without an owner offers itself to the deployment that selects it.
pub fn offer(turn: &mut Turn, set: &Object) {
    if set.meta.controller().is_some() || set.meta.deleting() || set.meta.labels.is_empty() {
        return;
    }
    let state = turn.state();
    let taker = state
        .list(Kind::DEPLOYMENT, Some(&set.key.namespace))
        .find(|d| !d.meta.deleting() && d.deployment().is_some_and(|spec| adoptable(set, spec)))
        .cloned();
    if let Some(taker) = taker {
        adopt(turn, &set.key, &taker);
    }
}

/// A replica set has no pods left, not even leaving ones: a deployment that recreates may have waited for that.
pub fn drained(turn: &mut Turn, set: &Object) {
    let Some(reference) = set.meta.controller() else { return };
    let Some(owner) = turn.owner(&set.key.namespace, reference) else { return };
    if owner.deployment().is_some_and(|d| d.recreate) && !pods_run(turn, set) {
        turn.notify(&owner.key);
    }
}

/// Whether any pod of a set has not ended, leaving ones included.
pub(super) fn pods_run(turn: &Turn, set: &Object) -> bool {
    turn.state().dependents(&set.meta.uid).any(|o| o.pod().is_some_and(|p| !p.terminal()))
}
