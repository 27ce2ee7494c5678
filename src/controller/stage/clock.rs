//! The leader's clock: it enters the state only in entries. It follows the machine's clock, but never goes back: while that
//! one is behind, it goes on by the time that really passes, so that no wake-up waits for the hour that was taken back.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

/// The machine's clock, Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What decisions take from the machine: the hour, and randomness. Both enter the state only in entries. A simulation hands in
/// its own.
#[derive(Clone)]
pub struct Nature {
    /// The hour, Unix milliseconds; it may jump.
    pub wall_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// A random number.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Nature {
    fn default() -> Nature {
        Nature { wall_ms: Arc::new(now_ms), random: Arc::new(rand::random) }
    }
}

impl fmt::Debug for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nature")
    }
}

/// The clock of one process.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<(i64, Instant)>,
}

impl Clock {
    /// The time.
    pub(super) fn read(&mut self, nature: &Nature) -> i64 {
        self.tell((nature.wall_ms)(), Instant::now())
    }

    fn tell(&mut self, machine_ms: i64, now: Instant) -> i64 {
        let at_least = self.last.map_or(machine_ms, |(told, then)| {
            let passed = now.saturating_duration_since(then).as_millis();
            told.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
        });
        if machine_ms >= at_least {
            self.last = Some((machine_ms, now));
            return machine_ms;
        }
        // What was told stays the base, so that parts of milliseconds do not get lost by reading often.
        at_least
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_never_goes_back_and_never_stands_still() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.tell(10_000, at(0)), 10_000);
        assert_eq!(clock.tell(10_100, at(100)), 10_100);
        // An hour back.
        assert_eq!(clock.tell(10_200 - 3_600_000, at(200)), 10_200);
        assert_eq!(clock.tell(15_000 - 3_600_000, at(5000)), 15_000);
        // And right again.
        assert_eq!(clock.tell(16_000, at(5500)), 16_000);
        assert_eq!(clock.tell(16_001, at(5501)), 16_001);
    }
}
