//! Proposing: the caller's order is the log's order, and many proposals are on their way at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot};

use super::Node;
use crate::fold::LogPosition;
use crate::space::Room;
use crate::types::{Answer, Payload, Raft, Types, leader_of_term, term_of};
use crate::wire::MemberInfo;

/// Proposals taken from the queue at once.
const BATCH: usize = 256;

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
    done: oneshot::Sender<ClientWriteResult<Types>>,
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
    Pending(oneshot::Receiver<ClientWriteResult<Types>>),
}

fn not_leader(forward: ForwardToLeader<Types>) -> ProposeError {
    let leader = forward.leader_id.zip(forward.leader_node);
    ProposeError::NotLeader { leader: leader.map(|(id, seat)| MemberInfo::new(id, &seat)) }
}

impl Future for Proposal {
    type Output = Result<LogPosition, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pending = match &mut self.state {
            State::Refused(error) => return Poll::Ready(Err(error.take().unwrap_or(ProposeError::Unknown))),
            State::Pending(pending) => pending,
        };
        Pin::new(pending).poll(context).map(|answer| match answer {
            Ok(Ok(response)) => {
                Ok(LogPosition { term: term_of(&response.log_id), index: response.log_id.index })
            }
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Err(not_leader(forward)),
            // Dropped without an answer: the consensus stopped with it in hand.
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        })
    }
}

impl Node {
    /// Proposes a payload as the leader of `term`. Returns at once: proposals of one caller enter the log in the order of its calls.
    /// Refused unless this node still leads that very term when the log takes it. The future resolves when the payload is folded here.
    pub fn propose(&self, payload: Bytes, term: u64) -> Proposal {
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
        match inner.proposals.try_send(Request { payload, term, done }) {
            Ok(()) => Proposal { state: State::Pending(pending) },
            Err(mpsc::error::TrySendError::Full(_)) => refused(ProposeError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => refused(ProposeError::Shutdown),
        }
    }
}

/// Takes the queued proposals to the consensus, in order.
pub(super) async fn feed(raft: Raft, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        for Request { payload, term, done } in batch.drain(..) {
            let write =
                raft.write(Payload(payload)).with_leader(leader_of_term(term)).responder(Answer(done));
            if write.await.is_err() {
                // The consensus stopped; whoever waits learns it from the dropped answer.
                return;
            }
        }
    }
}
