//! Who leads, when this node may, and what it does about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kontiki_hooks::{Defect, Mark, planted, reached};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Node;
use crate::space::Room;
use crate::state::Progress;
use crate::types::{Raft, Types};
use crate::wire::MemberInfo;

/// How often the house is kept.
const TICK: Duration = Duration::from_millis(100);
/// A leader that is to hand over tries so often, as long as nobody took over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this node is in.
    pub term: u64,
    /// Its leader, as far as this node knows.
    pub leader: Option<MemberInfo>,
    /// This node leads the term and is not handing over, and its state holds everything that was committed before: it may decide.
    pub leading: bool,
}

struct Shared {
    sender: watch::Sender<Leadership>,
    may_lead: AtomicBool,
    handed_over: watch::Sender<HandedOver>,
}

/// The newest term in which this node was told to hand over, and when it was told last.
struct HandedOver {
    term: u64,
    at: Instant,
}

/// The leadership for those who watch it.
#[derive(Clone)]
pub(crate) struct LeadershipWatch(Arc<Shared>);

impl LeadershipWatch {
    pub(super) fn new() -> LeadershipWatch {
        let sender = watch::Sender::new(Leadership::default());
        let handed_over = watch::Sender::new(HandedOver { term: 0, at: Instant::now() });
        LeadershipWatch(Arc::new(Shared { sender, may_lead: AtomicBool::new(true), handed_over }))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Leadership> {
        self.0.sender.subscribe()
    }

    pub(crate) fn now(&self) -> Leadership {
        self.0.sender.borrow().clone()
    }

    /// From here on this node leads that term no more, as far as anybody here is told. The consensus takes no proposals in it and sends
    /// no heartbeats; if whoever should take over never hears of it, the others miss the leader and elect one, unless it goes on
    /// asking them whether they follow it.
    fn hand_over(&self, term: u64) {
        self.0.handed_over.send_if_modified(|newest| {
            let newer = term > newest.term;
            *newest = HandedOver { term: term.max(newest.term), at: Instant::now() };
            newer
        });
    }

    /// How long ago it was told to hand over in that term, if it was.
    fn handed_over_since(&self, term: u64) -> Option<Duration> {
        let told = self.0.handed_over.borrow();
        (told.term == term).then(|| told.at.elapsed())
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
    let mut handed_over = leadership.0.handed_over.subscribe();
    loop {
        let now = metrics.borrow_watched().clone();
        let term = now.vote.leader_id().term;
        let leader = now
            .current_leader
            .and_then(|id| now.membership_config.get_node(&id).map(|seat| MemberInfo::new(id, seat)));
        // A leader's first entry is of its own term, and follows all that was committed before.
        let caught_up = applied.borrow_and_update().is_some_and(|last| last.term == term);
        let hands_over = handed_over.borrow_and_update().term == term && !planted(Defect::HandedOverLeadsOn);
        let leads = now.state == ServerState::Leader && !hands_over;
        let leading = leads && now.current_leader == Some(now.id) && caught_up;
        let next = Leadership { term, leader, leading };
        leadership.0.sender.send_if_modified(|current| {
            let changed = *current != next;
            if changed {
                *current = next;
            }
            changed
        });
        let waits_for_fold = leads && !leading;
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                leadership.0.sender.send_modify(|current| (current.leader, current.leading) = (None, false));
                return;
            },
            _ = applied.changed(), if waits_for_fold => {}
            _ = handed_over.changed(), if leads => {}
        }
    }
}

/// The slow rounds: notices that the consensus died, takes snapshots by size, hands the leadership over when the disk is full, and
/// again where that did not get through.
pub(super) async fn keep_house(node: Node) {
    let inner = &node.inner;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bytes_at_snapshot = 0;
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
        // Whoever was told first gets its time.
        let told = inner.leadership.handed_over_since(metrics.current_term);
        let again = told.is_some_and(|since| since >= HAND_OVER_EVERY) && !planted(Defect::HandedOverLeadsOn);
        let due = again || (told.is_none() && !may_lead);
        if leads
            && due
            && let Some(successor) = node.successor(&metrics)
        {
            if !may_lead {
                reached(Mark::LeadershipShed);
                tracing::warn!(successor, "no room on the disk: giving the leadership away");
            }
            let _ = node.hand_over(successor).await;
        }
    }
}

impl Node {
    /// Tells the consensus to hand the leadership to this voter, and everybody here that this node leads no more.
    pub(super) async fn hand_over(&self, to: u64) -> Result<(), Fatal<Types>> {
        let (raft, leadership) = (&self.inner.raft, &self.inner.leadership);
        raft.trigger().transfer_leader(to).await?;
        // It answers in order: the term in which it was told, whatever the metrics said before.
        leadership.hand_over(raft.with_raft_state(|state| state.vote_ref().leader_id().term).await?);
        Ok(())
    }
}
