//! How long a leader may be silent before a worker looks for another. One that was only busy is found again, leading in the same term as before;
//! and whoever calls it anew, with a handshake and all that he runs, makes it busier. So each such mistake doubles the time, up to a bound, and
//! only a long time in touch takes it back.

use std::time::Duration;

/// So many times as long as usual, at most.
const MOST: u32 = 8;
/// A session that lasts so long halves it; twice that, and it is a quarter.
const CALM: Duration = Duration::from_secs(60);

/// So many times as long as usual the leader may be silent.
#[derive(Debug)]
pub(super) struct Leniency {
    factor: u32,
    /// The leader of this term was thought to be gone.
    doubted: Option<u64>,
}

impl Leniency {
    /// As long as usual.
    pub(super) fn new() -> Leniency {
        Leniency { factor: 1, doubted: None }
    }

    /// So many times as long as usual.
    pub(super) fn factor(&self) -> u32 {
        self.factor
    }

    /// The leader was silent, and leads still.
    pub(super) fn mistaken(&mut self) {
        self.factor = (self.factor * 2).min(MOST);
    }

    /// A session ended because the leader of this term was silent.
    pub(super) fn silent(&mut self, term: u64) {
        self.doubted = Some(term);
    }

    /// A leader of this term welcomes this worker.
    pub(super) fn welcomed(&mut self, term: u64) {
        if self.doubted.take() == Some(term) {
            self.mistaken();
        }
    }

    /// A session has lasted for so long.
    pub(super) fn lasted(&mut self, time: Duration) {
        let halves = u32::try_from(time.as_secs() / CALM.as_secs()).unwrap_or(u32::MAX);
        self.factor = self.factor.checked_shr(halves).unwrap_or(0).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_leads_still_after_its_silence_may_be_silent_for_longer() {
        let mut leniency = Leniency::new();
        leniency.welcomed(1);
        assert_eq!(leniency.factor(), 1);
        leniency.mistaken();
        assert_eq!(leniency.factor(), 2);
        for expected in [4, 8, 8] {
            leniency.silent(1);
            leniency.welcomed(1);
            assert_eq!(leniency.factor(), expected);
        }
        leniency.welcomed(1);
        assert_eq!(leniency.factor(), 8, "the session broke for another reason");
    }

    #[test]
    fn a_leader_that_was_gone_teaches_nothing() {
        let mut leniency = Leniency::new();
        leniency.silent(1);
        leniency.welcomed(2);
        leniency.silent(1);
        leniency.welcomed(3);
        leniency.welcomed(1);
        assert_eq!(leniency.factor(), 1);
    }

    #[test]
    fn a_long_time_in_touch_takes_it_back() {
        let mut leniency = Leniency::new();
        (0..3).for_each(|_| leniency.mistaken());
        leniency.lasted(CALM - Duration::from_secs(1));
        assert_eq!(leniency.factor(), 8);
        leniency.lasted(CALM);
        assert_eq!(leniency.factor(), 4);
        leniency.lasted(CALM * 50);
        assert_eq!(leniency.factor(), 1);
    }
}
