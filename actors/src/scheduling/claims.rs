//! Volumes: a pod has no place before its claims are bound or may be bound on its node, and it goes only where its volumes are. Pods
//! without claims are not asked about any of it.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{Placement, Reason, view::View};
use crate::{
    kinds::pod::foreign,
    kinds::storage::{Class, choose, claim_of_pod, is_bound, reaches, volume_named, waiting},
    object::{Object, ObjectKey, VolumeDigest},
    state::State,
};

const ONE_POD: &str = "ReadWriteOncePod";

/// What is said of a pod that waits for one of its claims, wherever it would go; none for one that waits for none.
pub(super) fn waits(view: &View<'_>, pod: &Object) -> Option<Placement> {
    let claims = &pod.pod()?.claims;
    if claims.is_empty() {
        return None;
    }
    let why = claims.iter().find_map(|name| hindrance(view, pod, name))?;
    let message = format!("0/{} nodes are available: {why}.", view.nodes.len());
    Some(Placement { pod: pod.key.clone(), node: Err(message), preemption: None })
}

fn hindrance(view: &View<'_>, pod: &Object, name: &str) -> Option<String> {
    let state = view.state;
    let own = pod.pod().is_some_and(|digest| digest.own_claims.iter().any(|own| own == name));
    let Some(object) = claim_of_pod(state, pod, name) else {
        return Some(match own {
            true => {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                )
            }
            false => format!("persistentvolumeclaim {name:?} not found"),
        });
    };
    if own && let Some(why) = foreign(pod, object) {
        return Some(why);
    }
    let claim = object.claim()?;
    if object.meta.deleting() {
        return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if claim.phase == "Lost" {
        let volume = &claim.volume;
        return Some(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.modes.iter().any(|mode| mode == ONE_POD) && has_another_user(state, pod, name) {
        return Some(format!(
            "{} node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            view.nodes.len()
        ));
    }
    if is_bound(object, claim) {
        return None;
    }
    let class = claim.class.as_deref().and_then(|class| Class::named(state, class));
    let later = claim.volume.is_empty() && class.is_some_and(|class| class.waits_for_consumer);
    (!later).then(|| "pod has unbound immediate PersistentVolumeClaims".to_owned())
}

fn has_another_user(state: &State, pod: &Object, claim: &str) -> bool {
    state.list(crate::Kind::POD, Some(&pod.key.namespace)).any(|other| {
        let uses = |digest: &crate::object::PodDigest| {
            digest.node.is_some() && !digest.terminal() && digest.claims.iter().any(|name| name == claim)
        };
        other.key != pod.key && other.pod().is_some_and(uses)
    })
}

/// Why each node may not take a pod, as far as its volumes are concerned; none for a pod without claims.
pub(super) fn refusals(view: &mut View<'_>, pod: &Object) -> Option<Vec<Option<Reason>>> {
    let claims = &pod.pod()?.claims;
    if claims.is_empty() {
        return None;
    }
    let state = view.state;
    let bound = claims.iter().filter_map(|name| {
        let claim = claim_of_pod(state, pod, name)?;
        claim.claim().filter(|digest| is_bound(claim, digest)).map(|digest| &digest.volume)
    });
    let volumes: Vec<Option<&VolumeDigest>> =
        bound.map(|name| volume_named(state, name).and_then(|volume| volume.volume())).collect();
    let waiting = waiting(state, pod);
    view.work.filters += (view.nodes.len() * claims.len()) as u64;
    let refusal = |node: &Object| {
        for volume in &volumes {
            match volume {
                None => return Some(Reason::VolumeMissing),
                Some(volume) if !reaches(node, volume) => return Some(Reason::VolumeElsewhere),
                Some(_) => {}
            }
        }
        choose(&waiting, node).is_none().then_some(Reason::NoVolume)
    };
    Some(view.nodes.iter().map(|node| refusal(node.object)).collect())
}

/// The pods that a plan leaves to the next one: those that share a claim with one before them of which the place of that one decides.
/// In the order of places.
pub(super) fn for_later(state: &State, pods: &[&Object]) -> BTreeSet<ObjectKey> {
    let with_claims = pods.iter().filter(|pod| pod.pod().is_some_and(|digest| !digest.claims.is_empty()));
    let mut ordered: Vec<&&Object> = with_claims.collect();
    let priority = |pod: &Object| pod.pod().map_or(0, |digest| digest.priority);
    ordered.sort_by_cached_key(|pod| (Reverse(priority(pod)), pod.meta.created_ms, pod.key.clone()));
    let (mut taken, mut later) = (BTreeSet::new(), BTreeSet::new());
    for pod in ordered {
        let Some(digest) = pod.pod() else { continue };
        let open = digest.claims.iter().filter(|name| {
            claim_of_pod(state, pod, name).is_some_and(|claim| {
                claim.claim().is_some_and(|digest| {
                    !is_bound(claim, digest) || digest.modes.iter().any(|mode| mode == ONE_POD)
                })
            })
        });
        let open: Vec<_> = open.map(|name| (pod.key.namespace.clone(), name.clone())).collect();
        if open.iter().any(|claim| taken.contains(claim)) {
            later.insert(pod.key.clone());
        } else {
            taken.extend(open);
        }
    }
    later
}
