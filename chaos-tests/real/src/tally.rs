//! How often each kind of fault was planned, and what came of it: a kind that never had an effect is told with the reason.

use std::{collections::BTreeMap, fmt};

use kontiki_chaos_plan::{
    Run,
    plan::{Fault, What},
};

/// What came of the faults of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcomes {
    bit: u32,
    harmless: u32,
    skipped: u32,
    /// Why the last one that was skipped was.
    reason: String,
}

/// What came of all faults, by the names of their kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, Outcomes>);

impl Tally {
    /// Adds a run.
    pub(crate) fn add(&mut self, run: &Run) {
        for record in &run.faults {
            let planned = run.plan.events.get(record.event).map(|event| &event.what);
            let Some(What::Fault(Fault { kind, .. })) = planned else { continue };
            let outcomes = self.0.entry(kind.name()).or_default();
            match &record.skipped {
                Some(reason) => {
                    outcomes.skipped += 1;
                    outcomes.reason.clone_from(reason);
                }
                None if record.bit => outcomes.bit += 1,
                None => outcomes.harmless += 1,
            }
        }
    }
}

impl fmt::Display for Tally {
    /// A line for each kind, those that bit least often first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, outcomes)| outcomes.bit);
        for (kind, Outcomes { bit, harmless, skipped, reason }) in all {
            write!(f, "   {kind:20} bit {bit:4}, without effect {harmless:3}, skipped {skipped:3}")?;
            // Of those that never bit nobody has to guess why.
            let why = if *bit == 0 && *skipped > 0 { format!(": {reason}") } else { String::new() };
            writeln!(f, "{why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kontiki_chaos_plan::{
        Layer, Plan,
        history::FaultRecord,
        plan::{Event, FaultKind, Shape, Target},
    };

    use super::*;

    fn run(outcomes: &[(FaultKind, bool, Option<&str>)]) -> Run {
        let what =
            |kind: &FaultKind| What::Fault(Fault { on: Target::Leader, for_ms: 0, kind: kind.clone() });
        let events = outcomes.iter().map(|(kind, ..)| Event { at_ms: 0, what: what(kind) }).collect();
        let faults = outcomes.iter().enumerate().map(|(event, (kind, bit, skipped))| FaultRecord {
            event,
            number: kind.number(),
            hit: Vec::new(),
            from_ns: 0,
            until_ns: 0,
            bit: *bit,
            skipped: skipped.map(Into::into),
        });
        let mut run = Run::new(Plan { seed: 1, shape: Shape::default(), events }, Layer::L3);
        run.faults = faults.collect();
        run
    }

    #[test]
    fn what_never_bit_comes_first_and_says_why() {
        let mut tally = Tally::default();
        tally.add(&run(&[
            (FaultKind::Crash, true, None),
            (FaultKind::DiskFull, false, Some("another fault has the disk")),
            (FaultKind::Pause, false, None),
            (FaultKind::Crash, false, Some("nobody is meant")),
        ]));
        let words = tally.to_string();
        let lines: Vec<&str> = words.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "disk-full            bit    0, without effect   0, skipped   1: another fault has the disk",
                "pause                bit    0, without effect   1, skipped   0",
                "crash                bit    1, without effect   0, skipped   1",
            ]
        );
    }
}
