//! The pauses while no leader is found, and how long one controller is waited for.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(2);
const ELECTION_MOST: Duration = Duration::from_millis(250);
const DISPERSAL: Duration = Duration::from_millis(200);
/// At first another controller is worth more than patience with this one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Less than a controller gives to a handshake, so that it is not busy with those who went away.
const PATIENCE_MOST: Duration = Duration::from_secs(8);

/// The pauses while no leader is found.
#[derive(Debug)]
pub(super) struct Backoff {
    rounds: u32,
    elections: u32,
    /// Each worker has a sequence of its own, so that a thousand of them do not come at once.
    jitter: StdRng,
}

impl Backoff {
    /// Of this node.
    pub(super) fn of(node: &str) -> Backoff {
        let seed = node.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Backoff { rounds: 0, elections: 0, jitter: StdRng::seed_from_u64(seed) }
    }

    /// A leader was found.
    pub(super) fn reset(&mut self) {
        (self.rounds, self.elections) = (0, 0);
    }

    /// After every controller was tried in vain.
    pub(super) fn round(&mut self) -> Duration {
        self.rounds = self.rounds.saturating_add(1);
        self.jittered(doubled(self.rounds).min(MOST))
    }

    /// After a controller said that nobody leads: never so long that the next leader would have to wait for its workers.
    pub(super) fn election(&mut self) -> Duration {
        self.rounds = 0;
        self.elections = self.elections.saturating_add(1);
        self.jittered(doubled(self.elections).min(ELECTION_MOST))
    }

    /// Before the next leader is looked for, or asked for: all workers lose one at the same moment, and their handshakes must not take the processor
    /// from the election.
    pub(super) fn dispersal(&mut self) -> Duration {
        DISPERSAL.mul_f64(self.jitter.random_range(0.0..=1.0))
    }

    /// How long to wait for a connection. It grows with each round in vain: where thousands call at once, all would give up just before
    /// it was their turn, for ever, and cost the controllers a handshake each time.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE.saturating_mul(1 << self.rounds.min(10)).min(PATIENCE_MOST)
    }

    /// Half of it to all of it.
    fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(self.jitter.random_range(0.5..=1.0))
    }
}

fn doubled(times: u32) -> Duration {
    FIRST.saturating_mul(1 << times.saturating_sub(1).min(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bounds() {
        let mut backoff = Backoff::of("w1");
        for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = backoff.round().as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} of {expected}");
        }
        for _ in 0..20 {
            assert!(backoff.election() <= ELECTION_MOST);
        }
        backoff.reset();
        assert!(backoff.round() <= FIRST);
    }

    #[test]
    fn patience_grows_while_nobody_is_reached_at_all() {
        let mut backoff = Backoff::of("w1");
        for expected in [1, 2, 4, 8, 8] {
            assert_eq!(backoff.patience().as_secs(), expected);
            backoff.round();
        }
        // Somebody answered, if only that nobody leads.
        backoff.election();
        assert_eq!(backoff.patience(), PATIENCE);
    }
}
