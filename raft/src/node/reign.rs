//! Whether this node still leads, by the word of a majority.
//!
//! openraft has the same question, and takes late answers for new ones: an answer to an append acknowledges all requests whose last
//! entry is not after it, also one without entries that went out only just now to tell of a commit. When the answers that a cut held up
//! come in, the first makes the old leader commit, and the second one acknowledges what that commit made it send. So a leader that was
//! replaced long since may read what is old (`raft/tests/cluster/stale_leader.rs`). Here each question has its own answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::ServerState;

use super::leadership::LeadershipWatch;
use super::rounds::Rounds;
use crate::fold::LogPosition;
use crate::types::{Raft, Vote};
use crate::wire::{MemberInfo, Peers};

/// Asks the voters whether this node leads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reign {
    id: u64,
    raft: Raft,
    peers: Peers,
    leadership: LeadershipWatch,
    rounds: Arc<Rounds<LogPosition>>,
}

/// What the consensus holds of this node's reign at one moment.
struct Held {
    vote: Vote,
    /// Up to here it is committed: with that all that was acknowledged, or read by anybody, before. What earlier leaders committed is
    /// before this leader's first entry, which is folded, or it would not lead yet. What it has folded itself is not enough: a
    /// follower may have folded more.
    committed: u64,
    /// The configurations of which each must have its majority.
    voters: Vec<BTreeSet<u64>>,
    others: Vec<MemberInfo>,
}

impl Reign {
    pub(super) fn new(id: u64, raft: Raft, peers: Peers, leadership: LeadershipWatch) -> Reign {
        Reign { id, raft, peers, leadership, rounds: Arc::default() }
    }

    /// Up to where this node's state must be folded for a linearizable read, and the term that it leads: a majority followed it in that
    /// term after this call. None if it does not lead, or no majority says so.
    pub(crate) async fn confirmed(&self) -> Option<LogPosition> {
        let asking = self.clone();
        self.rounds.join(self.id, move || asking.clone().ask()).await
    }

    async fn ask(self) -> Option<LogPosition> {
        let now = self.leadership.now();
        if !now.leading {
            return None;
        }
        let held = self.held(now.term).await?;
        let mut following = BTreeSet::from([self.id]);
        let mut answers: FuturesUnordered<_> = held
            .others
            .iter()
            .map(|other| {
                let asked = self.peers.follows(other, held.vote);
                async move { (other.id, asked.await) }
            })
            .collect();
        while !held.is_majority(&following) {
            match answers.next().await? {
                (id, Ok(true)) => drop(following.insert(id)),
                // It has seen a later term.
                (_, Ok(false)) => return None,
                (_, Err(_)) => {}
            }
        }
        Some(LogPosition { term: now.term, index: held.committed })
    }

    /// None unless the consensus itself leads in this term at this moment.
    async fn held(&self, term: u64) -> Option<Held> {
        let id = self.id;
        let held = self.raft.with_raft_state(move |state| {
            let vote = *state.vote_ref();
            let leads = state.server_state == ServerState::Leader && vote == Vote::new_committed(term, id);
            let membership = state.membership_state.effective().membership();
            let others = membership.nodes().filter(|(other, _)| **other != id);
            let committed = state.cluster_committed().filter(|_| leads)?.index;
            Some(Held {
                vote,
                committed,
                voters: membership.get_joint_config().clone(),
                others: others.map(|(id, seat)| MemberInfo::new(*id, seat)).collect(),
            })
        });
        let mut held = held.await.ok().flatten()?;
        let voters: BTreeSet<u64> = held.voters.iter().flatten().copied().collect();
        held.others.retain(|other| voters.contains(&other.id));
        Some(held)
    }
}

impl Held {
    fn is_majority(&self, following: &BTreeSet<u64>) -> bool {
        self.voters.iter().all(|voters| voters.intersection(following).count() > voters.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_configuration_must_have_its_majority() {
        let held = |voters: &[&[u64]]| Held {
            vote: Vote::new_committed(1, 1),
            committed: 0,
            voters: voters.iter().map(|ids| ids.iter().copied().collect()).collect(),
            others: Vec::new(),
        };
        let follow = |held: &Held, ids: &[u64]| held.is_majority(&ids.iter().copied().collect());
        let three = held(&[&[1, 2, 3]]);
        assert!(!follow(&three, &[1]) && follow(&three, &[1, 2]) && follow(&three, &[2, 3]));
        assert!(!follow(&held(&[&[1, 2, 3, 4]]), &[1, 2]));
        assert!(follow(&held(&[&[1]]), &[1]));
        let joint = held(&[&[1, 2, 3], &[3, 4, 5]]);
        assert!(!follow(&joint, &[1, 2, 3]) && follow(&joint, &[1, 3, 4]));
    }
}
