//! Reading what is certainly committed, on any node.

use std::time::Duration;

use kontiki_hooks::{Defect, Mark, planted, reached};
use tokio::time::{Instant, timeout_at};

use super::Node;
use crate::space::Room;

/// A read position is found within this time, whoever leads meanwhile.
const DEADLINE: Duration = Duration::from_secs(2);
/// One attempt takes no longer.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Pause after a leader that could not say.
const PAUSE: Duration = Duration::from_millis(20);

/// Why there is no read position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody with a quorum answered in time.
    #[error("no leader with a quorum answered within {} ms", .0.as_millis())]
    NoLeader(Duration),
}

/// The state did not get as far in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// It may get there later.
    #[error("the state of this controller did not reach entry {index} in time")]
    Late {
        /// What was waited for.
        index: u64,
    },
    /// It does not get there before space is freed, so nobody need wait.
    #[error("the disk of this controller is full: it does not follow the others before space is freed")]
    NoRoom,
}

impl Node {
    /// The index that a linearizable read must have seen: everything that was acknowledged before this call is at or before it. Wait for it
    /// with [`Node::wait_applied`], then read the state.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        if planted(Defect::ReadWithoutQuorum) {
            return Ok(self.inner.progress.applied.borrow().map_or(0, |last| last.index));
        }
        let deadline = Instant::now() + DEADLINE;
        let mut leadership = self.leadership();
        while Instant::now() < deadline {
            let leader = leadership.borrow_and_update().leader.clone();
            let attempt = (Instant::now() + ATTEMPT).min(deadline);
            let ask = async {
                match leader {
                    None => None,
                    // Not by lease: a member that restarted forgets the lease that it granted.
                    Some(leader) if leader.id == self.inner.member.id => {
                        let unheard =
                            || self.members(&self.metrics()).iter().any(|m| m.reachable == Some(false));
                        if planted(Defect::MinorityHoldsUp) && unheard() {
                            return None;
                        }
                        let confirmed = timeout_at(attempt, self.inner.reign.confirmed()).await;
                        confirmed.ok().flatten().map(|position| position.index)
                    }
                    Some(leader) => {
                        let (peers, id) = (self.inner.peers.clone(), leader.id);
                        let question = move || {
                            let (peers, leader) = (peers.clone(), leader.clone());
                            async move { peers.read_index(&leader, ATTEMPT).await.ok().flatten() }
                        };
                        timeout_at(attempt, self.inner.rounds.join(id, question)).await.ok().flatten()
                    }
                }
            };
            // A leader that hangs is not waited for once there is another one.
            let moved = async {
                if leadership.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            let found = tokio::select! {
                found = ask => found,
                () = moved => continue,
            };
            if let Some(index) = found {
                return Ok(index);
            }
            let pause = (Instant::now() + PAUSE).min(deadline);
            if let Ok(Err(_)) = timeout_at(pause, leadership.changed()).await {
                break;
            }
        }
        Err(ReadError::NoLeader(DEADLINE))
    }

    /// The index that a read must have seen, provided that this very node leads `term`: a majority says so after this call.
    /// Unlike [`Node::read_index`] it asks nobody else who may lead meanwhile.
    pub async fn confirm(&self, term: u64) -> Result<u64, ReadError> {
        match timeout_at(Instant::now() + ATTEMPT, self.inner.reign.confirmed()).await {
            Ok(Some(position)) if position.term == term => Ok(position.index),
            _ => Err(ReadError::NoLeader(ATTEMPT)),
        }
    }

    /// Waits until the state here holds everything up to `index`.
    pub async fn wait_applied(&self, index: u64, deadline: Duration) -> Result<(), WaitError> {
        let mut applied = self.inner.progress.applied.subscribe();
        let mut room = self.room();
        let folded = applied.wait_for(|last| last.is_some_and(|last| last.index >= index));
        tokio::select! {
            biased;
            folded = folded => folded.map(drop).map_err(|_| WaitError::Late { index }),
            _ = room.wait_for(|room| *room == Room::None) => {
                reached(Mark::ReadWithoutRoom);
                Err(WaitError::NoRoom)
            }
            () = tokio::time::sleep(deadline) => Err(WaitError::Late { index }),
        }
    }
}
