//! The list that a watch begins with is what was there at its revision, and no entry is half in it.

use super::{Walk, judge};
use crate::check::{Check, Evidence, Verdict};

/// D3, and D7 for the list itself.
pub(crate) struct Lists;

impl Check for Lists {
    fn name(&self) -> &'static str {
        "watch-lists"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["D3", "D7"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        judge(evidence, &["D3", "D7"])
    }
}

impl Walk<'_> {
    pub(super) fn listed(&mut self, at_ns: u64, revision: u64, items: &[(String, String, u64)]) {
        if revision > self.log.revision {
            let words =
                format!("it listed at revision {revision}, and the log ends at {}", self.log.revision);
            self.find("D7", at_ns, words);
            return;
        }
        if !self.log.between_entries(revision) {
            self.find("D3", at_ns, format!("it listed at revision {revision}, in the middle of an entry"));
        }
        if let Some(words) = differs(items, &self.log.list(self.prefix, revision)) {
            self.find("D7", at_ns, format!("its list at revision {revision}: {words}"));
        }
    }
}

/// What a list has that it should not, or has not that it should.
pub(in crate::check) fn differs(
    items: &[(String, String, u64)],
    expected: &[(String, String, u64)],
) -> Option<String> {
    let missing =
        expected.iter().find(|item| !items.contains(item)).map(|item| format!("{item:?} is missing"));
    let extra =
        || items.iter().find(|item| !expected.contains(item)).map(|item| format!("{item:?} was not there"));
    let twice = || (items.len() > expected.len()).then(|| "something is in it twice".to_string());
    if items == expected { None } else { missing.or_else(extra).or_else(twice) }
}
