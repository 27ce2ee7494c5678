//! A row of measured times, printed beside its target.

use std::time::Duration;

/// Measured times of one thing.
#[derive(Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    /// Adds a time.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Prints n, median, p99 and maximum beside the target.
    pub(crate) fn print(&mut self, name: &str, target: &str) {
        self.0.sort();
        let at = |share: f64| {
            let last = self.0.len().saturating_sub(1);
            let rank = (share * self.0.len() as f64).ceil() as usize;
            self.0.get(rank.saturating_sub(1).min(last)).map_or(f64::NAN, Duration::as_secs_f64)
        };
        println!(
            "{name:58} n={:<3} p50 {:.3} s  p99 {:.3} s  max {:.3} s   (target {target})",
            self.0.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
