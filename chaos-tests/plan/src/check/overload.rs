//! An overload ends when its requests end: half a minute later the cluster answers as it did before. What goes on by itself, because
//! retries and full queues feed one another, is a metastable failure
//! (Bronson and others, "Metastable Failures in Distributed Systems", HotOS 2021).

use super::{Check, Evidence, Verdict, hits};
use crate::{
    Run,
    history::{Answer, Call, FaultRecord, OpRecord},
    names,
    plan::FaultKind,
};

/// F7.
pub(crate) struct Overload;

/// After this time it must be over.
const RECOVERY_NS: u64 = 30_000_000_000;
/// So many answers before and after can be compared.
const ENOUGH: usize = 10;
/// The median answer may take so many times as long as before ...
const TIMES: u64 = 3;
/// ... and this much longer, which is a machine's noise.
const NOISE_NS: u64 = 50_000_000;
const MS: u64 = 1_000_000;
/// How long what is not answered takes.
const FOR_EVER: u64 = u64::MAX / 4;

impl Check for Overload {
    fn name(&self) -> &'static str {
        "overload"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["F7"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        if run.plan.shape.beyond_budget && run.settled.leader_ns.is_none() {
            // A majority was lost for good: nobody answers, whatever came before.
            return Verdict::Pass { examined: 0 };
        }
        let overloads = run.faults.iter().filter(|fault| {
            hits::kind(run, fault).is_some_and(|kind| matches!(kind, FaultKind::Overload { .. }))
        });
        let mut examined = 0;
        for overload in overloads {
            // Each controller by itself: the others hide what became of one.
            for server in 0..run.plan.shape.controllers {
                let before = durations(run, server, 0, overload.from_ns);
                let after = durations(run, server, overload.until_ns + RECOVERY_NS, u64::MAX);
                let (Some(before), Some(after)) = (median(before), median(after)) else { continue };
                examined += 1;
                if after > TIMES * before + NOISE_NS {
                    let words = format!(
                        "{} ms after an overload the median answer of {} takes {}, and took {} before it",
                        RECOVERY_NS / MS,
                        names::controller(server),
                        told(after),
                        told(before)
                    );
                    return Verdict::violated("F7", Some(overload.until_ns + RECOVERY_NS), words);
                }
            }
        }
        Verdict::Pass { examined }
    }
}

/// A time for people.
fn told(ns: u64) -> String {
    if ns == FOR_EVER { "for ever".into() } else { format!("{} ms", ns / MS) }
}

/// How long register operations took that this controller was asked for in this time, while nothing was broken. What was not answered,
/// or refused for want of time or room, took for ever.
fn durations(run: &Run, server: u32, from_ns: u64, until_ns: u64) -> Vec<u64> {
    let calm = |op: &&OpRecord| !run.faults.iter().any(|fault| lasts(fault, op.invoked_ns));
    let here = run.ops.iter().filter(|op| op.server == server);
    let asked = here.filter(|op| (from_ns..until_ns).contains(&op.invoked_ns));
    let registers = asked.filter(|op| !matches!(op.call, Call::Other { .. })).filter(calm);
    registers
        .map(|op| match (&op.answer, op.returned_ns) {
            (Answer::Unknown | Answer::Refused { code: 429 | 500.. }, _) | (_, None) => FOR_EVER,
            (_, Some(at)) => at.saturating_sub(op.invoked_ns),
        })
        .collect()
}

/// A fault lasts until the cluster has had time to recover from it.
const fn lasts(fault: &FaultRecord, at_ns: u64) -> bool {
    fault.skipped.is_none() && fault.from_ns <= at_ns && at_ns < fault.until_ns + RECOVERY_NS
}

fn median(mut of: Vec<u64>) -> Option<u64> {
    of.sort_unstable();
    (of.len() >= ENOUGH).then(|| of[of.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, fault};

    /// Reads before an overload and 40 s after it; only one controller of three has changed.
    fn run(before_ms: u64, after_ms: u64, answer: &Answer) -> Run {
        let mut run = Build::new().run;
        fault(&mut run, FaultKind::Overload { requests: 9 }, "controller-0", 10_000, 20_000);
        let mut read = |server: u32, at_ms: u64, took_ms: u64, answer: &Answer| {
            run.ops.push(OpRecord {
                client: server,
                request: None,
                server,
                invoked_ns: at_ms * MS,
                returned_ns: Some((at_ms + took_ms) * MS),
                call: Call::Get { key: "configmaps/default/r1".into(), stale: false },
                answer: answer.clone(),
            });
        };
        for n in 0..ENOUGH as u64 {
            for server in 0..3 {
                read(server, n * 100, before_ms, &Answer::Value { value: None });
            }
            read(0, 60_000 + n * 100, after_ms, answer);
            for server in 1..3 {
                read(server, 60_000 + n * 100, before_ms, &Answer::Value { value: None });
            }
        }
        run
    }

    fn found(run: &Run) -> bool {
        matches!(Overload.check(run), Verdict::Violated { invariant, .. } if invariant == "F7")
    }

    #[test]
    fn half_a_minute_later_all_is_as_before() {
        let value = Answer::Value { value: None };
        assert_eq!(Overload.check(&run(20, 60, &value)), Verdict::Pass { examined: 3 });
        assert!(found(&run(20, 200, &value)));
        assert!(found(&run(20, 20, &Answer::Refused { code: 503 })));
        let mut broken = run(20, 200, &value);
        fault(&mut broken, FaultKind::Crash, "controller-1", 50_000, 70_000);
        assert_eq!(Overload.check(&broken), Verdict::Pass { examined: 0 });
    }

    #[test]
    fn where_a_majority_is_lost_nothing_is_judged() {
        let mut lost = run(20, 20, &Answer::Refused { code: 503 });
        assert!(found(&lost), "that may be the overload's doing");
        lost.plan.shape.beyond_budget = true;
        assert_eq!(Overload.check(&lost), Verdict::Pass { examined: 0 });
        lost.settled.leader_ns = Some(1);
        assert!(found(&lost), "somebody leads, and should answer");
    }
}
