//! Old replica sets are kept for going back to, as many as the deployment says.

use super::{REVISION, claim::Sets};
use crate::{
    input::{DeleteOptions, Propagation},
    object::{DeploymentDigest, Object},
    turn::Turn,
};

/// The revision that a replica set or deployment stands for.
pub(super) fn revision_of(object: &Object) -> i64 {
    object.meta.annotations.get(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// Deletes the oldest sets beyond the limit that have no pods.
pub(super) fn cut(turn: &mut Turn, spec: &DeploymentDigest, sets: &Sets) {
    let mut old: Vec<_> = sets.old.iter().filter(|set| !set.meta.deleting()).collect();
    let limit = usize::try_from(spec.revision_history_limit.max(0)).unwrap_or(usize::MAX);
    let surplus = old.len().saturating_sub(limit);
    old.sort_by_key(|set| revision_of(set));
    for set in old.into_iter().take(surplus) {
        let settled = set.replica_set().is_some_and(|s| {
            s.replicas == 0 && s.status.replicas == 0 && s.status.observed_generation >= set.meta.generation
        });
        if settled {
            let options =
                DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            // It exists and there are no preconditions, so this is not refused.
            let _ = turn.delete(&set.key, &options);
        }
    }
}
