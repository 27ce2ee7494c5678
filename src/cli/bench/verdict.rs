//! What the figures mean, in words. A write by one client waits for the way to the leader, the way from there to another controller, and
//! a disk; a linearizable read for the two ways; `/livez` for the first. What one takes more than the next is the part between them.

use serde::Serialize;

use super::figures::{Figure, Report};

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What it is about.
    pub(super) about: &'static str,
    /// How it is.
    pub(super) level: Level,
    /// Why, and what to do.
    pub(super) words: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Level {
    /// As it should be.
    Good,
    /// It works, and will be noticed.
    Fair,
    /// Not fit for production.
    Poor,
}

impl Level {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Level::Good => "good",
            Level::Fair => "fair",
            Level::Poor => "poor",
        }
    }

    /// Of a time, by the largest that is good and the largest that is fair.
    fn of(ms: f64, good: f64, fair: f64) -> Level {
        if ms <= good {
            Level::Good
        } else if ms <= fair {
            Level::Fair
        } else {
            Level::Poor
        }
    }
}

/// A disk keeps a write within these milliseconds, median: etcd asks for 10 at the 99th percentile.
const DISK: (f64, f64) = (5.0, 25.0);
/// Another controller is as far as this, there and back: zones of a region are 1 to 2 ms apart.
const NETWORK: (f64, f64) = (5.0, 40.0);
/// Of a hundred writes one takes so long.
const SLOWEST: (f64, f64) = (50.0, 500.0);
/// An event reaches whoever watches by then, 99 of a hundred.
const EVENT: (f64, f64) = (100.0, 1000.0);
/// 99 of a hundred pods have a node by then.
const NODE: (f64, f64) = (250.0, 2000.0);

/// What the figures mean.
pub(super) fn findings(report: &Report) -> Vec<Finding> {
    let mut all = Vec::new();
    if !report.silent.is_empty() {
        let words =
            format!("no answer from {}: bring them back before others fail", report.silent.join(", "));
        all.push(Finding { about: "controllers", level: Level::Poor, words });
    }
    let (trip, read, write) = (&report.trip, &report.read, &report.write);
    if let (Some(trip), Some(read)) = (trip, read) {
        all.push(network((read.p50_ms - trip.p50_ms).max(0.0)));
    }
    if let (Some(read), Some(write)) = (read, write) {
        all.push(disk((write.p50_ms - read.p50_ms).max(0.0), report.writes_per_sync));
    }
    all.extend(write.as_ref().map(steadiness));
    let within = |figure: &Option<Figure>, about, bounds: (f64, f64), so| {
        let figure = figure.as_ref().filter(|figure| figure.count > 0)?;
        let level = Level::of(figure.p99_ms, bounds.0, bounds.1);
        let words = format!("{so} within {:.0} ms, 99 of a hundred", figure.p99_ms);
        Some(Finding { about, level, words })
    };
    all.extend(within(&report.event, "watches", EVENT, "a write is seen by all who watch"));
    all.extend(within(&report.placement, "placement", NODE, "a pod has its node"));
    all.extend(errors(report));
    all
}

fn network(ms: f64) -> Finding {
    let level = Level::of(ms, NETWORK.0, NETWORK.1);
    let advice = match level {
        Level::Good => "controllers are near to each other",
        Level::Fair => {
            "controllers are far from each other: each write waits so long; zones of one region are nearer"
        }
        Level::Poor => "too far for one cluster: put the controllers into zones of one region",
    };
    Finding {
        about: "network",
        level,
        words: format!("about {ms:.2} ms from the leader to another controller and back: {advice}"),
    }
}

fn disk(ms: f64, writes_per_sync: Option<f64>) -> Finding {
    let level = Level::of(ms, DISK.0, DISK.1);
    let advice = match level {
        Level::Good => "writes are limited by something else",
        Level::Fair => "each write waits so long for it; an SSD with power-loss protection takes under 1 ms",
        Level::Poor => "too slow: give the controllers' data directories an SSD that nothing else writes to",
    };
    let shared = writes_per_sync
        .map_or_else(String::new, |n| format!("; under load {n:.1} writes share an fdatasync"));
    Finding { about: "disk", level, words: format!("about {ms:.2} ms to keep a write: {advice}{shared}") }
}

fn steadiness(write: &Figure) -> Finding {
    let level = Level::of(write.p99_ms, SLOWEST.0, SLOWEST.1);
    let advice = match level {
        Level::Good => "steady",
        Level::Fair | Level::Poor => {
            "something else uses the disk or the processors of a controller at times: look there"
        }
    };
    let words = format!(
        "one write of a hundred takes over {:.0} ms, the median is {:.1} ms: {advice}",
        write.p99_ms, write.p50_ms
    );
    Finding { about: "steadiness", level, words }
}

fn errors(report: &Report) -> Option<Finding> {
    let failed: u64 = report.rows().map(|figure| figure.errors).sum();
    let why = report.rows().find_map(|figure| figure.last_error.clone()).unwrap_or_default();
    (failed > 0).then(|| Finding {
        about: "errors",
        level: Level::Poor,
        words: format!("{failed} failed, such as: {why}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use kontiki_load::Samples;

    use super::*;

    fn figure(what: &str, ms: u64) -> Figure {
        let mut samples = Samples::default();
        samples.extend((0..100).map(|_| Duration::from_millis(ms)));
        Figure::of(what, 1, Duration::from_secs(1), 100, &mut samples)
    }

    fn level(report: &Report, about: &str) -> Option<Level> {
        findings(report).iter().find(|finding| finding.about == about).map(|finding| finding.level)
    }

    fn report(trip: u64, read: u64, write: u64) -> Report {
        Report {
            trip: Some(figure("round trip", trip)),
            read: Some(figure("read", read)),
            write: Some(figure("write", write)),
            ..Report::default()
        }
    }

    #[test]
    fn each_part_is_what_the_longer_way_takes_more() {
        let near = report(100, 101, 103);
        assert_eq!((level(&near, "network"), level(&near, "disk")), (Some(Level::Good), Some(Level::Good)));
        let slow_disk = report(1, 2, 60);
        assert_eq!(
            (level(&slow_disk, "network"), level(&slow_disk, "disk")),
            (Some(Level::Good), Some(Level::Poor))
        );
        let far = report(1, 31, 33);
        assert_eq!((level(&far, "network"), level(&far, "disk")), (Some(Level::Fair), Some(Level::Good)));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(findings(&Report::default()), []);
        let only_writes = Report { write: Some(figure("write", 3)), ..Report::default() };
        assert_eq!(level(&only_writes, "disk"), None);
        assert_eq!(level(&only_writes, "steadiness"), Some(Level::Good));
    }

    #[test]
    fn what_failed_is_never_fit() {
        let mut report = report(1, 2, 3);
        report.more.push(Figure { errors: 2, last_error: Some("refused".into()), ..figure("writes", 5) });
        report.judge();
        assert_eq!(report.unfit().unwrap(), "not fit for production: errors");
        assert!(report.table().contains("2 failed, such as: refused"), "{}", report.table());
    }

    #[test]
    fn late_events_and_late_nodes_are_told() {
        let late = Report {
            event: Some(figure("event", 400)),
            placement: Some(figure("placement", 5000)),
            ..Report::default()
        };
        assert_eq!(
            (level(&late, "watches"), level(&late, "placement")),
            (Some(Level::Fair), Some(Level::Poor))
        );
    }
}
