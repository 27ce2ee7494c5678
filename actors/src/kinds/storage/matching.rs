//! Which free volume a claim gets: one that is kept for it, else the smallest that fits, the first by name of equal ones.

use std::{collections::BTreeSet, sync::Arc};

use super::{Class, claim_of_pod, is_bound, is_for, reaches};
use crate::{
    kind::Kind,
    object::{ClaimDigest, Object, ObjectKey, VolumeDigest},
    state::State,
};

/// How the claim of a pod gets its volume on a node.
pub(crate) enum Choice {
    /// It is bound to this volume, which was there.
    Found { claim: ObjectKey, volume: ObjectKey },
    /// A folder of the node is made for it.
    Make { claim: ObjectKey },
}

/// The volumes that a claim could have: those that are free and fit, those kept for it first, then the smallest.
pub(super) fn fitting<'a>(state: &'a State, claim: &Object, digest: &ClaimDigest) -> Vec<&'a Arc<Object>> {
    let mut fitting: Vec<_> = state
        .list(Kind::PERSISTENT_VOLUME, None)
        .filter_map(|object| Some((object, object.volume()?)))
        .filter(|(object, volume)| fits(object, volume, claim, digest))
        .map(|(object, volume)| (volume.claim.is_none(), volume.capacity, object))
        .collect();
    fitting.sort_by(|a, b| (a.0, a.1, &a.2.key).cmp(&(b.0, b.1, &b.2.key)));
    fitting.into_iter().map(|(.., object)| object).collect()
}

fn fits(object: &Object, volume: &VolumeDigest, claim: &Object, wanted: &ClaimDigest) -> bool {
    if object.meta.deleting() || volume.capacity < wanted.request || volume.mode != wanted.mode {
        return false;
    }
    match &volume.claim {
        // Kept for it: whoever did that knows its class and labels.
        Some(reference) => is_for(reference, claim),
        None => {
            volume.class == wanted.class.as_deref().unwrap_or_default()
                && wanted.modes.iter().all(|mode| volume.modes.contains(mode))
                && wanted.selector.as_ref().is_none_or(|selector| selector.matches(&object.meta.labels))
        }
    }
}

/// Why a volume that a claim names cannot be its, if so.
pub(super) fn mismatch(volume: &VolumeDigest, wanted: &ClaimDigest) -> Option<&'static str> {
    if volume.mode != wanted.mode {
        return Some("incompatible volumeMode");
    }
    if volume.capacity < wanted.request {
        return Some("requested PV is too small");
    }
    if volume.class != wanted.class.as_deref().unwrap_or_default() {
        return Some("storageClassName does not match");
    }
    let every = wanted.modes.iter().all(|mode| volume.modes.contains(mode));
    (!every).then_some("incompatible accessMode")
}

/// What pods wait for that may be bound to on any node: asked once for all nodes.
pub(crate) struct Waiting<'a> {
    claim: &'a Object,
    class: Class,
    volumes: Vec<&'a Arc<Object>>,
}

/// The claims of a pod that are bound once it has a node. Nothing for a pod without such claims.
pub(crate) fn waiting<'a>(state: &'a State, pod: &Object) -> Vec<Waiting<'a>> {
    let Some(digest) = pod.pod() else { return Vec::new() };
    let claims = digest.claims.iter().filter_map(|name| claim_of_pod(state, pod, name));
    let found = claims.filter_map(|claim| {
        let wanted = claim.claim().filter(|wanted| !is_bound(claim, wanted) && wanted.volume.is_empty())?;
        let class = Class::named(state, wanted.class.as_deref()?).filter(|class| class.waits_for_consumer)?;
        Some(Waiting { claim, class, volumes: fitting(state, claim, wanted) })
    });
    let mut seen = BTreeSet::new();
    found.filter(|waiting| seen.insert(&waiting.claim.key)).collect()
}

/// How each of these claims gets its volume on a node; none if one does not.
pub(crate) fn choose(waiting: &[Waiting<'_>], node: &Object) -> Option<Vec<Choice>> {
    let mut taken: BTreeSet<&ObjectKey> = BTreeSet::new();
    let mut choices = Vec::with_capacity(waiting.len());
    for Waiting { claim, class, volumes } in waiting {
        let free = |volume: &&&Arc<Object>| {
            !taken.contains(&volume.key) && volume.volume().is_some_and(|volume| reaches(node, volume))
        };
        let claim = claim.key.clone();
        if let Some(volume) = volumes.iter().find(free) {
            taken.insert(&volume.key);
            choices.push(Choice::Found { claim, volume: volume.key.clone() });
        } else if class.is_local_path() && class.refusal().is_none() && class.allows(node) {
            choices.push(Choice::Make { claim });
        } else {
            return None;
        }
    }
    Some(choices)
}
