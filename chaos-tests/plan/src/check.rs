//! The judges of a run. Each is one property in a file of its own, named for it.

use serde::{Deserialize, Serialize};

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
    fn check(&self, run: &Run) -> Verdict;
}
