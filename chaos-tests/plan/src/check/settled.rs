//! After everything is healed the cluster comes back: a leader, equal replicas, what is wanted runs, and it serves. A plan beyond the
//! budget need not.

use super::{Check, Evidence, Verdict};

/// F1 to F4, and F8.
pub(crate) struct Settled;

/// F8: leader changes that one fault may cause.
const CHANGES_PER_FAULT: usize = 2;
/// The kinds, by number, that themselves are many faults: a link that flaps, and everything that lasts on the leader's links or disk
/// or processor (each of these may depose the next leader, too).
const LASTING: [u32; 10] = [7, 8, 9, 10, 11, 15, 18, 19, 24, 26];

impl Check for Settled {
    fn name(&self) -> &'static str {
        "settled"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["F1", "F2", "F3", "F4", "F8"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let run = evidence.run;
        if run.plan.shape.beyond_budget {
            return Verdict::Pass { examined: 0 };
        }
        let settled = &run.settled;
        let parts = [
            ("F1", "nobody leads", settled.leader_ns),
            ("F2", "the replicas are not equal", settled.replicas_ns),
            ("F3", "what is wanted does not run", settled.workload_ns),
            ("F4", "not every controller serves", settled.served_ns),
        ];
        for (invariant, words, after) in parts {
            if after.is_none() {
                let limit = settled.limit_ns / 1_000_000;
                let words =
                    format!("{words} {limit} ms after everything was healed: {}", settled.missing.join("; "));
                return Verdict::violated(invariant, Some(settled.healed_ns + settled.limit_ns), words);
            }
        }
        match storm(evidence) {
            Some(verdict) => verdict,
            None => Verdict::Pass { examined: parts.len() as u64 },
        }
    }
}

/// More leaders than the faults explain.
fn storm(evidence: &Evidence<'_>) -> Option<Verdict> {
    let run = evidence.run;
    let done: Vec<_> = run.faults.iter().filter(|fault| fault.skipped.is_none()).collect();
    if done.iter().any(|fault| LASTING.contains(&fault.number)) {
        return None;
    }
    let mut terms: Vec<u64> = run.reigns.iter().map(|reign| reign.term).collect();
    terms.sort_unstable();
    terms.dedup();
    let changes = terms.len().saturating_sub(1);
    // Each thing that is hit, and its coming back, may cost a leader.
    let hits: usize = done.iter().map(|fault| fault.hit.len().max(1)).sum();
    let allowed = CHANGES_PER_FAULT * hits;
    (changes > allowed).then(|| {
        let words = format!("{changes} changes of the leader for {} faults with {hits} targets", done.len());
        Verdict::violated("F8", run.reigns.last().map(|reign| reign.from_ns), words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Run,
        check::build::Build,
        history::{self, FaultRecord, Reign},
    };

    fn settled() -> Run {
        let mut run = Build::new().run;
        run.settled = history::Settled {
            healed_ns: 1_000,
            limit_ns: 5_000_000,
            leader_ns: Some(1),
            replicas_ns: Some(2),
            workload_ns: Some(3),
            served_ns: Some(4),
            missing: Vec::new(),
        };
        run
    }

    fn violated(run: &Run) -> String {
        match Settled.check(run) {
            Verdict::Violated { invariant, .. } => invariant,
            other => panic!("not found: {other:?}"),
        }
    }

    #[test]
    fn everything_must_come_back() {
        assert!(Settled.check(&settled()).passed());
        let mut run = settled();
        run.settled.leader_ns = None;
        assert_eq!(violated(&run), "F1");
        let mut run = settled();
        run.settled.replicas_ns = None;
        assert_eq!(violated(&run), "F2");
        let mut run = settled();
        run.settled.workload_ns = None;
        assert_eq!(violated(&run), "F3");
        let mut run = settled();
        run.settled.served_ns = None;
        assert_eq!(violated(&run), "F4");
        run.plan.shape.beyond_budget = true;
        assert!(Settled.check(&run).passed(), "beyond the budget only safety counts");
    }

    #[test]
    fn an_election_storm_is_found() {
        let mut run = settled();
        let reign = |term| Reign { controller: 0, term, from_ns: term, until_ns: None };
        run.reigns = (1..=3).map(reign).collect();
        let fault = |number| FaultRecord {
            event: 0,
            number,
            hit: vec!["controller-0".into()],
            from_ns: 1,
            until_ns: 2,
            bit: true,
            skipped: None,
        };
        run.faults = vec![fault(1)];
        assert!(Settled.check(&run).passed());
        run.reigns.push(reign(4));
        assert_eq!(violated(&run), "F8");
        run.faults.push(fault(11));
        assert!(Settled.check(&run).passed(), "a flapping zone may cost many leaders");
    }
}
