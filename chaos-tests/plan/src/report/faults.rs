//! The faults: a lane for each thing that was hit, bars by the sort of fault.

use std::collections::BTreeMap;

use super::chart::{Chart, length, seconds};
use crate::{
    Run,
    history::FaultRecord,
    plan::{Fault, FaultKind, What},
};

/// More lanes than this share one.
const LANES: usize = 36;
const ROW: f64 = 14.0;

/// The fault of a record, as planned.
pub(super) fn planned<'a>(run: &'a Run, record: &FaultRecord) -> Option<&'a Fault> {
    match &run.plan.events.get(record.event)?.what {
        What::Fault(fault) => Some(fault),
        What::Op { .. } => None,
    }
}

/// The name of a record's kind.
pub(super) fn name(run: &Run, record: &FaultRecord) -> String {
    planned(run, record)
        .map_or_else(|| format!("fault {}", record.number), |fault| fault.kind.name().to_string())
}

/// The numbers of a kind, in words.
pub(super) fn numbers(kind: &FaultKind) -> String {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(kind) else { return String::new() };
    let shown = map.iter().filter(|(field, _)| *field != "fault").map(|(field, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), String::from);
        format!("{} {value}", field.replace('_', " "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The sort of a fault, by its number in the matrix: what colour it has.
pub(super) fn sort(number: u32) -> &'static str {
    match number {
        1..=4 => "f-process",
        5..=11 | 36 => "f-network",
        13..=17 => "f-disk",
        12 => "f-clock",
        18..=20 => "f-resource",
        31 | 22 => "f-worker",
        _ => "f-other",
    }
}

/// The sorts with their names, for the legend.
pub(super) const SORTS: [(&str, &str); 7] = [
    ("f-process", "process"),
    ("f-network", "network"),
    ("f-disk", "disk"),
    ("f-clock", "clock"),
    ("f-resource", "resources"),
    ("f-worker", "worker"),
    ("f-other", "requests, members"),
];

pub(super) fn draw(chart: &mut Chart, run: &Run) {
    let mut lanes: BTreeMap<(u32, u32, String), Vec<&FaultRecord>> = BTreeMap::new();
    for record in run.faults.iter().filter(|record| record.skipped.is_none()) {
        let hit: &[String] = if record.hit.is_empty() { &["(nothing)".to_string()] } else { &record.hit };
        for name in hit {
            let number = name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let rank = if name.starts_with("controller") { 0 } else { 1 };
            lanes.entry((rank, number, name.clone())).or_default().push(record);
        }
    }
    if lanes.is_empty() {
        return;
    }
    chart.heading("Faults, by what was hit");
    let rest: Vec<&FaultRecord> = lanes.iter().skip(LANES).flat_map(|(_, records)| records.clone()).collect();
    let shown = lanes.into_iter().take(LANES).map(|((_, _, name), records)| (name, records));
    let others = (!rest.is_empty()).then(|| ("others".to_string(), rest));
    for (name, records) in shown.chain(others) {
        lane(chart, run, &name, &records);
    }
}

fn lane(chart: &mut Chart, run: &Run, lane_name: &str, records: &[&FaultRecord]) {
    // Those that overlap stand in rows below each other.
    let mut rows: Vec<u64> = Vec::new();
    let mut placed = Vec::new();
    for record in records {
        let free = rows.iter().position(|end| *end <= record.from_ns);
        let row = free.unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(record.until_ns)
        } else {
            rows[row] = record.until_ns
        }
        placed.push((row, record));
    }
    let height = rows.len() as f64 * ROW;
    chart.lane(lane_name, height);
    for (row, record) in placed {
        let kind = name(run, record);
        let details = planned(run, record).map(|fault| numbers(&fault.kind)).unwrap_or_default();
        let bit = if record.bit { "" } else { ", without effect" };
        let title = format!(
            "{kind} on {lane_name} at {}, lasting {}{bit}{}{details}",
            seconds(record.from_ns),
            length(record.until_ns.saturating_sub(record.from_ns)),
            if details.is_empty() { "" } else { "; " }
        );
        let class = format!("{}{}", sort(record.number), if record.bit { "" } else { " harmless" });
        chart.bar(record.from_ns, record.until_ns, row as f64 * ROW + 1.0, ROW - 2.0, &class, &kind, &title);
    }
    chart.y += height + 3.0;
}
