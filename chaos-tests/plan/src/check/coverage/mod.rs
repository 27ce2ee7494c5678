//! What a campaign has exercised. Runs that all pass prove nothing if a required fault never bit, a required pair never overlapped, or
//! a place in the code was never reached: then the campaign fails.

mod compound;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::hits;
use crate::{
    Run,
    plan::generate::{CORE_KINDS, core_pairs},
};

/// What must have come up.
#[derive(Clone, Debug, Default)]
pub struct Required {
    /// Names of fault kinds that bit.
    pub kinds: Vec<&'static str>,
    /// Pairs of kinds that bit and overlapped, each in order of the alphabet.
    pub pairs: Vec<(&'static str, &'static str)>,
    /// Marks that were reached.
    pub marks: Vec<String>,
    /// So many different numbers of the fault matrix.
    pub numbers: usize,
}

impl Required {
    /// These kinds, all pairs of the core kinds among them, and these marks.
    pub fn of(kinds: &[&'static str], marks: &[&str]) -> Required {
        Required {
            kinds: kinds.to_vec(),
            pairs: core_pairs(kinds),
            marks: marks.iter().map(ToString::to_string).collect(),
            numbers: 0,
        }
    }
}

/// What has come up, over any number of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Runs.
    pub runs: u64,
    /// Fault kinds by name: how often one bit.
    pub kinds: BTreeMap<String, u64>,
    /// Faults that were done and had no effect, by name.
    pub harmless: BTreeMap<String, u64>,
    /// Pairs of core kinds that overlapped.
    pub pairs: BTreeMap<String, u64>,
    /// Marks.
    pub reached: BTreeMap<String, u64>,
    /// Numbers of the fault matrix that bit.
    pub numbers: BTreeSet<u32>,
}

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, run: &Run) {
        self.runs += 1;
        for (mark, count) in &run.reached {
            *self.reached.entry(mark.clone()).or_default() += count;
        }
        let mut bit = Vec::new();
        for record in &run.faults {
            let Some(kind) = hits::kind(run, record) else { continue };
            let counts = if record.bit { &mut self.kinds } else { &mut self.harmless };
            *counts.entry(kind.name().into()).or_default() += 1;
            if record.bit {
                self.numbers.insert(record.number);
                bit.push((kind.name(), record));
            }
        }
        self.numbers.extend(compound::numbers(run));
        bit.retain(|(name, _)| CORE_KINDS.contains(name));
        for (n, (a, one)) in bit.iter().enumerate() {
            for (b, other) in &bit[n + 1..] {
                if a != b && one.from_ns <= other.until_ns && other.from_ns <= one.until_ns {
                    *self.pairs.entry(pair(a, b)).or_default() += 1;
                }
            }
        }
    }

    /// Adds what others have.
    pub fn merge(&mut self, other: &Coverage) {
        self.runs += other.runs;
        self.numbers.extend(&other.numbers);
        let maps = [
            (&mut self.kinds, &other.kinds),
            (&mut self.harmless, &other.harmless),
            (&mut self.pairs, &other.pairs),
            (&mut self.reached, &other.reached),
        ];
        for (own, others) in maps {
            for (name, count) in others {
                *own.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// What is missing, in words; a campaign with anything missing has failed.
    pub fn missing(&self, required: &Required) -> Vec<String> {
        let mut missing = Vec::new();
        for kind in required.kinds.iter().filter(|kind| !self.kinds.contains_key(**kind)) {
            let tried = self.harmless.get(*kind).map(|n| format!(", {n} were done without effect"));
            missing.push(format!("no fault {kind} bit{}", tried.unwrap_or_default()));
        }
        for (a, b) in required.pairs.iter().filter(|(a, b)| !self.pairs.contains_key(&pair(a, b))) {
            missing.push(format!("{a} and {b} never overlapped"));
        }
        for mark in required.marks.iter().filter(|mark| !self.reached.contains_key(*mark)) {
            missing.push(format!("{mark} was never reached"));
        }
        if self.numbers.len() < required.numbers {
            let (bit, wanted) = (self.numbers.len(), required.numbers);
            missing.push(format!("only {bit} of the kinds of the fault matrix bit, {wanted} must"));
        }
        missing
    }
}

fn pair(a: &str, b: &str) -> String {
    if a < b { format!("{a} + {b}") } else { format!("{b} + {a}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::build::{Build, fault},
        plan::FaultKind,
    };

    #[test]
    fn what_did_not_come_up_is_missing() {
        let mut run = Build::new().run;
        fault(&mut run, FaultKind::Pause, "worker-0", 10, 30);
        fault(&mut run, FaultKind::Crash, "worker-1", 20, 40);
        fault(&mut run, FaultKind::PowerCut, "worker-1", 50, 60);
        fault(&mut run, FaultKind::Reset, "worker-1", 50, 60);
        run.faults[3].bit = false;
        run.reached.insert("snapshot-installed".into(), 3);
        let mut coverage = Coverage::default();
        coverage.add(&run);
        let all =
            Required::of(&["crash", "pause", "power-cut", "reset"], &["snapshot-installed", "log-purged"]);
        assert_eq!(
            coverage.missing(&all),
            [
                "no fault reset bit, 1 were done without effect",
                "crash and power-cut never overlapped",
                "pause and power-cut never overlapped",
                "log-purged was never reached"
            ]
        );
        assert!(coverage.missing(&Required::of(&["crash", "pause"], &["snapshot-installed"])).is_empty());
        assert_eq!(coverage.numbers, BTreeSet::from([1, 2, 4, 35]));
        let five = Required { numbers: 5, ..Required::default() };
        assert_eq!(coverage.missing(&five), ["only 4 of the kinds of the fault matrix bit, 5 must"]);
        let mut twice = coverage.clone();
        twice.merge(&coverage);
        assert_eq!((twice.runs, twice.pairs["crash + pause"]), (2, 2));
    }

    #[test]
    fn what_a_layer_cannot_do_does_not_count() {
        let mut run = Build::new().run;
        fault(&mut run, FaultKind::Crash, "worker-1", 20, 40);
        run.faults[0].skipped = Some("no such thing here".into());
        let mut coverage = Coverage::default();
        coverage.add(&run);
        assert_eq!(coverage.missing(&Required::of(&["crash"], &[])), ["no fault crash bit"]);
    }
}
