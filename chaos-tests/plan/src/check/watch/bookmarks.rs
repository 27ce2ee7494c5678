//! A bookmark says that everything up to its revision was delivered: then it was.

use super::{Walk, judge};
use crate::check::{Check, Evidence, Verdict};

/// D6.
pub(crate) struct Bookmarks;

impl Check for Bookmarks {
    fn name(&self) -> &'static str {
        "watch-bookmarks"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["D6"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        judge(evidence, &["D6"])
    }
}

impl Walk<'_> {
    pub(super) fn bookmark(&mut self, at_ns: u64, revision: u64) {
        if revision < self.last {
            let words = format!("a bookmark at revision {revision} came after the event at {}", self.last);
            self.find("D6", at_ns, words);
        } else if let Some(words) = self.missing(revision) {
            self.find("D6", at_ns, format!("a bookmark at revision {revision} came, but {words}"));
        }
    }
}
