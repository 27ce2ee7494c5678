//! How often workers are to be heard: as often as their number allows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Signs of life that a leader takes in each second. Each costs it some 35 us of processor time, nearly all of it in the kernel, TLS
/// and HTTP/2 (measured with 1,000 workers): these are a seventh of a core.
const BEATS_PER_SECOND: u32 = 4000;

/// Between two signs of life of a worker: a sixth of the grace that a silent one gets, up to two fifths of it where there are many.
/// In steps, so that a cluster that grows does not tell its workers another number each time.
pub(super) fn period(grace: Duration, nodes: usize) -> Duration {
    let step = (grace / 30).max(Duration::from_millis(1));
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let fair = Duration::from_secs(1) * nodes / BEATS_PER_SECOND;
    let steps = u32::try_from(fair.as_nanos().div_ceil(step.as_nanos())).unwrap_or(u32::MAX);
    step * steps.clamp(5, 12)
}

/// The period of now, for those who tell it to workers.
#[derive(Clone, Debug)]
pub(crate) struct Pace(Arc<AtomicU32>);

impl Pace {
    /// That of a small cluster.
    pub(crate) fn new(grace: Duration) -> Pace {
        Pace(Arc::new(AtomicU32::new(millis(period(grace, 0)))))
    }

    pub(super) fn set(&self, period: Duration) {
        self.0.store(millis(period), Ordering::Relaxed);
    }

    /// In milliseconds.
    pub(super) fn millis(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_workers_are_heard_less_often_and_never_too_rarely() {
        let of = |nodes| period(Duration::from_secs(3), nodes).as_millis();
        assert_eq!([of(0), of(3), of(2000)], [500; 3], "a sixth of the grace");
        assert_eq!([of(2001), of(2400), of(3000), of(4000)], [600, 600, 800, 1000]);
        assert_eq!([of(5000), of(1_000_000)], [1200; 2], "one may be lost within the grace");
    }
}
