//! How late the typical worker is heard. Where everybody is late, for a machine that has too much to do or a network that loses half, silence is
//! no sign of death: who took it for one would have the pods of thousands replaced, by the same machine and over the same network. A node is
//! given up when it is silent for much longer than its like, not by the clock alone (as Lifeguard does it for its own lateness: Dadgar et al.,
//! 2018, `arXiv:1707.00788`).

use std::time::{Duration, Instant};

/// So many times the grace that was asked for a silent node gets at most: with 3 s about as long as Kubernetes' gives it.
const MOST: f64 = 12.0;
/// When all are heard in time again, half of what is above the grace goes in this time: overload comes in waves.
const HALF: Duration = Duration::from_secs(5);

/// So many times as long as usual a node may be silent.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Of signs of life that come so late, one may be lost within the grace.
    usual: Duration,
    factor: f64,
    looked: Instant,
}

impl Stretch {
    /// With this grace.
    pub(super) fn of(grace: Duration, now: Instant) -> Stretch {
        Stretch { usual: grace * 2 / 5, factor: 1.0, looked: now }
    }

    /// Takes in how long the workers that are heard were silent before they were heard last. Three of four count: some that are late are the ones
    /// to be given up.
    pub(super) fn look(&mut self, mut gaps: Vec<Duration>, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let left = 0.5_f64.powf(passed.as_secs_f64() / HALF.as_secs_f64());
        let third_quartile = gaps.len().saturating_sub(1) * 3 / 4;
        let typical = match gaps.is_empty() {
            true => Duration::ZERO,
            false => *gaps.select_nth_unstable(third_quartile).1,
        };
        let late = (typical.as_secs_f64() / self.usual.as_secs_f64().max(f64::MIN_POSITIVE)).min(MOST);
        self.factor = (1.0 + (self.factor - 1.0) * left).max(late);
    }

    /// This time, stretched.
    pub(super) fn apply(&self, time: Duration) -> Duration {
        time.mul_f64(self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(3);

    fn stretched(gaps: &[f64]) -> Duration {
        let now = Instant::now();
        let mut stretch = Stretch::of(GRACE, now);
        stretch.look(gaps.iter().copied().map(Duration::from_secs_f64).collect(), now);
        stretch.apply(GRACE)
    }

    #[test]
    fn who_is_late_alone_makes_nobody_wait() {
        assert_eq!(stretched(&[]), GRACE);
        assert_eq!(stretched(&[0.5, 0.5, 2.9]), GRACE);
        assert_eq!(stretched(&[1.2; 5000]), GRACE, "as often as thousands are heard");
    }

    #[test]
    fn where_most_are_late_it_takes_longer_within_a_bound() {
        assert_eq!(stretched(&[0.5, 2.4, 2.4, 2.4]), GRACE * 2);
        assert_eq!(stretched(&[100.0; 3]), GRACE * 12);
    }

    #[test]
    fn it_passes() {
        let now = Instant::now();
        let mut stretch = Stretch::of(GRACE, now);
        stretch.look(vec![Duration::from_secs_f64(3.6)], now);
        assert_eq!(stretch.apply(GRACE), GRACE * 3);
        stretch.look(vec![Duration::from_millis(500)], now + HALF);
        assert_eq!(stretch.apply(GRACE), GRACE * 2);
        stretch.look(Vec::new(), now + HALF * 60);
        assert_eq!(stretch.apply(GRACE).as_millis(), GRACE.as_millis());
    }
}
