//! The one clock of a run: the machine's monotonic one, from the run's start.

use std::time::{Duration, Instant};

/// A run's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A run starts now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since then.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A moment of the plan.
    pub fn at_ms(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
}
