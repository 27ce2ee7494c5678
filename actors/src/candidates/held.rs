//! Owners of whom something was refused wait, and then try with one: what refuses one mostly refuses all. How long they wait is part of the state, in
//! a record beside the candidates, so that a new leader goes on waiting where the last one was.

use std::sync::Arc;

use serde_json::json;

use super::{PLACES, of, place};
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// What the name of a record begins with: no candidate has such a name.
const MARK: char = ':';
/// How long an owner waits after the first refusal, and twice as long with each that follows ...
const FIRST_MS: i64 = 1000;
/// ... up to this: who was refused for the want of a webhook goes on soon after that lives.
const MOST_MS: i64 = 120_000;
/// Owners that a change of a configuration wakes at once; others go on when their time has come.
const WOKEN: usize = 500;

/// Whether this is not a candidate, but the record of an owner of whom something was refused.
pub fn is_record(key: &ObjectKey) -> bool {
    PLACES.contains(&key.kind) && key.name.starts_with(MARK)
}

/// An owner has one for its pods, and one for what else it makes, which is of one kind.
fn key(owner: &Object, kind: Kind) -> ObjectKey {
    ObjectKey::new(place(kind), &owner.key.namespace, &format!("{MARK}{}", owner.meta.uid))
}

/// Refusals in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    times: i64,
    until_ms: i64,
}

fn record(state: &State, owner: &Object, kind: Kind) -> Option<Record> {
    let status = state.get(&key(owner, kind))?.document.status_value();
    let number = |key: &str| status[key].as_i64();
    Some(Record { times: number("times")?, until_ms: number("untilMs")? })
}

/// How many objects of a kind an owner may make now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// So many.
    pub most: usize,
    /// When it may make more, if it has to wait for that time, and not for what comes of a candidate.
    pub wake: Option<i64>,
    /// How often some of it were refused in a row. Who makes what differs tries with another one each time, or one that is always refused
    /// would be in the way of all others.
    pub refusals: usize,
}

/// How many of the objects of a kind that it lacks an owner may make now: all of them, unless some were refused.
pub(crate) fn leave(turn: &Turn, owner: &Object, kind: Kind, missing: usize) -> Leave {
    let Some(record) = record(turn.state(), owner, kind) else {
        return Leave { most: missing, wake: None, refusals: 0 };
    };
    let waits = Some(record.until_ms).filter(|until| *until > turn.now_ms());
    let most = if waits.is_some() || !of(turn, owner, kind).is_empty() { 0 } else { missing.min(1) };
    Leave { most, wake: waits, refusals: usize::try_from(record.times).unwrap_or(0).max(1) }
}

fn wait_ms(times: i64) -> i64 {
    let doublings = u32::try_from((times - 1).clamp(0, 20)).unwrap_or(0);
    FIRST_MS.saturating_mul(1 << doublings).min(MOST_MS)
}

/// Notes that an object of a kind was refused to an owner. Tells until when that waits.
pub(super) fn refused(turn: &mut Turn, owner: &Object, kind: Kind) -> i64 {
    let times = record(turn.state(), owner, kind).map_or(0, |record| record.times).saturating_add(1);
    let until_ms = turn.now_ms().saturating_add(wait_ms(times));
    let status = json!({"times": times, "untilMs": until_ms});
    match turn.state().get(&key(owner, kind)).cloned() {
        Some(record) => drop(turn.put_status(&record, status)),
        None => {
            let key = key(owner, kind);
            let metadata = json!({"name": key.name, "namespace": key.namespace,
                "ownerReferences": [Turn::controller_reference(owner)]});
            turn.create(key.kind, json!({"metadata": metadata, "status": status}));
        }
    }
    until_ms
}

/// Forgets what was refused to an owner of a kind: one was admitted, or it wants another one.
pub(crate) fn forget(turn: &mut Turn, owner: &Object, kind: Kind) {
    turn.remove(&key(owner, kind));
}

/// A configuration came, went or became another one: what was refused may not be any more.
pub(super) fn forgive(turn: &mut Turn) {
    let all = PLACES.into_iter().flat_map(|place| turn.state().list(place, None));
    let all = all.filter(|object| is_record(&object.key));
    let records: Vec<Arc<Object>> = all.take(WOKEN).cloned().collect();
    for record in records {
        let status = record.document.status_value();
        // The next refusal counts on from here: who writes configurations again and again makes no storm.
        let now = turn.now_ms();
        turn.put_status(&record, json!({"times": status["times"], "untilMs": now}));
        let owner = record.meta.controller().and_then(|owner| turn.owner(&record.key.namespace, owner));
        if let Some(owner) = owner {
            turn.wake_by(&owner.key, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_two_minutes() {
        let waits: Vec<i64> = (1..10).map(|times| wait_ms(times) / 1000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    }
}
