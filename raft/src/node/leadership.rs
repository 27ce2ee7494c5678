//! Who leads, when this node may, and what it does about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kontiki_hooks::{Mark, reached};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::Node;
use crate::space::Room;
use crate::state::Progress;
use crate::types::Raft;
use crate::wire::MemberInfo;

/// How often the house is kept.
const TICK: Duration = Duration::from_millis(100);
/// A full leader tries to give the leadership away this often.
const SHED_EVERY: Duration = Duration::from_secs(1);

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this node is in.
    pub term: u64,
    /// Its leader, as far as this node knows.
    pub leader: Option<MemberInfo>,
    /// This node leads the term, and its state holds everything that was committed before: it may decide.
    pub leading: bool,
}

struct Shared {
    sender: watch::Sender<Leadership>,
    may_lead: AtomicBool,
}

/// The leadership for those who watch it.
#[derive(Clone)]
pub(crate) struct LeadershipWatch(Arc<Shared>);

impl LeadershipWatch {
    pub(super) fn new() -> LeadershipWatch {
        let sender = watch::Sender::new(Leadership::default());
        LeadershipWatch(Arc::new(Shared { sender, may_lead: AtomicBool::new(true) }))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Leadership> {
        self.0.sender.subscribe()
    }

    pub(crate) fn now(&self) -> Leadership {
        self.0.sender.borrow().clone()
    }

    /// Whether this node may call an election.
    pub(crate) fn may_lead(&self) -> bool {
        self.0.may_lead.load(Ordering::Relaxed)
    }
}

/// Keeps the leadership up to date with the consensus and with what is folded.
pub(super) async fn follow(raft: Raft, progress: Arc<Progress>, leadership: LeadershipWatch) {
    let mut metrics = raft.server_metrics();
    let mut applied = progress.applied.subscribe();
    loop {
        let now = metrics.borrow_watched().clone();
        let term = now.vote.leader_id().term;
        let leader = now
            .current_leader
            .and_then(|id| now.membership_config.get_node(&id).map(|seat| MemberInfo::new(id, seat)));
        // A leader's first entry is of its own term, and follows all that was committed before.
        let caught_up = applied.borrow_and_update().is_some_and(|last| last.term == term);
        let leading = now.state == ServerState::Leader && now.current_leader == Some(now.id) && caught_up;
        let next = Leadership { term, leader, leading };
        leadership.0.sender.send_if_modified(|current| {
            let changed = *current != next;
            if changed {
                *current = next;
            }
            changed
        });
        let waits_for_fold = now.state == ServerState::Leader && !leading;
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                leadership.0.sender.send_modify(|current| (current.leader, current.leading) = (None, false));
                return;
            },
            _ = applied.changed(), if waits_for_fold => {}
        }
    }
}

/// The slow rounds: notices that the consensus died, takes snapshots by size, sheds the leadership when the disk is full.
pub(super) async fn keep_house(node: Node) {
    let inner = &node.inner;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bytes_at_snapshot = 0;
    let mut last_shed: Option<tokio::time::Instant> = None;
    loop {
        ticks.tick().await;
        let metrics = node.metrics();
        if let Err(fatal) = &metrics.running_state {
            inner.failure.send_replace(Some(fatal.to_string()));
            tracing::error!(error = %fatal, "the consensus of this controller died: the process must exit and start again");
            return;
        }
        let bytes = inner.counters.bytes.load(Ordering::Relaxed);
        if bytes - bytes_at_snapshot > inner.limits.snapshot_bytes {
            bytes_at_snapshot = bytes;
            let _ = inner.raft.trigger().snapshot().await;
        }
        let may_lead = inner.space.room() == Room::Ample;
        if inner.leadership.0.may_lead.swap(may_lead, Ordering::Relaxed) != may_lead {
            inner.raft.runtime_config().elect(may_lead);
        }
        let leads = metrics.state == ServerState::Leader;
        if !may_lead && leads && last_shed.is_none_or(|last| last.elapsed() >= SHED_EVERY) {
            last_shed = Some(tokio::time::Instant::now());
            if let Some(successor) = node.successor(&metrics) {
                reached(Mark::LeadershipShed);
                tracing::warn!(successor, "no room on the disk: giving the leadership away");
                let _ = inner.raft.trigger().transfer_leader(successor).await;
            }
        }
    }
}
