//! The ledger of campaigns: a line of JSON for each, only ever appended, so that what was tried on which commit stays known.

use std::{collections::BTreeMap, fs::OpenOptions, io::Write, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{Layer, Run, Verdict, check::Judgement};

/// Where it is, seen from the repository's root.
pub const FILE: &str = "chaos-tests/ledger.jsonl";

/// One campaign in one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// The commit that was tested.
    pub commit: String,
    /// The day, `2025-11-21`.
    #[serde(default)]
    pub day: String,
    /// The layer.
    pub layer: Layer,
    /// The first seed.
    pub first_seed: u64,
    /// How many runs.
    pub runs: u64,
    /// Simulated milliseconds of all of them; in L3 real ones.
    pub simulated_ms: u64,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
    /// Operations of clients.
    pub ops: u64,
    /// Events that watches delivered.
    #[serde(default)]
    pub watch_events: u64,
    /// Faults that were done.
    pub faults: u64,
    /// Of them, those that had an effect.
    #[serde(default)]
    pub bit: u64,
    /// Verdicts that were passes.
    pub passed: u64,
    /// Violations by invariant.
    pub violated: BTreeMap<String, u64>,
    /// Verdicts that could not be given: none is a pass.
    pub unknown: u64,
    /// The seeds that failed.
    #[serde(default)]
    pub failed_seeds: Vec<u64>,
}

impl Campaign {
    /// A campaign that begins.
    pub fn new(commit: &str, day: &str, layer: Layer, first_seed: u64) -> Campaign {
        Campaign {
            commit: commit.into(),
            day: day.into(),
            layer,
            first_seed,
            runs: 0,
            simulated_ms: 0,
            wall_ms: 0,
            ops: 0,
            watch_events: 0,
            faults: 0,
            bit: 0,
            passed: 0,
            violated: BTreeMap::new(),
            unknown: 0,
            failed_seeds: Vec::new(),
        }
    }

    /// Adds a run with its judgements. `simulated_ms` is how long it lasted in its own time.
    pub fn add(&mut self, run: &Run, simulated_ms: u64, judgements: &[Judgement]) {
        self.runs += 1;
        self.simulated_ms += simulated_ms;
        self.ops += run.ops.len() as u64;
        self.watch_events += run.watches.iter().map(|watch| watch.steps.len() as u64).sum::<u64>();
        let done: Vec<_> = run.faults.iter().filter(|fault| fault.skipped.is_none()).collect();
        self.faults += done.len() as u64;
        self.bit += done.iter().filter(|fault| fault.bit).count() as u64;
        for judgement in judgements {
            match &judgement.verdict {
                Verdict::Pass { .. } => self.passed += 1,
                Verdict::Violated { invariant, .. } => {
                    *self.violated.entry(invariant.clone()).or_default() += 1
                }
                Verdict::Unknown { .. } => self.unknown += 1,
            }
        }
        if judgements.iter().any(|judgement| !judgement.verdict.passed()) {
            self.failed_seeds.push(run.plan.seed);
        }
    }

    /// Adds what another part of the same campaign has counted.
    pub fn merge(&mut self, part: &Campaign) {
        self.runs += part.runs;
        self.simulated_ms += part.simulated_ms;
        self.ops += part.ops;
        self.watch_events += part.watch_events;
        self.faults += part.faults;
        self.bit += part.bit;
        self.passed += part.passed;
        self.unknown += part.unknown;
        for (invariant, count) in &part.violated {
            *self.violated.entry(invariant.clone()).or_default() += count;
        }
        self.failed_seeds.extend(&part.failed_seeds);
    }

    /// Appends it to a ledger.
    pub fn append(&self, path: &Path) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        // One write: lines of campaigns that end together do not mix.
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Reads a ledger.
pub fn read(path: &Path) -> anyhow::Result<Vec<Campaign>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_str(line).with_context(|| format!("{}: line {}", path.display(), n + 1))
        })
        .collect()
}

/// Sums a ledger up: a line for each layer, as a Markdown table.
pub fn table(campaigns: &[Campaign]) -> String {
    let mut layers: BTreeMap<Layer, Vec<&Campaign>> = BTreeMap::new();
    for campaign in campaigns {
        layers.entry(campaign.layer).or_default().push(campaign);
    }
    let mut text = String::from(
        "| layer | campaigns | runs | simulated hours | wall hours | speed | operations | watch events | faults | that bit | \
         passes | violations | unknown |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (layer, campaigns) in layers {
        let sum = |of: fn(&Campaign) -> u64| campaigns.iter().map(|campaign| of(campaign)).sum::<u64>();
        let hours = |ms: u64| ms as f64 / 3_600_000.0;
        let (simulated, wall) = (sum(|c| c.simulated_ms), sum(|c| c.wall_ms));
        let speed = if wall == 0 { 0.0 } else { simulated as f64 / wall as f64 };
        let mut violated: BTreeMap<&str, u64> = BTreeMap::new();
        for (invariant, count) in campaigns.iter().flat_map(|campaign| &campaign.violated) {
            *violated.entry(invariant).or_default() += count;
        }
        let violations = match violated.len() {
            0 => "0".to_string(),
            _ => {
                violated.iter().map(|(name, count)| format!("{name}: {count}")).collect::<Vec<_>>().join(", ")
            }
        };
        text.push_str(&format!(
            "| {layer:?} | {} | {} | {:.1} | {:.2} | {speed:.0}x | {} | {} | {} | {} | {} | {violations} | {} |\n",
            campaigns.len(),
            sum(|c| c.runs),
            hours(simulated),
            hours(wall),
            sum(|c| c.ops),
            sum(|c| c.watch_events),
            sum(|c| c.faults),
            sum(|c| c.bit),
            sum(|c| c.passed),
            sum(|c| c.unknown),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::{Build, fault};

    #[test]
    fn campaigns_are_appended_and_summed_up() {
        let path = std::env::temp_dir().join(format!("kontiki-ledger-{}", std::process::id()));
        assert!(read(&path).unwrap().is_empty());
        let mut build = Build::new();
        build.put("a", 1, "one");
        fault(&mut build.run, crate::plan::FaultKind::Crash, "worker-0", 1, 2);
        let judgement = |verdict| Judgement { check: "x".into(), verdict };
        let pass = judgement(Verdict::Pass { examined: 1 });
        let mut campaign = Campaign::new("abc", "2025-11-21", Layer::L1, 7);
        campaign.add(&build.run, 3_600_000, std::slice::from_ref(&pass));
        campaign.add(&build.run, 3_600_000, &[pass, judgement(Verdict::violated("C4", None, "lost"))]);
        campaign.wall_ms = 72_000;
        campaign.append(&path).unwrap();
        campaign.append(&path).unwrap();
        let ledger = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ledger, [campaign.clone(), campaign]);
        assert_eq!(ledger[0].failed_seeds, [1]);
        let table = table(&ledger);
        let row = table.lines().last().unwrap();
        assert_eq!(row, "| L1 | 2 | 4 | 4.0 | 0.04 | 100x | 4 | 0 | 4 | 4 | 4 | C4: 2 | 0 |");
    }
}
