//! The replica set: keeps so many pods of a template.

mod claim;
mod rank;
mod status;

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};

pub(in crate::kinds) use self::claim::{adopt, release};
use self::status::Failure;
use super::{deployment, namespace, pod};
use crate::{
    input::DeleteOptions,
    kind::Kind,
    object::{Object, ReplicaSetDigest},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "replicaset-controller";
/// Pods made or deleted by one reaction. More follow in a next turn, so that these are placed in this one already and
/// nobody waits behind a large set.
const BURST: usize = 250;
/// Events about pods in one reaction: more of the same tell people nothing new.
const EVENTS: usize = 10;
/// A set with more pods than this, and as many as it shall have, gathers news of them for a while before it looks at all of them:
/// looking at each of n pods for each of n reports would take n² steps while a large set starts ...
const LARGE: usize = 500;
/// ... for so long.
const GATHER_MS: i64 = 100;
/// When a refused pod is tried again.
const RETRY_MS: i64 = 10_000;

/// Brings the number of pods to what is asked for, and counts them.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.replica_set() else { return };
    deployment::offer(turn, me);
    if gathers(turn, me, spec) {
        return;
    }
    let pods = claim::pods(turn, me, spec);
    let ending = me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace);
    let mut failure = Failure::Unchanged;
    // A wake-up at this very time was asked for in this turn: the rest is a next turn's.
    let later = turn.state().wake_of(&me.key) == Some(turn.now_ms());
    if !ending && !later && !status::waits_to_retry(turn, me, spec) {
        let mut want = usize::try_from(spec.replicas.max(0)).unwrap_or(usize::MAX);
        if planted(Defect::ReplicaLeak) && pods.iter().any(|o| o.pod().is_some_and(|p| p.restarts > 0)) {
            want += 1;
        }
        failure = match pods.len() {
            have if have < want => create(turn, me, want - have),
            have if have == want + 1 && planted(Defect::SurplusKept) => Failure::None,
            have if have > want => delete(turn, me, pods, have - want),
            _ => Failure::None,
        };
    }
    // What was just made or deleted counts here already: the status is written once.
    let pods = claim::active(turn, me);
    status::write(turn, me, spec, &pods, &failure);
    status::set_wake(turn, me, spec, &pods, &failure);
    if pods.is_empty() {
        deployment::drained(turn, me);
    }
}

/// Whether this reaction is left to one a moment later, which is then asked for. What the set itself is told, it does at once.
fn gathers(turn: &mut Turn, me: &Object, spec: &ReplicaSetDigest) -> bool {
    let told = me.meta.deleting() || spec.status.observed_generation != me.meta.generation;
    let active = turn.state().active_pods(&me.meta.uid);
    if told || turn.woken(&me.key) || active <= LARGE || i64::try_from(active) != Ok(spec.replicas) {
        return false;
    }
    let soon = turn.now_ms() + GATHER_MS;
    turn.wake_by(&me.key, soon);
    true
}

fn create(turn: &mut Turn, me: &Object, missing: usize) -> Failure {
    let template = me.document.spec_value()["template"].clone();
    for made in 0..missing {
        if turn.full() || made == BURST {
            let now = turn.now_ms();
            turn.wake(&me.key, Some(now));
            return Failure::None;
        }
        let pod = match pod::new_from_template(turn, me, &template) {
            Ok(pod) => turn.create(Kind::POD, pod),
            Err(why) => {
                turn.event(me, "Warning", "FailedCreate", format!("Error creating: {why}"), COMPONENT);
                return Failure::Create(why);
            }
        };
        if let Some(pod) = pod.filter(|_| made < EVENTS) {
            turn.event(me, "Normal", "SuccessfulCreate", format!("Created pod: {}", pod.key.name), COMPONENT);
        }
    }
    Failure::None
}

fn delete(turn: &mut Turn, me: &Object, pods: Vec<Arc<Object>>, surplus: usize) -> Failure {
    for (done, pod) in rank::first_to_go(turn, me, pods).into_iter().take(surplus).enumerate() {
        if turn.full() || done == BURST {
            let now = turn.now_ms();
            turn.wake(&me.key, Some(now));
            return Failure::None;
        }
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() && done < EVENTS {
            turn.event(me, "Normal", "SuccessfulDelete", format!("Deleted pod: {}", pod.key.name), COMPONENT);
        }
    }
    Failure::None
}
