//! What a node knows of itself and of the others, for people and for metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::instant::Instant as _;
use openraft::{RaftMetrics, ServerState};

use super::Node;
use crate::log::Counters;
use crate::space::Room;
use crate::types::Types;
use crate::wire::MemberInfo;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives the log, has no vote.
    Learner,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Stops.
    Stopped,
}

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub info: MemberInfo,
    /// It votes; otherwise it learns.
    pub voter: bool,
    /// On the leader: up to where its log is known to agree.
    pub matched: Option<u64>,
    /// On the leader: how many entries it lacks.
    pub lag: Option<u64>,
    /// On the leader: it answered lately.
    pub reachable: Option<bool>,
}

/// What the log has done since the node was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// fdatasync calls.
    pub syncs: u64,
    /// Write batches.
    pub batches: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The most entries in one batch.
    pub largest_batch: u64,
}

impl From<&Counters> for Work {
    fn from(counters: &Counters) -> Self {
        let Counters { syncs, batches, entries, bytes, largest_batch } = counters;
        let [syncs, batches, entries, bytes, largest_batch] =
            [syncs, batches, entries, bytes, largest_batch].map(|counter| counter.load(Ordering::Relaxed));
        Work { syncs, batches, entries, bytes, largest_batch }
    }
}

/// A node's state at a glance. Indexes are of log entries; none where there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The term it is in.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<u64>,
    /// The end of its log.
    pub last_log: Option<u64>,
    /// Committed, as far as it knows.
    pub committed: Option<u64>,
    /// Folded.
    pub applied: Option<u64>,
    /// Folded and durable even without the log.
    pub durable: Option<u64>,
    /// Its last snapshot.
    pub snapshot: Option<u64>,
    /// Removed from the start of its log.
    pub purged: Option<u64>,
    /// All members.
    pub members: Vec<Member>,
    /// The voters are being changed: both the old and the new ones must agree to everything.
    pub joint: bool,
    /// The leader hears a majority; on others: there is a leader.
    pub quorum_ok: bool,
    /// Whether its disk has room.
    pub room: Room,
    /// What its log has done.
    pub work: Work,
    /// Why it died, if it did.
    pub failure: Option<String>,
}

/// Whether the voters are being changed.
pub(super) fn is_joint(metrics: &RaftMetrics<Types>) -> bool {
    metrics.membership_config.membership().get_joint_config().len() > 1
}

impl Node {
    /// A glance at this node.
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let metrics = self.metrics();
        let acked = metrics.last_quorum_acked.as_ref().map(|at| at.elapsed());
        let quorum_ok = match metrics.state {
            ServerState::Leader => acked.is_some_and(|age| age < self.patience()) || self.is_alone(&metrics),
            _ => metrics.current_leader.is_some(),
        };
        Status {
            id: inner.member.id,
            name: inner.member.name.clone(),
            role: match metrics.state {
                ServerState::Learner => Role::Learner,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Leader => Role::Leader,
                ServerState::Shutdown => Role::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|id| id.index),
            applied: inner.progress.applied.borrow().map(|last| last.index),
            durable: inner.progress.durable(),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            members: self.members(&metrics),
            joint: is_joint(&metrics),
            quorum_ok,
            room: inner.space.room(),
            work: Work::from(&*inner.counters),
            failure: inner.failure.borrow().clone(),
        }
    }

    /// Whether its disk has room, and to be told when that changes.
    pub fn room(&self) -> tokio::sync::watch::Receiver<Room> {
        self.inner.space.watch()
    }

    /// What people should know about the choice of members; empty if all is well.
    pub fn advice(&self) -> Vec<String> {
        let members = self.members(&self.metrics());
        let voters: Vec<&MemberInfo> =
            members.iter().filter(|member| member.voter).map(|member| &member.info).collect();
        let mut advice = Vec::new();
        let count = voters.len();
        if count == 1 {
            advice.push("one controller: its loss is the loss of the control plane; add two more".into());
        } else if count > 1 && count.is_multiple_of(2) {
            let tolerated = (count - 1) / 2;
            advice.push(format!(
                "{count} voting controllers tolerate the loss of {tolerated}, as {} would; add or remove one",
                count - 1
            ));
        }
        let zones: std::collections::BTreeSet<&str> =
            voters.iter().map(|voter| voter.zone.as_str()).collect();
        if count > 1 && zones.len() < 3 {
            advice.push(format!(
                "the voting controllers are in {} zone(s): the loss of one zone can stop the control plane; use three",
                zones.len()
            ));
        }
        advice
    }

    /// A member that was silent for longer is not counted on.
    fn patience(&self) -> Duration {
        (4 * self.inner.timings.election_max).max(Duration::from_secs(1))
    }

    fn is_alone(&self, metrics: &RaftMetrics<Types>) -> bool {
        metrics.membership_config.voter_ids().eq([self.inner.member.id])
    }

    pub(super) fn members(&self, metrics: &RaftMetrics<Types>) -> Vec<Member> {
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let leads = metrics.state == ServerState::Leader;
        let member = |(id, seat): (&u64, &crate::types::Seat)| {
            let own = *id == self.inner.member.id;
            let matched = match own {
                true => metrics.last_log_index,
                false => metrics
                    .replication
                    .as_ref()
                    .and_then(|all| all.get(id))
                    .and_then(|id| id.map(|id| id.index)),
            };
            let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(id)).copied().flatten();
            let reachable = own || heard.is_some_and(|at| at.elapsed() < self.patience());
            Member {
                info: MemberInfo::new(*id, seat),
                voter: voters.contains(id),
                matched: matched.filter(|_| leads),
                lag: leads.then(|| next(metrics.last_log_index).saturating_sub(next(matched))),
                reachable: leads.then_some(reachable),
            }
        };
        metrics.membership_config.nodes().map(member).collect()
    }
}
