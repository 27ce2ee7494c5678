//! What was measured, as a table for people and as JSON.

use serde::Serialize;
use serde_json::{Value, json};

use super::figures::Figures;

/// One line: one thing, measured of one system.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) what: &'static str,
    /// Of whom.
    pub(super) who: String,
    /// The times.
    pub(super) figures: Figures,
}

/// All lines of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// In the order in which they are told.
    pub(super) rows: Vec<Row>,
    /// Writes that were acknowledged, and are all there.
    pub(super) acknowledged: usize,
}

/// The system whose times others are compared with.
pub(super) const OURS: &str = "kontiki";

impl Report {
    /// The figures of one thing of one system, made if they are not there yet.
    pub(super) fn row(&mut self, what: &'static str, who: &str) -> &mut Figures {
        let at = self.rows.iter().position(|row| row.what == what && row.who == who);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row { what, who: who.into(), figures: Figures::default() });
            self.rows.len() - 1
        });
        &mut self.rows[at].figures
    }

    /// How many times longer than ours the median and the 99th percentile of the same thing are.
    fn ratio(&self, row: &Row) -> Option<(f64, f64)> {
        let ours = self.rows.iter().find(|own| own.what == row.what && own.who == OURS)?;
        let times = |share: f64| row.figures.at(share) / ours.figures.at(share);
        (row.who != OURS).then(|| (times(0.5), times(0.99)))
    }

    /// For people: seconds.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:44} {:26} {:>4} {:>8} {:>8} {:>8} {:>8}  times ours (p50, p99)\n",
            "what", "who", "n", "min s", "p50 s", "p99 s", "max s"
        );
        for row in &self.rows {
            let at = |share: f64| row.figures.at(share) / 1000.0;
            let ratio = self.ratio(row).map_or(String::new(), |(p50, p99)| format!("  {p50:.1}x, {p99:.1}x"));
            text.push_str(&format!(
                "{:44} {:26} {:>4} {:>8.3} {:>8.3} {:>8.3} {:>8.3}{ratio}\n",
                row.what,
                row.who,
                row.figures.count(),
                at(0.0),
                at(0.5),
                at(0.99),
                at(1.0)
            ));
        }
        text.push_str(&format!("acknowledged writes that were looked for: {}, lost: 0\n", self.acknowledged));
        text
    }

    /// For programs: milliseconds, with every time that was measured.
    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let at = |share: f64| row.figures.at(share);
            json!({
                "what": row.what, "who": row.who, "n": row.figures.count(),
                "min_ms": at(0.0), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0),
                "times_ours": self.ratio(row).map(|(p50, p99)| json!({"p50": p50, "p99": p99})),
                "samples": row.figures,
            })
        });
        json!({"rows": rows.collect::<Vec<_>>(), "acknowledged": self.acknowledged, "lost": 0})
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn others_are_compared_with_ours() {
        let mut report = Report::default();
        report.row("a", OURS).add(Duration::from_millis(100));
        report.row("a", "etcd").add(Duration::from_millis(250));
        assert_eq!(report.rows.len(), 2);
        assert!(report.table().contains("2.5x, 2.5x"), "{}", report.table());
        assert_eq!(report.json()["rows"][0]["times_ours"], Value::Null);
    }
}
