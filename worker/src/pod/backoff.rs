//! The pauses between attempts: doubling, bounded, forgotten after a good time.

/// How pauses grow.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first_ms: i64,
    /// The longest.
    pub most_ms: i64,
    /// After so long without a failure the next pause is the first again.
    pub reset_after_ms: i64,
}

/// Containers that end: the first restart is at once, then 10 s, 20 s, ... 5 min.
pub const CRASH: Backoff = Backoff { first_ms: 10_000, most_ms: 300_000, reset_after_ms: 600_000 };

/// Images that are not there.
pub const IMAGE: Backoff = Backoff { first_ms: 10_000, most_ms: 300_000, reset_after_ms: 600_000 };

/// Sandboxes and volumes that cannot be set up.
pub const SETUP: Backoff = Backoff { first_ms: 1000, most_ms: 120_000, reset_after_ms: 600_000 };

/// Twice the longest pause: a time that is further off was taken from a clock that has been set back since.
const AHEAD_MOST_MS: i64 = 600_000;

/// Whether a pause that was to last until then is over.
pub fn due(at_ms: i64, now_ms: i64) -> bool {
    now_ms >= at_ms || at_ms.saturating_sub(now_ms) > AHEAD_MOST_MS
}

impl Backoff {
    /// The pause after `delay_ms`; 0 is none yet.
    pub fn next(&self, delay_ms: i64) -> i64 {
        if delay_ms <= 0 { self.first_ms } else { delay_ms.saturating_mul(2).min(self.most_ms) }
    }
}
