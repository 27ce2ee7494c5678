//! The deployment: replaces the pods of one template by those of the next, through one replica set per template.
//!
//! ```text
//!   claim -> which replica sets are mine     revision -> which of them is the newest template's, made if missing
//!         -> scale: the number of pods was changed    |  rollout: RollingUpdate or Recreate, one step
//!         -> history: old ones beyond the limit go    -> status: counters, conditions, deadline
//! ```
//!
//! One reaction makes one step; what it changes in a replica set makes it react again in the same turn, after that
//! set. So a rollout goes as far as its bounds allow, turn by turn, and any leader goes on from where it stands.

mod amount;
mod claim;
mod history;
mod revision;
mod rollout;
mod scale;
mod status;

pub use self::claim::{drained, offer};
pub(crate) use self::revision::{admitted, refused};
use self::status::Conditions;
use super::namespace;
use crate::{
    object::{DeploymentDigest, Object},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "deployment-controller";
/// Which revision of the template an object stands for.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a replica set stood for before.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The deployment's replicas when the set was last scaled.
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with the surge.
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Takes the next step of a rollout and says how far it is.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.deployment() else { return };
    if spec.selector.is_empty() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        if spec.status.observed_generation < me.meta.generation {
            turn.event(me, "Warning", "SelectingAll", message.into(), COMPONENT);
            status::observe(turn, me);
        }
        return;
    }
    let mut sets = claim::sets(turn, me, spec);
    let mut conditions = Conditions::of(spec);
    if me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace) {
        status::write(turn, me, spec, &sets, conditions);
        return;
    }
    revision::keep_candidates(turn, me, spec, &sets);
    conditions.note_pause(spec, &turn.now());
    if spec.paused || scale::asked_for(spec, &sets) {
        revision::annotate_newest(turn, me, spec, &mut sets, &mut conditions);
        if scale::all(turn, me, spec, &sets) {
            return;
        }
        if spec.paused {
            history::cut(turn, spec, &sets);
        }
        status::write(turn, me, spec, &sets, conditions);
        return;
    }
    if spec.recreate {
        recreate(turn, me, spec, sets, conditions);
    } else {
        rolling(turn, me, spec, sets, conditions);
    }
}

fn rolling(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    mut sets: claim::Sets,
    mut conditions: Conditions,
) {
    if revision::ensure_newest(turn, me, spec, &mut sets, &mut conditions)
        || rollout::raise_newest(turn, me, spec, &sets)
        || rollout::lower_old(turn, me, spec, &sets)
    {
        return;
    }
    finish(turn, me, spec, &sets, conditions);
}

fn recreate(
    turn: &mut Turn,
    me: &Object,
    spec: &DeploymentDigest,
    mut sets: claim::Sets,
    mut conditions: Conditions,
) {
    revision::annotate_newest(turn, me, spec, &mut sets, &mut conditions);
    if rollout::stop_old(turn, me, spec, &sets) {
        return;
    }
    if rollout::old_pods_run(turn, &sets) {
        status::write_progress(turn, me, spec, &sets, conditions);
        return;
    }
    if revision::ensure_newest(turn, me, spec, &mut sets, &mut conditions)
        || rollout::fill_newest(turn, me, spec, &sets)
    {
        return;
    }
    finish(turn, me, spec, &sets, conditions);
}

fn finish(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &claim::Sets, conditions: Conditions) {
    if status::counters(me, spec, sets).complete(spec) {
        history::cut(turn, spec, sets);
    }
    status::write_progress(turn, me, spec, sets, conditions);
}
