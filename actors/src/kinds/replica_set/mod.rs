//! The replica set, and its elder, the replication controller: keeps so many pods of a template.

mod rank;
mod status;

use std::sync::Arc;

use kontiki_hooks::{Defect, planted};

use self::status::Failure;
use super::{claim, deployment, gather, namespace, pod};
use crate::{
    candidates::{self, Made},
    input::DeleteOptions,
    kind::Kind,
    object::{Object, ReplicaSetDigest},
    turn::Turn,
};

/// Pods made or deleted by one reaction. More follow in a next turn, so that these are placed in this one already and
/// nobody waits behind a large set.
const BURST: usize = 250;
/// Owners of more pods than this gather news of them. Each worker speaks of pods of many sets, and so each of a thousand workers would make
/// all sets look at all of their pods.
pub(super) const LARGE: usize = 50;
/// Events about pods in one reaction: more of the same tell people nothing new.
const EVENTS: usize = 10;
/// When a refused pod is tried again.
const RETRY_MS: i64 = 10_000;

/// Brings the number of pods to what is asked for, and counts them.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.replica_set() else { return };
    if me.key.kind == Kind::REPLICA_SET {
        deployment::offer(turn, me);
    }
    if gathers(turn, me, spec) {
        return;
    }
    let pods = claim::pods(turn, me, &spec.selector, Object::is_active_pod);
    let ending = me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace);
    let mut failure = Failure::Unchanged;
    // A wake-up at this very time was asked for in this turn: the rest is a next turn's.
    let later = turn.state().wake_of(&me.key) == Some(turn.now_ms());
    // Pods that wait to be admitted count as those that are there.
    let waiting = candidates::of(turn, me, Kind::POD);
    let have = pods.len() + waiting.len();
    let mut want = usize::try_from(spec.replicas.max(0)).unwrap_or(usize::MAX);
    if planted(Defect::ReplicaLeak) && pods.iter().any(|o| o.pod().is_some_and(|p| p.restarts > 0)) {
        want += 1;
    }
    let pods = if ending || later || (have < want && status::waits_to_retry(turn, me, spec)) {
        pods
    } else if have == want || (have == want + 1 && planted(Defect::SurplusKept)) {
        // What was refused before is forgotten when all are there.
        failure = if waiting.is_empty() { Failure::None } else { Failure::Unchanged };
        pods
    } else {
        failure = match have < want {
            true => match rejected_until(turn, me) {
                Some(at) => Failure::Later(at),
                None => create(turn, me, want - have),
            },
            false => delete(turn, me, waiting, pods, have - want),
        };
        // What was just made or deleted counts here already: the status is written once.
        active(turn, me)
    };
    status::write(turn, me, spec, &pods, &failure);
    status::set_wake(turn, me, spec, &pods, &failure);
    if pods.is_empty() {
        deployment::drained(turn, me);
    }
}

/// Who events about a set's pods are from, as Kubernetes names it.
fn component(me: &Object) -> &'static str {
    match me.key.kind {
        Kind::REPLICATION_CONTROLLER => "replication-controller",
        _ => "replicaset-controller",
    }
}

/// The set's pods that count: not ended, not leaving.
fn active(turn: &Turn, me: &Object) -> Vec<Arc<Object>> {
    let mut pods = claim::owned(turn, me, Kind::POD);
    pods.retain(|pod| pod.is_active_pod());
    pods
}

/// Whether this reaction is left to a later one. A set that has not as many pods as it shall have does not wait.
fn gathers(turn: &mut Turn, me: &Object, spec: &ReplicaSetDigest) -> bool {
    let told = me.meta.deleting() || spec.status.observed_generation != me.meta.generation;
    let active = turn.state().active_pods(&me.meta.uid);
    gather::gathers(turn, me, active, LARGE, told || i64::try_from(active) != Ok(spec.replicas))
}

/// When pods may be made again, if a node refused one a moment ago.
fn rejected_until(turn: &Turn, me: &Object) -> Option<i64> {
    let pods = claim::owned(turn, me, Kind::POD);
    pods.iter().filter_map(|pod| pod::rejected_until(pod, turn.now_ms())).max()
}

/// Says of a set that its pods are refused.
pub(crate) fn refused(turn: &mut Turn, me: &Object, why: &str) {
    status::refused_for(turn, me, why);
}

fn create(turn: &mut Turn, me: &Object, missing: usize) -> Failure {
    let template = me.document.spec_value()["template"].clone();
    let leave = candidates::leave(turn, me, Kind::POD, missing);
    let mut asked = leave.refusals > 0;
    for made in 0..leave.most {
        if turn.full() || made == BURST {
            let now = turn.now_ms();
            turn.wake(&me.key, Some(now));
            return if asked { Failure::Unchanged } else { Failure::None };
        }
        let pod = match pod::new_from_template(turn, me, &template) {
            Ok(pod) => match candidates::make(turn, me, Kind::POD, pod) {
                Made::There(pod) => Some(pod),
                Made::Waits => {
                    asked = true;
                    None
                }
                Made::Taken => None,
            },
            Err(why) => {
                turn.event(me, "Warning", "FailedCreate", format!("Error creating: {why}"), component(me));
                return Failure::Create(why);
            }
        };
        let rejected = pod.as_deref().and_then(|pod| pod::rejected_until(pod, turn.now_ms()));
        if let Some(pod) = pod.filter(|_| made < EVENTS) {
            turn.event(
                me,
                "Normal",
                "SuccessfulCreate",
                format!("Created pod: {}", pod.key.name),
                component(me),
            );
        }
        // The others would be refused as well.
        if let Some(at) = rejected {
            return Failure::Later(at);
        }
    }
    match leave.wake {
        Some(at) => Failure::Later(at),
        None if asked => Failure::Unchanged,
        None => Failure::None,
    }
}

fn delete(
    turn: &mut Turn,
    me: &Object,
    waiting: Vec<Arc<Object>>,
    pods: Vec<Arc<Object>>,
    surplus: usize,
) -> Failure {
    // Those first that are not there yet.
    waiting.iter().take(surplus).for_each(|candidate| turn.remove(&candidate.key));
    let surplus = surplus.saturating_sub(waiting.len());
    for (done, pod) in rank::first_to_go(turn, me, pods).into_iter().take(surplus).enumerate() {
        if turn.full() || done == BURST {
            let now = turn.now_ms();
            turn.wake(&me.key, Some(now));
            return Failure::None;
        }
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() && done < EVENTS {
            turn.event(
                me,
                "Normal",
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.key.name),
                component(me),
            );
        }
    }
    Failure::None
}
