//! One direction of a link between two hosts.

use std::task::Waker;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

/// The first pause before lost data is sent again; it doubles.
pub(super) const RETRANSMIT: Duration = Duration::from_millis(200);

/// What a direction of a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Nothing gets through.
    pub cut: bool,
    /// The least delay.
    pub delay: Duration,
    /// Up to so much is added.
    pub jitter: Duration,
    /// Of a thousand pieces so many are lost and sent again.
    pub loss_per_mille: u32,
    /// No more than this; 0: as much as there is.
    pub bytes_per_second: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            cut: false,
            delay: Duration::from_micros(150),
            jitter: Duration::from_micros(100),
            loss_per_mille: 0,
            bytes_per_second: 0,
        }
    }
}

impl Conditions {
    pub(super) fn delay(&self, random: &mut StdRng) -> Duration {
        let jitter = self.jitter.as_micros() as u64;
        self.delay + Duration::from_micros(random.random_range(0..=jitter))
    }
}

#[derive(Default)]
pub(super) struct Link {
    pub(super) conditions: Conditions,
    /// When it was whole again after the last cut.
    pub(super) healed: Option<Instant>,
    pub(super) waiting: Vec<Waker>,
}

impl Link {
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Conditions)) -> Vec<Waker> {
        let before = self.conditions.cut;
        change(&mut self.conditions);
        if !before || self.conditions.cut {
            return Vec::new();
        }
        self.healed = Some(Instant::now());
        std::mem::take(&mut self.waiting)
    }

    /// When data that was sent then gets through after the cut: at the first time that it is sent again.
    pub(super) fn again(&self, sent: Instant) -> Option<Instant> {
        let healed = self.healed?;
        let (mut at, mut pause) = (sent, RETRANSMIT);
        while at < healed {
            at += pause;
            pause = (2 * pause).min(Duration::from_secs(60));
        }
        Some(at + self.conditions.delay)
    }
}
