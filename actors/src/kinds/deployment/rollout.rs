//! One step of a rollout. Each says whether it changed a set: then the set reacts first, and the deployment again after
//! it.

use kontiki_hooks::{Defect, planted};

use super::{
    amount,
    claim::{Sets, available, digest, pods_run, replicas},
    scale,
};
use crate::{
    object::{DeploymentDigest, Object},
    turn::Turn,
};

/// How many pods the newest set may have while the others still have theirs.
pub(super) fn newest_size(spec: &DeploymentDigest, sets: &Sets) -> i64 {
    let own = sets.newest.as_ref().map_or(0, |set| replicas(set));
    if spec.recreate {
        return spec.replicas;
    }
    let total: i64 = sets.all().map(|set| replicas(set)).sum();
    let room = spec.replicas + amount::surge(spec) - total + i64::from(planted(Defect::RolloutSurge));
    if room <= 0 { own } else { own + room.min(spec.replicas - own) }
}

/// RollingUpdate: more pods of the newest template, as far as the surge goes.
pub(super) fn raise_newest(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) -> bool {
    let Some(newest) = &sets.newest else { return false };
    let size = if replicas(newest) > spec.replicas { spec.replicas } else { newest_size(spec, sets) };
    replicas(newest) != size && scale::one(turn, me, spec, newest, size)
}

/// RollingUpdate: fewer pods of the old templates, first those that do not work anyway, as long as enough are available.
pub(super) fn lower_old(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) -> bool {
    let old: Vec<_> = sets.old.iter().filter(|set| replicas(set) > 0).cloned().collect();
    if old.is_empty() {
        return false;
    }
    let least = spec.replicas - amount::unavailable(spec) - i64::from(planted(Defect::RolloutTooFast));
    let total: i64 = sets.all().map(|set| replicas(set)).sum();
    let (newest_size, newest_available) =
        sets.newest.as_ref().map_or((0, 0), |set| (replicas(set), available(turn, set)));
    let mut broken_to_go = total - least - (newest_size - newest_available);
    if broken_to_go <= 0 {
        return false;
    }
    let mut sizes: Vec<i64> = old.iter().map(|set| replicas(set)).collect();
    let old_available: Vec<i64> = old.iter().map(|set| available(turn, set)).collect();
    for (available, size) in old_available.iter().zip(&mut sizes) {
        let broken = (*size - available).clamp(0, broken_to_go);
        *size -= broken;
        broken_to_go -= broken;
    }
    let all_available = newest_available + old_available.iter().sum::<i64>();
    let mut to_go = (all_available - least).max(0);
    for size in &mut sizes {
        let less = (*size).min(to_go);
        *size -= less;
        to_go -= less;
    }
    let mut changed = false;
    for (set, size) in old.iter().zip(sizes) {
        changed |= replicas(set) != size && scale::one(turn, me, spec, set, size);
    }
    changed
}

/// Recreate: no pods of the old templates.
pub(super) fn stop_old(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) -> bool {
    let mut changed = false;
    for set in &sets.old {
        changed |= replicas(set) > 0 && scale::one(turn, me, spec, set, 0);
    }
    changed
}

/// Recreate: whether pods of old templates still run, leaving ones included.
pub(super) fn old_pods_run(turn: &Turn, sets: &Sets) -> bool {
    sets.old.iter().any(|set| digest(set).status.replicas > 0 || pods_run(turn, set))
}

/// Recreate: all pods of the newest template.
pub(super) fn fill_newest(turn: &mut Turn, me: &Object, spec: &DeploymentDigest, sets: &Sets) -> bool {
    let Some(newest) = &sets.newest else { return false };
    replicas(newest) != spec.replicas && scale::one(turn, me, spec, newest, spec.replicas)
}
