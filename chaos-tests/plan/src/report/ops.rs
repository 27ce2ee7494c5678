//! What clients did: a dot for each operation, at its beginning and its duration, coloured by its outcome.

use std::fmt::Write;

use super::chart::{Chart, LEFT, WIDTH, escape, length, seconds};
use crate::{
    Run,
    history::{Answer, OpRecord},
};

/// Of those that went well no more than this are drawn.
const SHOWN: usize = 2500;
const HEIGHT: f64 = 110.0;

fn class(op: &OpRecord) -> &'static str {
    match op.answer {
        Answer::Refused { code: 500.. } => "o-bad",
        Answer::Refused { .. } => "o-refused",
        Answer::Unknown => "o-bad",
        _ => "o-good",
    }
}

pub(super) fn draw(chart: &mut Chart, run: &Run, end_ns: u64) {
    if run.ops.is_empty() {
        return;
    }
    let good = run.ops.iter().filter(|op| class(op) == "o-good").count();
    let every = good.div_ceil(SHOWN).max(1);
    let sampled =
        if every > 1 { format!(" (of those that went well one in {every})") } else { String::new() };
    chart.heading(&format!("Operations, by how long they took{sampled}"));
    chart.lane("", HEIGHT);
    // A logarithmic scale from 0.1 ms to 100 s.
    let height_of = |ns: u64| {
        let decades = ((ns.max(1) as f64) / 1e5).log10().clamp(0.0, 6.0);
        HEIGHT - 4.0 - decades / 6.0 * (HEIGHT - 10.0)
    };
    let mut svg = String::new();
    for (label, ns) in [("1 ms", 1_000_000), ("100 ms", 100_000_000), ("10 s", 10_000_000_000)] {
        let y = chart.y + height_of(ns);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            WIDTH - 10.0,
            LEFT - 7.0,
            y + 3.5
        );
    }
    let mut nth = 0;
    for op in &run.ops {
        let class = class(op);
        if class == "o-good" {
            nth += 1;
            if nth % every != 0 {
                continue;
            }
        }
        let took = op.returned_ns.unwrap_or(end_ns).saturating_sub(op.invoked_ns);
        let (x, y) = (chart.x(op.invoked_ns), chart.y + height_of(took));
        let title = format!("{op}; asked at {}, answered after {}", seconds(op.invoked_ns), length(took));
        let radius = if class == "o-good" { 1.6 } else { 2.6 };
        let _ = write!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>",
            escape(&title)
        );
    }
    chart.push(&svg);
    chart.y += HEIGHT + 3.0;
}
