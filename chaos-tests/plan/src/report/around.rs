//! What happened around a moment, in order.

use super::{
    chart::length,
    faults::{name, numbers, planned},
};
use crate::Run;

/// So many lines before the moment, and half as many after it.
const LINES: usize = 24;

/// One line.
pub(super) struct Line {
    pub(super) at_ns: u64,
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// The lines around a moment: faults that last then and what is near it in time.
pub(super) fn lines(run: &Run, at_ns: u64) -> Vec<Line> {
    let mut all = Vec::new();
    for record in run.faults.iter().filter(|record| record.skipped.is_none()) {
        let details = planned(run, record).map(|fault| numbers(&fault.kind)).unwrap_or_default();
        let details = if details.is_empty() { details } else { format!(" ({details})") };
        let what = format!("{} on {}{details}", name(run, record), record.hit.join(", "));
        if record.until_ns > record.from_ns {
            let lasts = length(record.until_ns - record.from_ns);
            all.push(Line {
                at_ns: record.from_ns,
                class: "fault",
                words: format!("{what} begins, for {lasts}"),
            });
            all.push(Line { at_ns: record.until_ns, class: "fault", words: format!("{what} has ended") });
        } else {
            all.push(Line { at_ns: record.from_ns, class: "fault", words: what });
        }
    }
    for reign in &run.reigns {
        let words = format!("controller {} leads in term {}", reign.controller, reign.term);
        all.push(Line { at_ns: reign.from_ns, class: "reign", words });
        if let Some(until) = reign.until_ns {
            let words = format!("controller {} leads no more (term {})", reign.controller, reign.term);
            all.push(Line { at_ns: until, class: "reign", words });
        }
    }
    for op in &run.ops {
        all.push(Line { at_ns: op.returned_ns.unwrap_or(op.invoked_ns), class: "op", words: op.to_string() });
    }
    for event in &run.instances {
        let what = if event.running { "starts" } else { "stops" };
        let words = format!("{} {what} {} (attempt {})", event.node, event.pod, event.attempt);
        all.push(Line { at_ns: event.at_ns, class: "instance", words });
    }
    all.sort_by_key(|line| line.at_ns);
    let after = all.partition_point(|line| line.at_ns <= at_ns);
    let from = after.saturating_sub(LINES);
    let to = (after + LINES / 2).min(all.len());
    // Faults that began long before and still last belong to it.
    let lasting = |record: &&crate::history::FaultRecord| {
        record.skipped.is_none()
            && record.from_ns < all.get(from).map_or(0, |line| line.at_ns)
            && record.until_ns >= at_ns
    };
    let mut lines: Vec<Line> = run
        .faults
        .iter()
        .filter(lasting)
        .map(|record| Line {
            at_ns: record.from_ns,
            class: "fault",
            words: format!("{} on {} lasts since then", name(run, record), record.hit.join(", ")),
        })
        .collect();
    lines.extend(all.drain(from..to));
    lines
}
