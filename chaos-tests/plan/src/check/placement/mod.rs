//! Placement, on the states that the log goes through.

pub(super) mod affinity;
pub(super) mod assigned;
pub(super) mod capacity;
pub(super) mod replicas;
pub(super) mod rollout;
pub(super) mod rules;
pub(super) mod spread;

use std::collections::BTreeSet;

use kontiki_actors::{Change, Kind, Object, ObjectKey};

use super::Moment;

/// The pods that a turn put, as they were and are.
pub(super) fn pods_put<'a>(moment: &'a Moment<'_>) -> impl Iterator<Item = (Option<&'a Object>, &'a Object)> {
    let puts = moment.turn.turned.changes.iter().filter_map(|change| match change {
        Change::Put { key, .. } if key.kind == Kind::POD => Some(key),
        _ => None,
    });
    // A turn may put a pod several times.
    let puts: BTreeSet<&ObjectKey> = puts.collect();
    puts.into_iter()
        .filter_map(|key| Some((moment.before.get(key).map(|object| &**object), &**moment.after.get(key)?)))
}

/// The pods that a turn placed, and where.
pub(super) fn placed<'a>(moment: &'a Moment<'_>) -> impl Iterator<Item = (&'a Object, &'a str)> {
    pods_put(moment).filter_map(|(old, new)| {
        let node = new.pod()?.node.as_deref()?;
        let had = old.filter(|old| old.meta.uid == new.meta.uid).and_then(|old| old.pod()?.node.clone());
        had.is_none().then_some((new, node))
    })
}
