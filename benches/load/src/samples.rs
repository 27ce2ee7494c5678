//! Measured times.

use std::time::Duration;

/// Times of single requests, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    /// Adds times.
    pub fn extend(&mut self, times: impl IntoIterator<Item = Duration>) {
        times.into_iter().for_each(|time| self.add(time));
    }

    /// Adds all of another.
    pub fn append(&mut self, mut other: Samples) {
        self.0.append(&mut other.0);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds, the smallest time that this share of all does not exceed (nearest rank). Sorts them.
    pub fn at(&mut self, share: f64) -> f64 {
        if !self.0.is_sorted() {
            self.0.sort_by(f64::total_cmp);
        }
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, |us| us / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples = Samples::default();
        assert!(samples.at(0.5).is_nan());
        (1..=200).rev().for_each(|n| samples.add(Duration::from_millis(n)));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| samples.at(share)), [1.0, 100.0, 198.0, 200.0]);
        let mut more = Samples::default();
        more.add(Duration::from_secs(1));
        samples.append(more);
        assert_eq!((samples.count(), samples.at(1.0)), (201, 1000.0));
    }
}
