//! Pods that run on each node over time, by the nodes' own account: a strip for each node, the darker the more.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::chart::{Chart, escape, seconds};
use crate::Run;

/// More nodes than this are not drawn one by one.
const NODES: usize = 40;
/// A strip has no more steps than this.
const STEPS: u64 = 400;
const TOTAL: f64 = 46.0;

/// How many pods run from a time on.
type Counts = Vec<(u64, usize)>;

pub(super) fn draw(chart: &mut Chart, run: &Run, end_ns: u64) {
    if run.instances.is_empty() {
        return;
    }
    let (total, nodes) = counts(run);
    chart.heading("Running pods: all, and on each node");
    line(chart, &total, end_ns);
    let most = nodes.values().flatten().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let mut names: Vec<&String> = nodes.keys().collect();
    names.sort_by_key(|name| (name.rsplit('-').next().and_then(|n| n.parse::<u32>().ok()), *name));
    for name in names.iter().take(NODES) {
        strip(chart, name, &nodes[*name], most, end_ns);
    }
    if names.len() > NODES {
        chart.push(&format!(
            "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">and {} more</text>",
            super::chart::LEFT - 7.0,
            chart.y + 9.0,
            names.len() - NODES
        ));
        chart.y += 14.0;
    }
}

fn counts(run: &Run) -> (Counts, BTreeMap<String, Counts>) {
    let mut events: Vec<_> = run.instances.iter().collect();
    events.sort_by_key(|event| event.at_ns);
    let mut live: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    let (mut total, mut nodes): (Counts, BTreeMap<String, Counts>) = (Vec::new(), BTreeMap::new());
    for event in events {
        let here = live.entry(&event.node).or_default();
        let this = (event.pod_uid.as_str(), event.container.as_str());
        if event.running {
            here.insert(this)
        } else {
            here.remove(&this)
        };
        let pods =
            |set: &BTreeSet<(&str, &str)>| set.iter().map(|(uid, _)| uid).collect::<BTreeSet<_>>().len();
        let count = pods(here);
        nodes.entry(event.node.clone()).or_default().push((event.at_ns, count));
        total.push((event.at_ns, live.values().map(pods).sum()));
    }
    (total, nodes)
}

fn line(chart: &mut Chart, total: &Counts, end_ns: u64) {
    let most = total.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    chart.lane(&format!("up to {most}"), TOTAL);
    let y = |count: usize| chart.y + TOTAL - 2.0 - count as f64 / most as f64 * (TOTAL - 6.0);
    let mut path = format!("M{:.1} {:.1}", chart.x(0), y(0));
    for (at, count) in thin(total, end_ns) {
        let _ = write!(path, "H{:.1}V{:.1}", chart.x(at), y(count));
    }
    let _ = write!(path, "H{:.1}", chart.x(end_ns));
    chart.push(&format!("<path class=\"total\" d=\"{path}\"/>"));
    chart.y += TOTAL + 4.0;
}

fn strip(chart: &mut Chart, name: &str, counts: &Counts, most: usize, end_ns: u64) {
    chart.lane(name, 11.0);
    let steps = thin(counts, end_ns);
    let ends = steps.iter().skip(1).map(|(at, _)| *at).chain([end_ns]);
    let mut svg = String::new();
    for ((from, count), to) in steps.iter().zip(ends) {
        if *count == 0 {
            continue;
        }
        let (x, width) = (chart.x(*from), (chart.x(to) - chart.x(*from)).max(0.4));
        let strength = 0.15 + 0.85 * *count as f64 / most as f64;
        let _ = write!(
            svg,
            "<rect class=\"heat\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"11\" \
             fill-opacity=\"{strength:.2}\"><title>{count} pods on {} from {}</title></rect>",
            chart.y,
            escape(name),
            seconds(*from)
        );
    }
    chart.push(&svg);
    chart.y += 13.0;
}

/// At most one step for each pixel or two: the last of those that fall together.
fn thin(counts: &Counts, end_ns: u64) -> Counts {
    let width = (end_ns / STEPS).max(1);
    let mut steps: Counts = Vec::new();
    for (at, count) in counts {
        match steps.last_mut() {
            Some(last) if last.0 / width == at / width => last.1 = *count,
            _ => steps.push((*at, *count)),
        }
    }
    steps
}
