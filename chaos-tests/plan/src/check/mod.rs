//! The judges of a run. Each is one property in a file of its own, named for it.

mod broken;
#[cfg(test)]
#[allow(dead_code, reason = "tests to come use the rest")]
pub(crate) mod build;
mod causes;
mod completions;
mod condemned;
pub mod coverage;
mod dry_run;
mod evidence;
mod fenced;
mod finalizers;
mod hashes;
mod hits;
mod identities;
mod leaders;
mod linearizable;
mod lists;
mod log;
mod observer;
mod ordinals;
mod overload;
mod placement;
mod progress;
mod quiet;
mod replay;
mod restarts;
mod running;
mod settled;
mod stale;
mod superseded;
mod watch;
mod wgl;

use serde::{Deserialize, Serialize};

use self::placement::{affinity, assigned, capacity, replicas, rollout, rules, spread};
pub use self::{
    evidence::Evidence,
    log::{Log, Step, Turn, Version},
    observer::{Finding, Moment, Observer},
};
use crate::Run;

/// A judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The property held in everything that was looked at; so many things were.
    Pass {
        /// How many.
        examined: u64,
    },
    /// It did not.
    Violated {
        /// The invariant's number, such as `C4`.
        invariant: String,
        /// When in the run, if that can be said.
        at_ns: Option<u64>,
        /// What was seen and what should have been.
        words: String,
    },
    /// It could not be decided, which is never a pass.
    Unknown {
        /// Why.
        words: String,
    },
}

impl Verdict {
    /// A violation.
    pub fn violated(invariant: &str, at_ns: Option<u64>, words: impl Into<String>) -> Verdict {
        Verdict::Violated { invariant: invariant.into(), at_ns, words: words.into() }
    }

    /// Whether it is a pass.
    pub fn passed(&self) -> bool {
        matches!(self, Verdict::Pass { .. })
    }
}

/// Judges one property.
pub trait Check: Sync {
    /// The file's name.
    fn name(&self) -> &'static str;

    /// The invariants that it judges, by number.
    fn invariants(&self) -> &'static [&'static str];

    /// Judges. Stops at the first violation: it is the one that is reported. A check that only observes need not say more.
    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        match self.observer() {
            Some(observer) => observer::judge(evidence, observer),
            None => Verdict::Unknown { words: "this check neither judges nor observes".into() },
        }
    }

    /// For properties of the states that the log goes through: who looks at each of them. All such checks share one pass.
    fn observer(&self) -> Option<Box<dyn Observer>> {
        None
    }

    /// Judges a run by this property alone.
    fn check(&self, run: &Run) -> Verdict {
        self.judge(&Evidence::new(run))
    }
}

/// A check's name and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The check.
    pub check: String,
    /// What it found.
    pub verdict: Verdict,
}

/// Judges a run by every property, in the order of [`all`].
pub fn judge_all(run: &Run) -> Vec<Judgement> {
    let evidence = Evidence::new(run);
    let checks = all();
    let observed = observer::judge_together(&evidence, checks);
    let judge = |(check, observed): (&&'static dyn Check, Option<Verdict>)| Judgement {
        check: check.name().into(),
        verdict: observed.unwrap_or_else(|| check.judge(&evidence)),
    };
    checks.iter().zip(observed).map(judge).collect()
}

/// The first judgement that is no pass.
pub fn first_failure(judgements: &[Judgement]) -> Option<&Judgement> {
    judgements.iter().find(|judgement| !judgement.verdict.passed())
}

/// Every check of a single run.
pub fn all() -> &'static [&'static dyn Check] {
    &[
        &broken::Broken,
        &leaders::Leaders,
        &log::Committed,
        &linearizable::Linearizable,
        &wgl::Wgl,
        &stale::Stale,
        &lists::Lists,
        &dry_run::DryRun,
        &watch::Events,
        &watch::Lists,
        &watch::Bookmarks,
        &hashes::Hashes,
        &capacity::Capacity,
        &assigned::Assigned,
        &rules::Rules,
        &spread::Spread,
        &affinity::Affinity,
        &rollout::Rollout,
        &replicas::Replicas,
        &ordinals::Ordinals,
        &completions::Completions,
        &causes::Causes,
        &replay::Replay,
        &condemned::Condemned,
        &finalizers::Finalizers,
        &fenced::Fenced,
        &superseded::Superseded,
        &running::Running,
        &identities::Identities,
        &restarts::Restarts,
        &overload::Overload,
        &settled::Settled,
        &progress::Progress,
        &quiet::Quiet,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{build::Build, *};

    #[test]
    fn names_are_unique_and_all_checks_pass_on_what_is_right() {
        let names: BTreeSet<&str> = all().iter().map(|check| check.name()).collect();
        assert_eq!(names.len(), all().len());
        let mut build = Build::new();
        build.nodes(3, 9);
        build.put("a", 1, "one");
        build.get(1, false);
        build.deploy(0, 3, build::rolling(1, 0));
        build.stateful_set(0, 2, false);
        build.job(0, 3, 2, true);
        build.converge();
        let settled = &mut build.run.settled;
        (settled.leader_ns, settled.replicas_ns) = (Some(1), Some(1));
        (settled.workload_ns, settled.served_ns) = (Some(1), Some(1));
        let judgements = judge_all(&build.run);
        assert_eq!(first_failure(&judgements), None);
        assert_eq!(judgements.len(), all().len());
        // Together they find what each finds alone.
        build.run.log.truncate(3);
        let judgements = judge_all(&build.run);
        for (check, judgement) in all().iter().zip(&judgements) {
            assert_eq!(judgement.verdict, check.check(&build.run), "{}", check.name());
        }
        assert!(first_failure(&judgements).is_some());
    }
}
