//! When nothing happens, nothing is logged: work that goes on by itself, as a report that is sent, refused and sent again, ends in
//! nothing, and costs every controller a disk write each time. With real processes nobody knows when an entry was committed, and
//! nothing is found.

use kontiki_actors::{Change, Entry, Kind};

use super::{Check, Evidence, Verdict};
use crate::{Run, history::LoggedEntry};

/// F9.
pub(crate) struct Quiet;

/// What happened may be worked off for this long: pods are replaced, rollouts go on, whoever was away catches up.
const WORKED_OFF_NS: u64 = 120_000_000_000;
/// Shorter times of quiet are not looked at.
const QUIET_NS: u64 = 60_000_000_000;
/// One entry in this time is no loop: containers that fail are started again, deadlines pass.
const ENTRY_NS: u64 = 5_000_000_000;

impl Check for Quiet {
    fn name(&self) -> &'static str {
        "quiet"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["F9"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        let mut examined = 0;
        for (from, until) in quiet(run) {
            examined += 1;
            let begin = run.log.partition_point(|entry| entry.committed_ns < from);
            let end = run.log.partition_point(|entry| entry.committed_ns < until);
            let mut entries = run.log[begin..end].iter().filter(|entry| !forgets_events(entry)).peekable();
            let first = entries.peek().map(|entry| entry.index);
            let entries = entries.count() as u64;
            if let Some(first) = first
                && entries > (until - from) / ENTRY_NS
            {
                let seconds = |ns: u64| ns / 1_000_000_000;
                let words = format!(
                    "nothing had happened for {} s, and in the {} s that followed {entries} entries were logged, the first of them {first}",
                    seconds(WORKED_OFF_NS),
                    seconds(until - from),
                );
                return Verdict::violated("F9", Some(from), words);
            }
        }
        Verdict::Pass { examined }
    }
}

/// Whether an entry does nothing but forget events: they go at the pace at which they came an hour before, so that a rollout of then is
/// as many entries now, and then it is over.
fn forgets_events(logged: &LoggedEntry) -> bool {
    let Ok(entry) = Entry::decode(&logged.bytes) else { return false };
    let mut changes = entry.turns.iter().flat_map(|turned| &turned.changes).peekable();
    let forgets = |change: &Change| {
        change.key().is_some_and(|key| key.kind == Kind::EVENT) && !matches!(change, Change::Put { .. })
    };
    changes.peek().is_some() && changes.all(forgets)
}

/// The times in which nobody asked for anything and nothing was broken, without what is worked off at their beginning.
fn quiet(run: &Run) -> Vec<(u64, u64)> {
    let asked = run.ops.iter().map(|op| (op.invoked_ns, op.returned_ns.unwrap_or(op.invoked_ns)));
    let broke = run.faults.iter().filter(|fault| fault.skipped.is_none());
    let mut happened: Vec<(u64, u64)> =
        asked.chain(broke.map(|fault| (fault.from_ns, fault.until_ns))).collect();
    happened.extend(run.log.last().map(|entry| (entry.committed_ns, entry.committed_ns)));
    happened.sort_unstable();
    let (mut times, mut over) = (Vec::new(), 0);
    for (from, until) in happened {
        let begins = over + WORKED_OFF_NS;
        if from >= begins + QUIET_NS {
            times.push((begins, from));
        }
        over = over.max(until);
    }
    times
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Document, ObjectKey};

    use super::*;
    use crate::{
        check::build::{Build, fault},
        plan::FaultKind,
    };

    /// A write, and then an entry that nobody asked for, again and again.
    fn run(every_ms: u64, times: u64) -> Build {
        run_of(every_ms, times, &[])
    }

    /// The same with these changes each time.
    fn run_of(every_ms: u64, times: u64, changes: &[Change]) -> Build {
        let mut build = Build::new();
        build.put("a", 1, "one");
        build.wait_ms(120_000);
        for _ in 0..times {
            build.wait_ms(every_ms);
            build.forge(changes.to_vec());
        }
        build
    }

    fn found(build: &Build) -> bool {
        matches!(Quiet.check(&build.run), Verdict::Violated { invariant, .. } if invariant == "F9")
    }

    #[test]
    fn a_loop_is_found_and_a_deadline_now_and_then_is_none() {
        assert!(found(&run(1000, 100)));
        assert_eq!(Quiet.check(&run(20_000, 10).run), Verdict::Pass { examined: 1 });
    }

    #[test]
    fn events_are_forgotten_at_the_pace_at_which_they_came() {
        let event = |name: &str| ObjectKey::new(Kind::EVENT, "default", name);
        let forgotten = [Change::Delete { key: event("a") }, Change::Wake { key: event("b"), at_ms: None }];
        assert_eq!(Quiet.check(&run_of(1000, 100, &forgotten).run), Verdict::Pass { examined: 1 });
        let pod = Change::Delete { key: ObjectKey::new(Kind::POD, "default", "a") };
        assert!(found(&run_of(1000, 100, &[forgotten[0].clone(), pod])));
        let document =
            Document::from_value(serde_json::json!({"metadata": {"name": "c", "namespace": "default"}}));
        let told = Change::between(event("c"), None, &document).unwrap();
        assert!(found(&run_of(1000, 100, &[told, Change::Delete { key: event("c") }])));
    }

    #[test]
    fn what_follows_a_fault_is_worked_off() {
        let mut build = run(1000, 100);
        fault(&mut build.run, FaultKind::Crash, "controller-1", 100_000, 400_000);
        assert_eq!(Quiet.check(&build.run), Verdict::Pass { examined: 0 });
    }
}
