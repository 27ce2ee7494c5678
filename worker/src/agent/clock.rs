//! What time it is: the machine's, or a simulation's.

use std::time::Duration;

use tokio::time::Instant;

/// Where times come from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    Wall,
    /// A clock that starts at `epoch_ms` and goes on by tokio's, which a test may pause.
    Simulated {
        /// The time at `birth`, in milliseconds since 1970.
        epoch_ms: i64,
        /// When it began.
        birth: Instant,
    },
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match self {
            Clock::Wall => jiff::Timestamp::now().as_millisecond(),
            Clock::Simulated { epoch_ms, birth } => {
                epoch_ms.saturating_add(i64::try_from(birth.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// How long it is until then; nothing if it has passed.
    pub fn until(&self, ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(ms.saturating_sub(self.now_ms())).unwrap_or(0))
    }
}
