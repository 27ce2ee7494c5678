//! What was measured, for people and for programs.

use std::time::Duration;

use kontiki_load::{Samples, Seen};
use serde::Serialize;

use super::ground::Ground;
use super::verdict::{Finding, Level, findings};
use crate::cli::table;

/// A row of figures. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figure {
    /// What happened, in words.
    pub(super) what: String,
    /// So many at the same time.
    pub(super) clients: usize,
    /// How often.
    pub(super) count: u64,
    /// How often in a second.
    pub(super) per_second: f64,
    /// Half took no longer.
    pub(super) p50_ms: f64,
    /// Nine of ten took no longer.
    pub(super) p90_ms: f64,
    /// 99 of a hundred took no longer.
    pub(super) p99_ms: f64,
    /// The longest.
    pub(super) max_ms: f64,
    /// How often it failed.
    pub(super) errors: u64,
    /// Why, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_error: Option<String>,
}

impl Figure {
    /// Of a closed load.
    pub(super) fn of_load(what: impl Into<String>, clients: usize, span: Duration, mut seen: Seen) -> Figure {
        let last_error = seen.last_error.map(|error| format!("{error:#}"));
        Figure {
            errors: seen.errors,
            last_error,
            ..Figure::of(what, clients, span, seen.answered, &mut seen.samples)
        }
    }

    /// Of times.
    pub(super) fn of(
        what: impl Into<String>,
        clients: usize,
        span: Duration,
        count: u64,
        samples: &mut Samples,
    ) -> Figure {
        Figure {
            what: what.into(),
            clients,
            count,
            per_second: count as f64 / span.as_secs_f64(),
            p50_ms: samples.at(0.5),
            p90_ms: samples.at(0.9),
            p99_ms: samples.at(0.99),
            max_ms: samples.at(1.0),
            errors: 0,
            last_error: None,
        }
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The controllers that answered, the leader first.
    pub(super) controllers: Vec<String>,
    /// Those that did not.
    pub(super) silent: Vec<String>,
    /// A round trip from here to the leader.
    pub(super) trip: Option<Figure>,
    /// One client that writes.
    pub(super) write: Option<Figure>,
    /// One client that reads.
    pub(super) read: Option<Figure>,
    /// Writes that shared an fdatasync under load, on average, at the leader.
    pub(super) writes_per_sync: Option<f64>,
    /// From a write to those who watch.
    pub(super) event: Option<Figure>,
    /// From a pod's creation to its node.
    pub(super) placement: Option<Figure>,
    /// Everything else.
    pub(super) more: Vec<Figure>,
    /// What it means.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// Before anything is measured.
    pub(super) fn begin(ground: &Ground) -> Report {
        let (controllers, silent) = (ground.controllers.clone(), ground.silent.clone());
        Report { controllers, silent, ..Report::default() }
    }

    /// All rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Figure> {
        let first = [&self.trip, &self.write, &self.read].into_iter().flatten();
        first.chain(&self.more).chain([&self.event, &self.placement].into_iter().flatten())
    }

    /// Says in words what the figures mean.
    pub(super) fn judge(&mut self) {
        self.findings = findings(self);
    }

    /// Why the cluster is not fit for production; none: it is.
    pub(super) fn unfit(&self) -> Option<String> {
        let poor: Vec<&str> =
            self.findings.iter().filter(|f| f.level == Level::Poor).map(|f| f.about).collect();
        (!poor.is_empty()).then(|| format!("not fit for production: {}", poor.join(", ")))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows =
            table::table(&["WHAT", "CLIENTS", "COUNT", "PER SECOND", "P50", "P90", "P99", "MAX", "ERRORS"]);
        for figure in self.rows() {
            let times = [figure.p50_ms, figure.p90_ms, figure.p99_ms, figure.max_ms].map(milliseconds);
            let [p50, p90, p99, max] = times;
            rows.add_row([
                figure.what.clone(),
                figure.clients.to_string(),
                figure.count.to_string(),
                format!("{:.1}", figure.per_second),
                p50,
                p90,
                p99,
                max,
                figure.errors.to_string(),
            ]);
        }
        let mut out = table::text(&mut rows);
        if !self.findings.is_empty() {
            let mut words = table::table(&["ABOUT", "VERDICT", "WHY"]);
            for finding in &self.findings {
                words.add_row([finding.about, finding.level.word(), &finding.words]);
            }
            out += "\n";
            out += &table::text(&mut words);
        }
        out
    }
}

/// A time with as many digits as mean something.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms.is_nan() => "-".into(),
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_as_many_digits_as_mean_something() {
        assert_eq!(
            [0.123, 9.99, 42.4, 999.0, 12_345.0, f64::NAN].map(milliseconds),
            ["0.12ms", "9.99ms", "42ms", "999ms", "12.3s", "-"]
        );
    }
}
