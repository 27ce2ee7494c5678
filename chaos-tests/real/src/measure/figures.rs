//! Measured times of one thing, and what is said of them.

use std::time::Duration;

use serde::Serialize;

/// Measured times, in the order in which they were measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    milliseconds: Vec<f64>,
}

impl Figures {
    /// Adds a time.
    pub(super) fn add(&mut self, time: Duration) {
        self.milliseconds.push(time.as_secs_f64() * 1000.0);
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.milliseconds.len()
    }

    /// In milliseconds, the smallest time that this share of all does not exceed (nearest rank): with 50 of them the 99th percentile
    /// is the maximum.
    pub(super) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut figures = Figures::default();
        assert!(figures.at(0.5).is_nan());
        (1..=200).rev().for_each(|n| figures.add(Duration::from_millis(n)));
        let seen = [0.0, 0.5, 0.99, 1.0].map(|share| figures.at(share));
        assert_eq!(seen, [1.0, 100.0, 198.0, 200.0]);
        assert_eq!(figures.count(), 200);
    }
}
