//! The daemon set: one pod on each node that it selects, tied to the node by its name.
//!
//! ```text
//!   history -> the present template's revision      fleet -> the pods by node, and what is wanted of each (nodes)
//!           -> manage: what is missing, too much, failed   |  rollout: RollingUpdate, one step
//!           -> steps: as much of it as a turn has room for -> status
//! ```

mod fleet;
mod manage;
mod nodes;
mod rollout;
mod status;
mod steps;
mod template;

pub(crate) use self::{fleet::target as node_of, nodes::node_changed};
use std::collections::BTreeSet;

use compact_str::CompactString;

use self::{fleet::Fleet, steps::Done};
use super::{claim, gather, history, namespace};
use crate::{
    candidates,
    kind::Kind,
    object::{DaemonSetDigest, Object},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "daemonset-controller";

/// Takes the next step, and counts the pods.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.daemon_set() else { return };
    if me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace) {
        return;
    }
    if spec.selector.is_empty() {
        if spec.status.observed_generation < me.meta.generation {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            turn.event(me, "Warning", "SelectingAll", message.into(), COMPONENT);
        }
        return;
    }
    let running = turn.state().active_pods(&me.meta.uid);
    if gather::gathers(turn, me, running, gather::LARGE, is_new(me, spec)) {
        return;
    }
    let by = history::Keeping {
        selector: &spec.selector,
        template: spec.template,
        collisions: spec.status.collision_count,
        label: history::HASH_LABEL,
        adopts: is_new(me, spec),
    };
    let Some(history) = history::keep(turn, me, &by) else {
        let message = "Failed to create a ControllerRevision: its names are taken";
        turn.event(me, "Warning", "FailedCreate", message.into(), COMPONENT);
        return;
    };
    let hash = history.current.meta.labels.get(history::HASH_LABEL).cloned().unwrap_or_default();
    let pods = claim::pods(turn, me, &spec.selector, |_| true);
    let mut fleet = Fleet::new(turn, me, spec, &hash, pods);
    // A wake-up at this very time was asked for in this turn: the rest is a next turn's.
    let later = turn.state().wake_of(&me.key) == Some(turn.now_ms());
    let mut done = Done { more: true, ..Done::default() };
    if !later {
        let waiting = await_admission(turn, me, &fleet);
        let surges = rollout::bounds(spec, fleet.wanted()).0 > 0 && !spec.on_delete;
        done = manage::steps(turn, spec, &fleet, surges).take(turn, me, spec, &hash, &waiting);
        if done.changed {
            fleet = fleet.anew(turn, me, spec);
        }
        if !done.more && !spec.on_delete {
            // Those too that were just made.
            let waiting = await_admission(turn, me, &fleet);
            let rolled = rollout::steps(turn, spec, &fleet).take(turn, me, spec, &hash, &waiting);
            done = Done { wake: done.wake.into_iter().chain(rolled.wake).min(), ..rolled };
            if done.changed {
                fleet = fleet.anew(turn, me, spec);
            }
        }
        if !done.more {
            let hashes = fleet.hashes();
            let lives = |revision: &Object| {
                revision.meta.labels.get(history::HASH_LABEL).is_some_and(|hash| hashes.contains(hash))
            };
            history::cut(turn, &history, spec.revision_history_limit, lives);
        }
    }
    status::write(turn, me, spec, &fleet, history.collisions);
    if !later {
        let rest = (done.more && !done.refused).then(|| turn.now_ms());
        let available = status::available_at(turn, spec, &fleet);
        turn.wake(&me.key, rest.into_iter().chain(done.wake).chain(available).min());
    }
}

/// The nodes whose pods wait to be admitted. Those go that are of a former template, or for nodes that are to have none.
fn await_admission(turn: &mut Turn, me: &Object, fleet: &Fleet) -> BTreeSet<CompactString> {
    let mut waiting = BTreeSet::new();
    for candidate in candidates::of(turn, me, Kind::POD) {
        let node = candidates::node(&candidate).map(CompactString::from);
        let runs =
            |node: &CompactString| fleet.stations.get(node).is_some_and(|station| station.verdict.runs);
        match node.filter(|node| fleet.is_new(&candidate) && runs(node)) {
            Some(node) if waiting.insert(node.clone()) => {}
            _ => turn.remove(&candidate.key),
        }
    }
    waiting
}

/// Whether the set's spec was changed since it was looked at.
fn is_new(me: &Object, spec: &DaemonSetDigest) -> bool {
    spec.status.observed_generation != me.meta.generation || me.meta.generation == 0
}
