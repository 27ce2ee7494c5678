//! Who led, in which term.

use super::chart::{Chart, seconds};
use crate::{Run, names};

pub(super) fn draw(chart: &mut Chart, run: &Run, end_ns: u64) {
    if run.reigns.is_empty() {
        return;
    }
    chart.heading("Leadership, by controller and term");
    let most = run.reigns.iter().map(|reign| reign.controller).max().unwrap_or(0);
    for controller in 0..=most.max(run.plan.shape.controllers.saturating_sub(1)) {
        let name = names::controller(controller);
        chart.lane(&name, 15.0);
        for reign in run.reigns.iter().filter(|reign| reign.controller == controller) {
            let until = reign.until_ns.unwrap_or(end_ns);
            let title = format!(
                "{name} led in term {} from {} until {}",
                reign.term,
                seconds(reign.from_ns),
                reign.until_ns.map_or("the end".into(), seconds)
            );
            chart.bar(reign.from_ns, until, 1.0, 13.0, "reign", &format!("term {}", reign.term), &title);
        }
        chart.y += 18.0;
    }
}
