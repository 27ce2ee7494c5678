//! The stateful set: pods with identities, each of which is there at most once.
//!
//! ```text
//!   history -> the present template's revision      crew -> the pods by ordinal (identity)
//!           -> steps: members, then condemned, then the update; with their claims -> status
//! ```
//!
//! A pod's name is its identity, so there is none beside one that may still run: its object stays until its worker says that nothing of
//! it runs, or somebody says so by deleting its node, or it by force.

mod claims;
mod crew;
mod identity;
mod status;
mod steps;

use std::collections::BTreeSet;

pub(crate) use self::claims::{told_made as claim_made, told_refused as claim_refused};
use self::{
    crew::{Crew, revision},
    steps::Steps,
};
use super::{claim, gather, history, namespace};
use crate::{
    kind::Kind,
    object::{Object, StatefulSetDigest},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "statefulset-controller";
/// The label of a revision that names its hash.
const REVISION_LABEL: &str = "controller.kubernetes.io/hash";

/// Takes the next steps, and counts the pods.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.stateful_set().filter(|spec| !spec.selector.is_empty()) else { return };
    let running = turn.state().active_pods(&me.meta.uid);
    if namespace::terminating(turn.state(), &me.key.namespace)
        || gather::gathers(turn, me, running, gather::LARGE, is_new(me, spec))
    {
        return;
    }
    let by = history::Keeping {
        selector: &spec.selector,
        template: spec.template,
        collisions: spec.status.collision_count,
        label: REVISION_LABEL,
        adopts: is_new(me, spec) && !me.meta.deleting(),
    };
    let Some(history) = history::keep(turn, me, &by) else {
        let message = "Failed to create a ControllerRevision: its names are taken";
        turn.event(me, "Warning", "FailedCreate", message.into(), COMPONENT);
        return;
    };
    let known = history.old.iter().find(|revision| revision.key.name == spec.status.current_revision);
    let former = known.unwrap_or(&history.current).clone();
    let pods = claim::pods(turn, me, &spec.selector, |pod| identity::ordinal(me, pod).is_some());
    let mut crew = Crew::new(me, spec, pods);
    // A wake-up at this very time was asked for in this turn: the rest is a next turn's.
    let later = turn.state().wake_of(&me.key) == Some(turn.now_ms());
    let mut wake = None;
    if !later && !me.meta.deleting() {
        let mut steps =
            Steps { me, spec, history: &history, former: &former, wake: None, done: 0, refused: false };
        steps.take(turn, &crew);
        wake = steps.wake;
        if steps.done > 0 {
            crew = Crew::new(me, spec, claim::owned(turn, me, Kind::POD));
        }
        let live: BTreeSet<&str> =
            crew.all().map(|pod| revision(pod)).chain(Some(former.key.name.as_str())).collect();
        history::cut(turn, &history, spec.revision_history_limit, |old| live.contains(old.key.name.as_str()));
    }
    status::write(turn, me, spec, &crew, &history, &former.key.name);
    if !later {
        let available = status::available_at(turn, spec, &crew);
        turn.wake(&me.key, wake.into_iter().chain(available).min());
    }
}

/// Whether the set's spec was changed since it was looked at.
fn is_new(me: &Object, spec: &StatefulSetDigest) -> bool {
    spec.status.observed_generation != me.meta.generation || me.meta.generation == 0
}
