//! RollingUpdate: pods of former templates make way for those of the present one, on as many nodes at a time as is allowed.

use std::sync::Arc;

use compact_str::CompactString;
use serde_json::Value;

use super::{
    fleet::{Fleet, Station},
    steps::Steps,
};
use crate::{
    kinds::scaled::scaled,
    object::{DaemonSetDigest, Object},
    turn::Turn,
};

/// How many nodes may have a pod more than one (surge), and how many may have none that is available. Both being nothing would never
/// move, so then one may be missing.
pub(super) fn bounds(spec: &DaemonSetDigest, nodes: i64) -> (i64, i64) {
    let one = Value::from(1);
    let unavailable = if spec.max_unavailable.is_null() { &one } else { &spec.max_unavailable };
    let (surge, unavailable) = (scaled(&spec.max_surge, nodes, true), scaled(unavailable, nodes, true));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// The next step of a rollout.
pub(super) fn steps(turn: &Turn, spec: &DaemonSetDigest, fleet: &Fleet) -> Steps {
    let (surge, unavailable) = bounds(spec, fleet.wanted());
    if surge > 0 { surging(turn, spec, fleet, surge) } else { replacing(turn, spec, fleet, unavailable) }
}

/// Old pods go, and new ones come where they were.
fn replacing(turn: &Turn, spec: &DaemonSetDigest, fleet: &Fleet, most: i64) -> Steps {
    let mut missing = 0;
    let (mut broken, mut working) = (Vec::new(), Vec::new());
    for station in fleet.stations.values() {
        match pair(fleet, station) {
            // Whoever keeps one pod per node is about to do something here.
            None | Some((None, None) | (Some(_), Some(_))) => missing += 1,
            Some((Some(new), None)) => missing += i64::from(!available(turn, spec, &new)),
            Some((None, Some(old))) if available(turn, spec, &old) => working.push(old),
            Some((None, Some(old))) => {
                missing += 1;
                broken.push(old);
            }
        }
    }
    working.truncate(usize::try_from((most - missing).max(0)).unwrap_or(usize::MAX));
    Steps { delete: broken.into_iter().chain(working).collect(), ..Steps::default() }
}

/// New pods come beside old ones, which go when the new ones are available.
fn surging(turn: &Turn, spec: &DaemonSetDigest, fleet: &Fleet, most: i64) -> Steps {
    let mut beside = 0;
    let mut delete = Vec::new();
    let (mut broken, mut working): (Vec<CompactString>, Vec<CompactString>) = Default::default();
    for (node, station) in &fleet.stations {
        match pair(fleet, station) {
            None => beside += 1,
            Some((_, None)) => {}
            // Nothing comes where nothing is to be.
            Some((None, Some(_))) if !station.verdict.runs => {}
            Some((None, Some(old))) if available(turn, spec, &old) => working.push(node.clone()),
            Some((None, Some(_))) => broken.push(node.clone()),
            Some((Some(new), Some(old))) if available(turn, spec, &new) => delete.push(old),
            Some((Some(_), Some(_))) => beside += 1,
        }
    }
    working.truncate(usize::try_from((most - beside).max(0)).unwrap_or(usize::MAX));
    Steps { delete, create: broken.into_iter().chain(working).collect(), ..Steps::default() }
}

type Pair = (Option<Arc<Object>>, Option<Arc<Object>>);

/// The pod of the present template and that of a former one; none if there are several of either.
fn pair(fleet: &Fleet, station: &Station) -> Option<Pair> {
    let (mut new, mut old) = (None, None);
    for pod in station.pods.iter().filter(|pod| !pod.meta.deleting()) {
        let place = if fleet.is_new(pod) { &mut new } else { &mut old };
        if place.replace(pod.clone()).is_some() {
            return None;
        }
    }
    Some((new, old))
}

fn available(turn: &Turn, spec: &DaemonSetDigest, pod: &Object) -> bool {
    pod.pod().is_some_and(|pod| pod.available(spec.min_ready_s, turn.now_ms()))
}
