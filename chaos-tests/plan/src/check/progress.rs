//! A minority that is down holds nobody up: while nothing else is broken, the others answer writes and reads.

use super::{Check, Evidence, Verdict, hits};
use crate::{
    Layer, Run,
    history::{Answer, Call, FaultRecord, OpRecord},
    plan::{FaultKind, Side},
};

/// F5.
pub(crate) struct Progress;

/// The others elect, and those that come back catch up, in so many of the longest election timeouts.
const RECOVERY_ELECTIONS: u64 = 10;
/// Real machines that are busy are slower than their timers.
const RECOVERY_REAL_NS: u64 = 10_000_000_000;
/// A healthy cluster answers within this time.
const ANSWER_NS: u64 = 2_000_000_000;
const MS: u64 = 1_000_000;

/// A time in which the only thing that is wrong is that these controllers are down.
#[derive(Debug)]
struct Calm {
    from_ns: u64,
    until_ns: u64,
    down: Vec<String>,
}

impl Check for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["F5"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        let mut examined = 0;
        for calm in calms(run) {
            for op in run.ops.iter().filter(|op| falls_into(op, &calm)) {
                examined += 1;
                if !answered(op) {
                    let words = format!(
                        "only {} of {} controllers are down, since {} ms, and {op}: no answer within {} ms",
                        calm.down.join(", "),
                        run.plan.shape.controllers,
                        (op.invoked_ns - calm.from_ns) / MS,
                        ANSWER_NS / MS
                    );
                    return Verdict::violated("F5", Some(op.invoked_ns), words);
                }
            }
        }
        Verdict::Pass { examined }
    }
}

/// Register operations through a controller that is up, early enough to be answered while it lasts.
fn falls_into(op: &OpRecord, calm: &Calm) -> bool {
    let through = crate::names::controller(op.server);
    let in_time = op.invoked_ns >= calm.from_ns && op.invoked_ns + ANSWER_NS <= calm.until_ns;
    in_time && !calm.down.contains(&through) && !matches!(op.call, Call::Other { .. })
}

fn answered(op: &OpRecord) -> bool {
    let definite = !matches!(op.answer, Answer::Unknown | Answer::Refused { code: 429 | 500.. });
    definite && op.returned_ns.is_some_and(|at| at <= op.invoked_ns + ANSWER_NS)
}

fn recovery_ns(run: &Run) -> u64 {
    let elections = RECOVERY_ELECTIONS * run.plan.shape.election_ms * MS;
    if run.layer == Layer::L3 { elections.max(RECOVERY_REAL_NS) } else { elections }
}

/// The stretches between the beginnings and ends of faults in which nothing but a minority of controllers is down, and that for so
/// long that the others had time to go on.
fn calms(run: &Run) -> Vec<Calm> {
    let recovery = recovery_ns(run);
    let faults: Vec<(&FaultRecord, &FaultKind)> =
        run.faults.iter().filter_map(|fault| Some((fault, hits::kind(run, fault)?))).collect();
    let mut edges: Vec<u64> = faults.iter().flat_map(|(fault, _)| [fault.from_ns, fault.until_ns]).collect();
    edges.push(run.settled.healed_ns);
    edges.sort_unstable();
    edges.dedup();
    // What a controller has lost for good is made good at some time that is not told.
    let destroyed = faults.iter().filter(|(_, kind)| destroys(kind)).map(|(fault, _)| fault.from_ns).min();
    let mut calms = Vec::new();
    for (begins, ends) in edges.iter().zip(edges.iter().skip(1)) {
        let from_ns = begins + recovery;
        let broken_for_good = destroyed.is_some_and(|since| since <= *ends);
        let lasting: Vec<_> =
            faults.iter().filter(|(fault, _)| fault.from_ns <= *begins && fault.until_ns >= *ends).collect();
        if from_ns >= *ends || broken_for_good || !lasting.iter().all(|(_, kind)| stops(kind)) {
            continue;
        }
        let hit = lasting.iter().flat_map(|(fault, _)| &fault.hit);
        let mut down: Vec<String> = hit.filter(|name| name.starts_with("controller-")).cloned().collect();
        down.sort();
        down.dedup();
        if !down.is_empty() && 2 * down.len() < run.plan.shape.controllers as usize {
            calms.push(Calm { from_ns, until_ns: *ends, down });
        }
    }
    calms
}

/// Whoever is hit takes no part at all, and nothing else is touched.
const fn stops(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Crash | FaultKind::PowerCut | FaultKind::Pause | FaultKind::Isolate { side: Side::Both }
    )
}

const fn destroys(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::BitRot { .. } | FaultKind::DiskLost | FaultKind::MemberReplaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, fault};

    const SECOND: u64 = 1_000_000_000;

    /// controller-2 is down from 10 s to 60 s, and a client writes through controller-0 at 40 s.
    fn run(kind: FaultKind, answer: Answer, after_ns: u64) -> Run {
        let mut run = Build::new().run;
        run.plan.shape.controllers = 3;
        run.settled.healed_ns = 100 * SECOND;
        fault(&mut run, kind, "controller-2", 10_000, 60_000);
        run.ops.push(OpRecord {
            client: 0,
            request: None,
            server: 0,
            invoked_ns: 40 * SECOND,
            returned_ns: Some(40 * SECOND + after_ns),
            call: Call::Get { key: "configmaps/default/r1".into(), stale: false },
            answer,
        });
        run
    }

    fn found(run: &Run) -> bool {
        matches!(Progress.check(run), Verdict::Violated { invariant, .. } if invariant == "F5")
    }

    #[test]
    fn while_a_minority_is_down_the_others_answer() {
        let value = Answer::Value { value: None };
        assert_eq!(Progress.check(&run(FaultKind::Crash, value.clone(), MS)), Verdict::Pass { examined: 1 });
        assert!(found(&run(FaultKind::Crash, value, 3 * SECOND)));
        assert!(found(&run(FaultKind::Pause, Answer::Unknown, MS)));
        assert!(found(&run(FaultKind::PowerCut, Answer::Refused { code: 503 }, MS)));
        assert!(!found(&run(FaultKind::Crash, Answer::Refused { code: 409 }, MS)));
    }

    #[test]
    fn nothing_is_expected_of_who_is_down_of_the_majority_or_while_something_else_is_wrong() {
        let late = || run(FaultKind::Crash, Answer::Unknown, MS);
        let mut through = late();
        through.ops[0].server = 2;
        assert!(!found(&through));
        let mut both = late();
        both.faults[0].hit.push("controller-1".into());
        assert!(!found(&both));
        let mut slow = late();
        fault(&mut slow, FaultKind::Delay { ms: 900, jitter_ms: 0 }, "controller-0", 30_000, 50_000);
        assert!(!found(&slow));
        let mut just_before = late();
        fault(&mut just_before, FaultKind::Crash, "worker-0", 39_000, 39_500);
        assert!(!found(&just_before));
        let mut lost = late();
        fault(&mut lost, FaultKind::DiskLost, "controller-1", 1_000, 2_000);
        assert!(!found(&lost));
    }
}
