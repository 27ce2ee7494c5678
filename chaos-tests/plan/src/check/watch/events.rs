//! Events come in order, once, all of them, also after a resume on any server, none from before the place where the watch was opened;
//! and who reads slowly is told so, not left with a hole.

use super::{Origin, Walk, judge};
use crate::check::{Check, Evidence, Verdict};

/// D1, D2, D4, D5, D7 for what follows a list, D8 and D9.
pub(crate) struct Events;

impl Check for Events {
    fn name(&self) -> &'static str {
        "watch-events"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["D1", "D2", "D4", "D5", "D7", "D8", "D9"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        judge(evidence, &["D1", "D2", "D4", "D5", "D7", "D8", "D9"])
    }
}

impl Walk<'_> {
    pub(super) fn event(&mut self, at_ns: u64, key: &str, value: Option<&String>, revision: u64) {
        let what = format!("{key} at revision {revision}");
        if revision <= self.from {
            self.find("D8", at_ns, format!("{what} was delivered to a watch from revision {}", self.from));
            return;
        }
        if revision <= self.last {
            let invariant = if revision == self.last { "D2" } else { "D1" };
            self.find(invariant, at_ns, format!("{what} was delivered after revision {}", self.last));
            return;
        }
        let known = self.log.steps(self.prefix, revision - 1, revision).next();
        let is_so = known.is_some_and(|step| step.key == key && step.value.as_ref() == value);
        if !is_so {
            let instead = known.map_or("nothing".into(), |step| format!("{} = {:?}", step.key, step.value));
            self.find("D4", at_ns, format!("{what} was delivered as {value:?}, and the log has {instead}"));
        }
        if let Some(words) = self.missing(revision - 1) {
            let invariant = match self.origin {
                _ if self.slow => "D9",
                Origin::List => "D7",
                Origin::Resumed => "D5",
                Origin::Stream => "D4",
            };
            self.find(invariant, at_ns, format!("{words}, and then came {what}"));
        }
        (self.seen, self.last, self.origin) = (revision, revision, Origin::Stream);
    }
}
