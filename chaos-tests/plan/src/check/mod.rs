//! The judges of a run. Each is one property in a file of its own, named for it.

mod broken;
#[cfg(test)]
#[allow(dead_code, reason = "tests to come use the rest")]
pub(crate) mod build;
mod causes;
mod condemned;
mod evidence;
mod finalizers;
mod hits;
mod leaders;
mod linearizable;
mod log;
mod observer;
mod placement;
mod settled;
mod wgl;

use serde::{Deserialize, Serialize};

use self::placement::{assigned, capacity, replicas, rollout, rules, spread};
pub use self::{
    evidence::Evidence,
    log::{Log, Step, Turn, Version},
    observer::{Moment, Observer},
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

    /// Judges. Stops at the first violation: it is the one that is reported.
    fn judge(&self, evidence: &Evidence<'_>) -> Verdict;

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
        &capacity::Capacity,
        &assigned::Assigned,
        &rules::Rules,
        &spread::Spread,
        &rollout::Rollout,
        &replicas::Replicas,
        &causes::Causes,
        &condemned::Condemned,
        &finalizers::Finalizers,
        &settled::Settled,
    ]
}
