//! Virtual time: nanoseconds from the start of a run. And the wall clocks of machines, which may be wrong.

/// A microsecond.
pub(crate) const MICRO: u64 = 1_000;
/// A millisecond.
pub(crate) const MS: u64 = 1_000_000;
/// A second.
pub(crate) const SECOND: u64 = 1_000 * MS;

/// The hour at which every run begins: 2026-01-01T00:00:00Z, Unix milliseconds.
const START_MS: i64 = 1_767_225_600_000;

/// One machine's wall clock, and the stage's clock on top of it, which follows it but never goes back: as
/// `src/controller/stage/clock.rs` does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    offset_ms: i64,
    /// Since when the rate is another, and by how many thousandths.
    drift: Option<(u64, i64)>,
    told: Option<(i64, u64)>,
}

impl Clock {
    /// It jumps.
    pub(crate) fn jump(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
    }

    /// It runs at so many thousandths of the right rate from now on.
    pub(crate) fn rate(&mut self, per_mille: i64, now: u64) {
        self.offset_ms = self.machine_ms(now) - START_MS - (now / MS) as i64;
        self.drift = (per_mille != 1000).then_some((now, per_mille - 1000));
    }

    /// What the machine says, Unix milliseconds.
    pub(crate) fn machine_ms(&self, now: u64) -> i64 {
        let gained = self.drift.map_or(0, |(since, extra)| ((now - since) / MS) as i64 * extra / 1000);
        START_MS + (now / MS) as i64 + self.offset_ms + gained
    }

    /// What the stage says.
    pub(crate) fn read(&mut self, now: u64) -> i64 {
        let machine = self.machine_ms(now);
        let at_least = self.told.map_or(machine, |(told, then)| told + ((now - then) / MS) as i64);
        if machine >= at_least {
            self.told = Some((machine, now));
            return machine;
        }
        at_least
    }

    /// Its process was restarted.
    pub(crate) fn restart(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_adds_up_and_ends_where_it_is() {
        let mut clock = Clock::default();
        clock.rate(1500, 10 * SECOND);
        assert_eq!(clock.machine_ms(20 * SECOND), START_MS + 25_000);
        clock.rate(1000, 20 * SECOND);
        assert_eq!(clock.machine_ms(30 * SECOND), START_MS + 35_000);
        clock.jump(-5_000);
        assert_eq!(clock.machine_ms(30 * SECOND), START_MS + 30_000);
    }

    #[test]
    fn the_stage_never_goes_back() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(SECOND), START_MS + 1000);
        clock.jump(-3_600_000);
        assert_eq!(clock.read(2 * SECOND), START_MS + 2000);
    }
}
