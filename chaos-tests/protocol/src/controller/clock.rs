//! A machine's wall clock: simulated time, set wrong and running wrong as a plan says.

use parking_lot::Mutex;
use tokio::time::Instant;

/// When simulations begin: 2025-01-01T00:00:00Z, Unix milliseconds.
pub const EPOCH_MS: i64 = 1_735_689_600_000;

/// The clock of one machine.
#[derive(Debug)]
pub struct WallClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    told_ms: i64,
    per_mille: i64,
}

impl WallClock {
    /// Right, at the beginning of time.
    pub fn new(start: Instant) -> WallClock {
        WallClock { state: Mutex::new(State { since: start, told_ms: EPOCH_MS, per_mille: 1000 }) }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.state.lock().now_ms()
    }

    /// Jumps.
    pub fn jump(&self, by_ms: i64) {
        let mut state = self.state.lock();
        state.rebase();
        state.told_ms += by_ms;
    }

    /// Runs at another rate, in thousandths.
    pub fn rate(&self, per_mille: u32) {
        let mut state = self.state.lock();
        state.rebase();
        state.per_mille = per_mille.into();
    }
}

impl State {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX / 1000);
        self.told_ms + passed * self.per_mille / 1000
    }

    fn rebase(&mut self) {
        (self.told_ms, self.since) = (self.now_ms(), Instant::now());
    }
}
