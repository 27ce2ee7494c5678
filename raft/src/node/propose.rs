//! Proposing: the caller's order is the log's order, and many proposals are on their way at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use kontiki_hooks::{Mark, reached};
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Node, Timings};
use crate::fold::LogPosition;
use crate::space::Room;
use crate::types::{Answer, Payload, Raft, Types, leader_of_term, term_of};
use crate::wire::MemberInfo;

/// Why a proposal has no position in the log. Only `Unknown` may still get one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead the term that was named. The proposal was not taken.
    #[error("this controller does not lead the term; the leader is {}", leader.as_ref().map_or("not known", |leader| &leader.name))]
    NotLeader {
        /// Who may lead instead.
        leader: Option<MemberInfo>,
    },
    /// The leadership was lost while it was on its way: it is committed or will never be, nobody here knows which.
    #[error(
        "the leadership was lost before the proposal was known to be committed: read before trying again"
    )]
    Unknown,
    /// Larger than a log entry may be. It was not taken.
    #[error("the proposal has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// The disk is nearly full. It was not taken.
    #[error("the controller's disk is nearly full: free some space")]
    StorageFull,
    /// Too many proposals are waiting. It was not taken.
    #[error("too many proposals are waiting: try again")]
    Busy,
    /// The node stops. It was not taken.
    #[error("the controller is shutting down")]
    Shutdown,
}

pub(super) struct Request {
    payload: Bytes,
    term: u64,
    /// How often the proposer had begun again, if it was decided on those before it.
    epoch: Option<u64>,
    done: oneshot::Sender<Handed>,
}

/// What the consensus said of a proposal when it looked at it.
#[derive(Debug)]
enum Handed {
    /// Refused, or done already.
    Settled(ClientWriteResult<Types>),
    /// It is in the log; what becomes of it comes here.
    Taken(oneshot::Receiver<ClientWriteResult<Types>>),
}

/// The outcome of a proposal. It goes on when this is dropped.
#[derive(Debug)]
#[must_use = "it tells whether the proposal is committed"]
pub struct Proposal {
    state: State,
}

#[derive(Debug)]
enum State {
    Refused(Option<ProposeError>),
    Queued(oneshot::Receiver<Handed>),
    Taken(oneshot::Receiver<ClientWriteResult<Types>>),
}

fn not_leader(forward: ForwardToLeader<Types>) -> ProposeError {
    let leader = forward.leader_id.zip(forward.leader_node);
    ProposeError::NotLeader { leader: leader.map(|(id, seat)| MemberInfo::new(id, &seat)) }
}

impl Future for Proposal {
    type Output = Result<LogPosition, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                State::Refused(error) => {
                    return Poll::Ready(Err(error.take().unwrap_or(ProposeError::Unknown)));
                }
                State::Queued(queued) => match ready!(Pin::new(queued).poll(context)) {
                    Ok(Handed::Settled(result)) => return Poll::Ready(outcome(result)),
                    Ok(Handed::Taken(taken)) => self.state = State::Taken(taken),
                    Err(_) => return Poll::Ready(Err(ProposeError::Unknown)),
                },
                State::Taken(taken) => {
                    let answer = ready!(Pin::new(taken).poll(context));
                    // Dropped without an answer: the consensus stopped with it in hand.
                    return Poll::Ready(answer.map_or(Err(ProposeError::Unknown), outcome));
                }
            }
        }
    }
}

fn outcome(result: ClientWriteResult<Types>) -> Result<LogPosition, ProposeError> {
    match result {
        Ok(response) => Ok(LogPosition { term: term_of(&response.log_id), index: response.log_id.index }),
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(not_leader(forward)),
        Err(_) => Err(ProposeError::Unknown),
    }
}

impl Node {
    /// Proposes a payload as the leader of `term`. Returns at once: proposals of one caller enter the log in the order of its calls.
    /// Refused unless this node still leads that very term when the log takes it. The future resolves when the payload is folded here.
    pub fn propose(&self, payload: Bytes, term: u64) -> Proposal {
        self.queue(payload, term, None)
    }

    /// The same for a payload that was decided on those before it. Once one is refused, all later ones of that term are, too, until
    /// [`Node::begin_again`]: a leader that loses its majority for a moment and stays the leader of its term would else take a
    /// proposal without those on which it was decided.
    pub fn propose_next(&self, payload: Bytes, term: u64) -> Proposal {
        self.queue(payload, term, Some(self.inner.epoch.load(Ordering::Acquire)))
    }

    fn queue(&self, payload: Bytes, term: u64, epoch: Option<u64>) -> Proposal {
        let inner = &self.inner;
        let refused = |error| Proposal { state: State::Refused(Some(error)) };
        let (bytes, limit) = (payload.len(), inner.limits.payload_bytes);
        if bytes > limit {
            return refused(ProposeError::TooLarge { bytes, limit });
        }
        if inner.space.room() != Room::Ample {
            return refused(ProposeError::StorageFull);
        }
        let (done, pending) = oneshot::channel();
        match inner.proposals.try_send(Request { payload, term, epoch, done }) {
            Ok(()) => Proposal { state: State::Queued(pending) },
            Err(mpsc::error::TrySendError::Full(_)) => refused(ProposeError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => refused(ProposeError::Shutdown),
        }
    }

    /// The proposer knows what was refused and has nothing on its way: from now on its proposals are taken again.
    pub fn begin_again(&self) {
        self.inner.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// Takes the queued proposals to the consensus, in order. One that was decided on those before it goes only after the consensus has
/// looked at them: it refuses while its lease has run out, and takes again in the same term when a majority answers. Where answers
/// are only late, as on a machine that has too much to do, that is soon: proposals wait for it for so long as `patience`, since to
/// refuse them makes all who wait begin again, and that is more to do.
pub(super) async fn feed(raft: Raft, mut requests: mpsc::Receiver<Request>, timings: Timings) {
    let mut refused = None;
    let mut lease = Lease { patience: timings.election_max * LATE, pause: timings.heartbeat / 4, lost: None };
    while let Some(Request { payload, term, epoch, done }) = requests.recv().await {
        let chain = epoch.map(|epoch| (term, epoch));
        if chain.is_some() && refused == chain {
            reached(Mark::ProposalRefusedInChain);
            let gap = ClientWriteError::ForwardToLeader(ForwardToLeader::empty());
            let _ = done.send(Handed::Settled(Err(gap)));
            continue;
        }
        let handed = loop {
            let (answer, mut result) = oneshot::channel();
            let write = raft
                .write(Payload(payload.clone()))
                .with_leader(leader_of_term(term))
                .responder(Answer(answer));
            // It answers in order: when it answers the second, it has looked at the first.
            if write.await.is_err() || (chain.is_some() && raft.with_raft_state(|_| ()).await.is_err()) {
                // The consensus stopped; whoever waits learns it from the dropped answer.
                return;
            }
            match result.try_recv() {
                Ok(Err(error)) if lease.waits(&error, term).await => {}
                Ok(result) => {
                    if result.is_err() {
                        refused = chain;
                    }
                    break Handed::Settled(result);
                }
                Err(_) => {
                    lease.lost = None;
                    break Handed::Taken(result);
                }
            }
        };
        // Nobody may be waiting any more.
        let _ = done.send(handed);
    }
}

/// How long answers of a majority may be late before proposals are refused for it, in longest election timeouts. As long as openraft
/// itself believes in a leader without them (`quorum_loss_probe_interval`).
pub(super) const LATE: u32 = 4;

/// The leader's lease, as far as it was seen to have run out.
struct Lease {
    patience: Duration,
    pause: Duration,
    /// Since when all proposals of this term were refused for it.
    lost: Option<(u64, Instant)>,
}

impl Lease {
    /// Whether the proposal that was refused with this error is to be tried again, after a pause.
    async fn waits(&mut self, error: &ClientWriteError<Types>, term: u64) -> bool {
        let late = matches!(error, ClientWriteError::ForwardToLeader(forward)
            if forward.reason == ForwardReason::LeaseExpired);
        if !late {
            self.lost = None;
            return false;
        }
        let (_, since) =
            *self.lost.insert(self.lost.filter(|(of, _)| *of == term).unwrap_or((term, Instant::now())));
        // Who was refused for it already does not make the next one wait as long again.
        if since.elapsed() >= self.patience {
            return false;
        }
        reached(Mark::ProposalWaitedForLease);
        tokio::time::sleep(self.pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proposal_waits_for_a_late_majority_but_not_for_ever_nor_for_another_leader() {
        let patience = Duration::from_millis(20);
        let mut lease = Lease { patience, pause: Duration::from_millis(1), lost: None };
        let refused = |reason| {
            let mut forward = ForwardToLeader::empty();
            forward.reason = reason;
            ClientWriteError::ForwardToLeader(forward)
        };
        let late = refused(ForwardReason::LeaseExpired);
        assert!(!lease.waits(&refused(ForwardReason::NotLeader), 1).await);
        assert!(!lease.waits(&refused(ForwardReason::LeadershipTransfer), 1).await);
        let began = Instant::now();
        while lease.waits(&late, 1).await {}
        assert!(began.elapsed() >= patience);
        assert!(!lease.waits(&late, 1).await, "nor does the next one wait as long again");
        assert!(lease.waits(&late, 2).await, "another reign is another matter");
    }
}
