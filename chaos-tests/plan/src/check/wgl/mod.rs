//! Linearizability without the log's order and without revisions, after Wing, Gong and Lowe: is there an order of a key's operations
//! that respects real time and in which each of them answers what it answered? It proves that the revisions that the other checker
//! trusts do not lie. Keys are independent, so each is judged by itself.
//!
//! Operations are linearized just in time (Lowe 2017): when one ends, all orders of those that are open are tried until it is in. What
//! is remembered is the set of (which of the open ones are in, value), so that the work depends on how many are open at once and not on
//! how long the history is. Writes without an answer are looked up in the log first: those that are not there never happened. A delete
//! that cannot be looked up may have happened or not.

mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use self::model::{ABSENT, Model, Values};
use super::{Check, Evidence, Log, Verdict, linearizable::describe};
use crate::history::{Answer, Call, OpRecord};

/// C1 by search.
pub(crate) struct Wgl;

/// As many operations may be open on one key at once.
const OPEN_LIMIT: usize = 128;
/// As many (open ones that are in, value) are remembered before giving up, which is no pass.
const SEARCH_LIMIT: usize = 1 << 20;
/// Operations of the key that a counterexample shows.
const SHOWN: usize = 8;

impl Check for Wgl {
    fn name(&self) -> &'static str {
        "wgl"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C1"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        match evidence.log() {
            Ok(log) => judge(&evidence.run.ops, log).unwrap_or_else(|verdict| verdict),
            Err(verdict) => verdict,
        }
    }
}

/// One operation on a key.
struct Open {
    record: usize,
    model: Model,
}

fn judge(ops: &[OpRecord], log: &Log) -> Result<Verdict, Verdict> {
    let values = Values::seen(ops)?;
    // By key: (when, whether it ends, which).
    let mut moments: BTreeMap<&str, Vec<(u64, bool, usize)>> = BTreeMap::new();
    let mut models: HashMap<usize, Model> = HashMap::new();
    let later = acknowledged_later(ops, log);
    for (n, op) in ops.iter().enumerate() {
        let Some((key, model)) = values.model(op) else { continue };
        let mut ended = op.returned_ns;
        if op.answer == Answer::Unknown {
            ended = match turn_of(log, op, key) {
                // It was in force when its entry was known to be committed, and when any later one was acknowledged.
                Some(turn) => {
                    let known = [log.turns[turn].committed_ns, later[turn]];
                    known.into_iter().filter(|at| (op.invoked_ns..u64::MAX).contains(at)).min()
                }
                None if may_be_in(log, ops, op, key) => None,
                None => continue,
            };
        }
        let list = moments.entry(key).or_default();
        list.push((op.invoked_ns, false, n));
        list.extend(ended.map(|at| (at, true, n)));
        models.insert(n, model);
    }
    let examined = models.len() as u64;
    for (key, mut moments) in moments {
        moments.sort_unstable();
        one_key(ops, &values, key, &moments, &models)?;
    }
    Ok(Verdict::Pass { examined })
}

/// The turn that did a write; none: it never happened.
fn turn_of(log: &Log, op: &OpRecord, key: &str) -> Option<usize> {
    let by_request = op.request.as_deref().map_or(&[][..], |request| log.turns_of(request));
    let by_value = || match &op.call {
        Call::Create { value, .. } | Call::Update { value, .. } => {
            log.writes_of(key, value).map(|version| version.turn).next()
        }
        _ => None,
    };
    by_request.iter().find(|turn| log.made_by(key, **turn).is_some()).copied().or_else(by_value)
}

/// Whether a delete without an answer may stand in the log though nothing tells that it is this one: in layers in which clients do not
/// know the names of their requests it leaves no value, either. It may if more deletes of the key stand there than were answered.
fn may_be_in(log: &Log, ops: &[OpRecord], op: &OpRecord, key: &str) -> bool {
    let answered = |other: &&OpRecord| other.call == op.call && matches!(other.answer, Answer::Done { .. });
    let deletes = log.versions(key).iter().filter(|version| version.value.is_none()).count();
    op.request.is_none()
        && matches!(op.call, Call::Delete { .. })
        && deletes > ops.iter().filter(answered).count()
}

/// For each turn: when the first write that stands there or after it was acknowledged.
fn acknowledged_later(ops: &[OpRecord], log: &Log) -> Vec<u64> {
    let mut first = vec![u64::MAX; log.turns.len()];
    for op in ops {
        let (Call::Create { key, .. } | Call::Update { key, .. } | Call::Delete { key }) = &op.call else {
            continue;
        };
        if let (Some(returned), Answer::Done { .. }) = (op.returned_ns, &op.answer)
            && let Some(turn) = turn_of(log, op, key)
        {
            first[turn] = first[turn].min(returned);
        }
    }
    for turn in (1..first.len()).rev() {
        first[turn - 1] = first[turn - 1].min(first[turn]);
    }
    first
}

fn one_key(
    ops: &[OpRecord],
    values: &Values,
    key: &str,
    moments: &[(u64, bool, usize)],
    models: &HashMap<usize, Model>,
) -> Result<(), Verdict> {
    let mut slots: Vec<Option<Open>> = Vec::new();
    let mut slot_of: HashMap<usize, usize> = HashMap::new();
    let mut configurations: HashSet<(u128, u32)> = HashSet::from([(0, ABSENT)]);
    for (at, (at_ns, ended, n)) in moments.iter().enumerate() {
        if !ended {
            let Some(model) = models.get(n).copied() else { continue };
            let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
            if free >= OPEN_LIMIT {
                return Err(Verdict::Unknown {
                    words: format!("{key}: {OPEN_LIMIT} operations are open at once"),
                });
            }
            let open = Some(Open { record: *n, model });
            if free == slots.len() {
                slots.push(open)
            } else {
                slots[free] = open
            }
            slot_of.insert(*n, free);
            continue;
        }
        let Some(slot) = slot_of.remove(n) else { continue };
        let next = linearize(&configurations, &slots, slot)
            .ok_or_else(|| Verdict::Unknown { words: format!("{key}: too many orders to try") })?;
        if next.is_empty() {
            let words = counterexample(ops, values, key, &moments[..=at], &configurations, &slots, *n);
            return Err(Verdict::violated("C1", Some(*at_ns), words));
        }
        configurations = next;
        slots[slot] = None;
    }
    Ok(())
}

/// All ways to have the operation of a slot in, by now; none when there are too many to try.
fn linearize(
    configurations: &HashSet<(u128, u32)>,
    slots: &[Option<Open>],
    slot: usize,
) -> Option<HashSet<(u128, u32)>> {
    let wanted = 1_u128 << slot;
    let mut reached = HashSet::new();
    let mut seen = configurations.clone();
    let mut todo: Vec<(u128, u32)> = configurations.iter().copied().collect();
    while let Some((within, value)) = todo.pop() {
        if within & wanted != 0 {
            reached.insert((within & !wanted, value));
            continue;
        }
        for (n, open) in slots.iter().enumerate() {
            let (bit, Some(open)) = (1_u128 << n, open) else { continue };
            let Some(after) = (within & bit == 0).then(|| open.model.apply(value)).flatten() else {
                continue;
            };
            let next = (within | bit, after);
            if seen.insert(next) {
                todo.push(next);
            }
        }
        if seen.len() > SEARCH_LIMIT {
            return None;
        }
    }
    Some(reached)
}

fn counterexample(
    ops: &[OpRecord],
    values: &Values,
    key: &str,
    moments: &[(u64, bool, usize)],
    configurations: &HashSet<(u128, u32)>,
    slots: &[Option<Open>],
    n: usize,
) -> String {
    let possible: BTreeSet<String> = configurations.iter().map(|(_, value)| values.word(*value)).collect();
    let open: Vec<usize> =
        slots.iter().flatten().map(|open| open.record).filter(|other| *other != n).collect();
    let ended = moments.iter().rev().filter(|(_, ended, other)| *ended && *other != n);
    let mut before: Vec<usize> = ended.take(SHOWN).map(|(_, _, n)| *n).collect();
    before.reverse();
    let lines =
        |list: &[usize]| -> String { list.iter().map(|n| format!("\n    {}", describe(&ops[*n]))).collect() };
    format!(
        "{key}: no order explains\n    {}\n  the value before may be {}\n  beside it:{}\n  before it:{}",
        describe(&ops[n]),
        possible.into_iter().collect::<Vec<_>>().join(" or "),
        lines(&open),
        lines(&before)
    )
}

#[cfg(test)]
mod tests;
