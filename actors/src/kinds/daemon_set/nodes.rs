//! On which nodes a daemon set's pods are to run.

use crate::{
    kind::Kind,
    object::{DaemonSetDigest, Object, ObjectKey},
    scheduling::{selects, tolerated},
    turn::Turn,
};

/// What a daemon set wants of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// A pod is to run there.
    pub runs: bool,
    /// One that is there may go on: a taint that came later keeps new pods away, and leaves those alone.
    pub stays: bool,
}

const NEVER: Verdict = Verdict { runs: false, stays: false };

/// What a daemon set wants of a node; whether there is room for the pod is not its business.
pub(super) fn verdict(spec: &DaemonSetDigest, node: &Object) -> Verdict {
    let Some(digest) = node.node() else { return NEVER };
    let named = spec.pod.node.as_ref().is_none_or(|name| *name == node.key.name);
    if !named || !selects(&spec.pod, node) {
        return NEVER;
    }
    let repels = |effect: &str| {
        digest.taints.iter().any(|t| t.effect == effect && !tolerated(&spec.pod.tolerations, t))
    };
    let stays = !repels("NoExecute");
    // A node that is about to go gets no new pods; until it is gone, those that are there serve it.
    Verdict { runs: stays && !repels("NoSchedule") && !node.meta.deleting(), stays }
}

/// A node changed, came or went: the daemon sets that now want something else of it react.
pub(crate) fn node_changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let seen = |node: &Object| {
        let taints = node.node().map(|digest| digest.taints.clone());
        (node.meta.labels.clone(), taints, node.meta.deleting())
    };
    if old.map(seen) == new.map(seen) {
        return;
    }
    let of = |spec: &DaemonSetDigest, node: Option<&Object>| node.map_or(NEVER, |node| verdict(spec, node));
    let concerned: Vec<ObjectKey> = turn
        .state()
        .list(Kind::DAEMON_SET, None)
        .filter(|set| set.daemon_set().is_some_and(|spec| of(spec, old) != of(spec, new)))
        .map(|set| set.key.clone())
        .collect();
    concerned.iter().for_each(|key| turn.notify(key));
}
