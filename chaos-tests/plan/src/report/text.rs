//! A run in a few lines for the terminal.

use std::fmt::Write;

use super::{around, chart::seconds, invariant::sentence};
use crate::{
    Run, Verdict,
    check::{Judgement, first_failure},
    history::Answer,
};

/// Lines of what happened around a violation.
const AROUND: usize = 8;

/// The summary. `replay` is the command that plays the plan again.
pub fn text(run: &Run, judgements: &[Judgement], replay: &str) -> String {
    let mut text = format!("{:?} seed {}: ", run.layer, run.plan.seed);
    let at_ns = match first_failure(judgements) {
        None => {
            let _ = writeln!(text, "passed, {} checks", judgements.len());
            None
        }
        Some(Judgement { check, verdict }) => headline(&mut text, check, verdict),
    };
    let _ = writeln!(text, "  {}", facts(run));
    if let Some(at_ns) = at_ns {
        let lines = around::lines(run, at_ns);
        let before = lines.iter().filter(|line| line.at_ns <= at_ns).count();
        for line in lines.iter().skip(before.saturating_sub(AROUND)).take(AROUND + 3) {
            let _ = writeln!(text, "    {:>12}  {}", seconds(line.at_ns), line.words);
        }
    }
    if first_failure(judgements).is_some() {
        let _ = writeln!(text, "  again: {replay}");
    }
    text
}

fn headline(text: &mut String, check: &str, verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Violated { invariant, at_ns, words } => {
            let at = at_ns.map(|at| format!(" at {}", seconds(at))).unwrap_or_default();
            let _ = writeln!(text, "VIOLATED {invariant}{at} (check {check})");
            let _ = writeln!(text, "  {}", sentence(invariant));
            let _ = writeln!(text, "  {words}");
            *at_ns
        }
        Verdict::Unknown { words } => {
            let _ = writeln!(text, "UNKNOWN (check {check}), which is no pass: {words}");
            None
        }
        Verdict::Pass { .. } => None,
    }
}

/// The numbers of a run in a line.
pub(super) fn facts(run: &Run) -> String {
    let shape = &run.plan.shape;
    let unknown = run.ops.iter().filter(|op| op.answer == Answer::Unknown).count();
    let done = run.faults.iter().filter(|fault| fault.skipped.is_none()).count();
    let bit = run.faults.iter().filter(|fault| fault.bit).count();
    let mut terms: Vec<u64> = run.reigns.iter().map(|reign| reign.term).collect();
    terms.sort_unstable();
    terms.dedup();
    format!(
        "{:.1} s, {} controllers, {} workers; {} operations ({unknown} without an answer), {done} faults ({bit} bit), \
         {} terms, {} entries, {} watches",
        run.plan.ends_ms() as f64 / 1000.0,
        shape.controllers,
        shape.workers,
        run.ops.len(),
        terms.len(),
        run.log.len(),
        run.watches.len()
    )
}
