//! Linearizability by the order of the log, in O(n log n). Where a write stands is what the log says; a read says which version it
//! saw, and so between which revisions it stands. What is left to judge is whether these places respect real time: an operation that
//! began after another had ended must not stand before it. All keys share one order, so that this is strict serializability.

mod place;

use self::place::{Place, place};
use super::{Check, Evidence, Log, Verdict};
use crate::{
    history::{Answer, Call, OpRecord},
    names,
};

/// C1, C2, C3, C4 and C7.
pub(crate) struct Linearizable;

impl Check for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["C1", "C2", "C3", "C4", "C7"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let log = match evidence.log() {
            Ok(log) => log,
            Err(verdict) => return verdict,
        };
        let ops = &evidence.run.ops;
        let judged = once_each(log).and_then(|()| no_phantom(log, ops)).and_then(|()| real_time(log, ops));
        match judged {
            Ok(examined) => Verdict::Pass { examined },
            Err(verdict) => verdict,
        }
    }
}

/// A request changes something in one turn at most.
fn once_each(log: &Log) -> Result<(), Verdict> {
    for turn in &log.turns {
        let Some(request) = &turn.turned.request else { continue };
        let done = |place: &&usize| !log.turns[**place].steps.is_empty();
        let times = log.turns_of(request).iter().filter(done).count();
        if times > 1 {
            let words = format!("request {request} was done {times} times, also by entry {}", turn.index);
            return Err(Verdict::violated("C7", Some(turn.committed_ns), words));
        }
    }
    Ok(())
}

/// Every value in the log was written by somebody.
fn no_phantom(log: &Log, ops: &[OpRecord]) -> Result<(), Verdict> {
    let mut written = std::collections::HashSet::new();
    for op in ops {
        if let Call::Create { value, .. } | Call::Update { value, .. } = &op.call {
            written.insert(value.as_str());
        }
    }
    for (key, versions) in log.keys(names::REGISTERS) {
        for version in versions {
            if let Some(value) = version.value.as_deref().filter(|value| !written.contains(value)) {
                let at = Some(log.turns[version.turn].committed_ns);
                let words = format!(
                    "{key} has the value {value:?} at revision {}, which nobody wrote",
                    version.revision
                );
                return Err(Verdict::violated("C4", at, words));
            }
        }
    }
    Ok(())
}

/// The places of all operations respect real time. Sweeps over beginnings and ends; the floor is the place that everything which has
/// ended has reached. Each operation is put at its earliest place: that leaves the most room to the others, so that a violation is one
/// for every choice.
fn real_time(log: &Log, ops: &[OpRecord]) -> Result<u64, Verdict> {
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(ops.len() * 2);
    for (n, op) in ops.iter().enumerate() {
        moments.push((op.invoked_ns, false, n));
        if let Some(returned) = op.returned_ns {
            moments.push((returned, true, n));
        }
    }
    // What begins in the moment in which another ends counts as beside it.
    moments.sort_unstable();
    let mut floor = Floor { revision: 0, set_by: None };
    let mut floors = vec![0; ops.len()];
    let mut setters = vec![None; ops.len()];
    for (at_ns, ended, n) in moments {
        let op = &ops[n];
        if !ended {
            (floors[n], setters[n]) = (floor.revision, floor.set_by);
            // Nobody may know its answer, but it cannot stand before it was asked for.
            if op.answer == Answer::Unknown
                && let Place::At(revision) = place(log, op)?
                && revision <= floor.revision
            {
                return Err(too_early(ops, n, revision, &floor));
            }
            continue;
        }
        let least = floors[n];
        let reached = match place(log, op)? {
            Place::Anywhere => continue,
            Place::At(revision) if revision <= least => {
                let floor = Floor { revision: least, set_by: setters[n] };
                return Err(too_early(ops, n, revision, &floor));
            }
            Place::At(revision) => Some(revision),
            Place::On(revision) => Some(revision).filter(|revision| *revision >= least),
            Place::Where(key, such) => log.first_at(key, least, such),
        };
        let Some(reached) = reached else {
            let words = format!(
                "{} does not fit any more: when it began, revision {least} was already reached{}",
                describe(op),
                by(ops, setters[n])
            );
            return Err(Verdict::violated("C1", Some(at_ns), words));
        };
        if reached > floor.revision {
            floor = Floor { revision: reached, set_by: Some(n) };
        }
    }
    Ok(ops.len() as u64)
}

#[derive(Clone, Copy)]
struct Floor {
    revision: u64,
    set_by: Option<usize>,
}

fn too_early(ops: &[OpRecord], n: usize, revision: u64, floor: &Floor) -> Verdict {
    let words = format!(
        "{} stands at revision {revision} of the log, but revision {} was reached before it began{}",
        describe(&ops[n]),
        floor.revision,
        by(ops, floor.set_by)
    );
    Verdict::violated("C1", Some(ops[n].invoked_ns), words)
}

fn by(ops: &[OpRecord], n: Option<usize>) -> String {
    n.map(|n| format!(", by {}", describe(&ops[n]))).unwrap_or_default()
}

/// An operation in a line, with its times.
pub(super) fn describe(op: &OpRecord) -> String {
    let seconds = |ns: u64| format!("{}.{:06} s", ns / 1_000_000_000, ns / 1000 % 1_000_000);
    let until = op.returned_ns.map(|at| format!(" to {}", seconds(at))).unwrap_or_default();
    let request = op.request.as_deref().map(|id| format!(" [request {id}]")).unwrap_or_default();
    format!("{op} ({}{until}){request}", seconds(op.invoked_ns))
}

#[cfg(test)]
mod tests;
