//! How late the typical worker is heard. Where everybody is late, for a machine that has too much to do or a network that loses half, silence is
//! no sign of death: who took it for one would have the pods of thousands replaced, by the same machine and over the same network. A node is
//! given up when it is silent for much longer than its like, not by the clock alone (as Lifeguard does it for its own lateness: Dadgar et al.,
//! 2018, `arXiv:1707.00788`). And where many that were given up are heard soon after, it was too early, and the others get longer.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// So many times the grace that was asked for a silent node gets at most: with 3 s about as long as Kubernetes' gives it.
const MOST: f64 = 12.0;
/// When all are heard in time again, half of what is above the grace goes in this time: overload comes in waves.
const HALF: Duration = Duration::from_secs(5);
/// Of what was learned from mistakes, half goes in this time: who makes them under load makes them again as long as that lasts.
const LEARNED_HALF: Duration = Duration::from_secs(60);
/// Mistakes that lie no further apart than that belong together.
const TOGETHER: Duration = Duration::from_secs(10);
/// Fewer mistakes, or a smaller part of all nodes, teach nothing: a worker that stood still for a moment is its own affair.
const FEW: usize = 10;
const PART: usize = 100;

/// So many times as long as usual a node may be silent.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Of signs of life that come so late, one may be lost within the grace.
    usual: Duration,
    grace: Duration,
    factor: f64,
    /// The same, from nodes that were given up too early.
    learned: f64,
    /// When there were such, and how long each was silent.
    mistakes: VecDeque<(Instant, Duration)>,
    looked: Instant,
}

impl Stretch {
    /// With this grace.
    pub(super) fn of(grace: Duration, now: Instant) -> Stretch {
        let (usual, mistakes) = (grace * 2 / 5, VecDeque::new());
        Stretch { usual, grace, factor: 1.0, learned: 1.0, mistakes, looked: now }
    }

    /// Takes in how long the workers that are heard were silent before they were heard last. Three of four count: some that are late are the ones
    /// to be given up.
    pub(super) fn look(&mut self, mut gaps: Vec<Duration>, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        let left = |half: Duration| 0.5_f64.powf(passed.as_secs_f64() / half.as_secs_f64());
        let third_quartile = gaps.len().saturating_sub(1) * 3 / 4;
        let typical = match gaps.is_empty() {
            true => Duration::ZERO,
            false => *gaps.select_nth_unstable(third_quartile).1,
        };
        let late = (typical.as_secs_f64() / self.usual.as_secs_f64().max(f64::MIN_POSITIVE)).min(MOST);
        self.factor = (1.0 + (self.factor - 1.0) * left(HALF)).max(late);
        self.learned = 1.0 + (self.learned - 1.0) * left(LEARNED_HALF);
    }

    /// Of so many nodes one was given up and is heard after all, soon after: it was silent for so long. Where that happens to many, the others get
    /// longer than those had. What is replaced for nothing makes the load that made it late.
    pub(super) fn mistaken(&mut self, silence: Duration, nodes: usize, now: Instant) {
        self.mistakes.push_back((now, silence));
        let together = |at: Instant| now.saturating_duration_since(at) < TOGETHER;
        while self.mistakes.front().is_some_and(|(at, _)| !together(*at))
            || self.mistakes.len() > nodes.max(FEW)
        {
            self.mistakes.pop_front();
        }
        if self.mistakes.len() >= FEW.max(nodes / PART) {
            let longest = self.mistakes.iter().map(|(_, silence)| *silence).max().unwrap_or_default();
            let longer = longest.as_secs_f64() * 1.5 / self.grace.as_secs_f64().max(f64::MIN_POSITIVE);
            self.learned = self.learned.max(longer.min(MOST));
        }
    }

    /// This time, stretched.
    pub(super) fn apply(&self, time: Duration) -> Duration {
        time.mul_f64(self.factor.max(self.learned))
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

    #[test]
    fn many_mistakes_teach_and_a_few_do_not() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let of = |mistakes: usize, nodes: usize| {
            let mut stretch = Stretch::of(GRACE, start);
            for n in 0..mistakes {
                stretch.mistaken(Duration::from_secs(4), nodes, at(n as f64 / 100.0));
            }
            stretch
        };
        assert_eq!(of(9, 50).apply(GRACE), GRACE);
        assert_eq!(of(10, 50).apply(GRACE), GRACE * 2, "half as long again as the longest");
        assert_eq!(of(49, 5000).apply(GRACE), GRACE, "less than a hundredth of them");
        assert_eq!(of(50, 5000).apply(GRACE), GRACE * 2);
        let mut forgets = of(10, 50);
        forgets.look(Vec::new(), at(60.0));
        assert_eq!(forgets.apply(GRACE), GRACE * 3 / 2);
        let mut apart = Stretch::of(GRACE, start);
        for n in 0..20 {
            apart.mistaken(Duration::from_secs(4), 50, at(f64::from(n) * 2.0));
        }
        assert_eq!(apart.apply(GRACE), GRACE, "one every other second is none of many");
        let mut hours = of(9, 50);
        hours.mistaken(Duration::from_secs(3600), 50, at(0.1));
        assert_eq!(hours.apply(GRACE), GRACE * 12, "within a bound");
    }
}
