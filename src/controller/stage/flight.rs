//! What is on its way: entries, and confirmations of answers that changed nothing. Answers are given in order: none before
//! everything that it was decided on is committed and folded.

use std::{collections::VecDeque, time::Duration};

use kontiki_actors::{Outcome, RequestId};
use kontiki_raft::ProposeError;
use tokio::{sync::oneshot, time::Instant};

use super::{Answer, StageError};

/// What may be on its way at once.
const MOST: usize = 8;
/// Where the oldest takes longer than this, something has more to do than it can, or a network is slow. More at once would arrive no sooner, and
/// who asks next would wait for all of them.
const SLOW: Duration = Duration::from_millis(150);
/// What may be on its way then: one that is decided, one that is agreed on, one that is folded.
const MOST_SLOW: usize = 3;

/// Who waits, and what for.
pub(super) struct Reply {
    pub(super) sender: oneshot::Sender<Answer>,
    pub(super) outcome: Outcome,
    /// The request, if its answer is noted outside of the log: whether it was told matters then.
    pub(super) unlogged: Option<RequestId>,
}

/// What is told when something has arrived.
pub(super) type Replies = Vec<Reply>;

/// What came of it that something arrived, or did not.
#[derive(Default)]
pub(super) struct Landing {
    /// The term of an entry that failed.
    pub(super) failed: Option<u64>,
    /// Requests whose unlogged answers were told.
    pub(super) told: Vec<RequestId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry.
    Entry,
    /// A question whether this controller still leads.
    Confirmation,
}

struct Flight {
    id: u64,
    since: Instant,
    term: u64,
    kind: Kind,
    replies: Replies,
    result: Option<Result<(), ProposeError>>,
}

/// Everything that is on its way, the oldest first.
#[derive(Default)]
pub(super) struct Flights {
    queue: VecDeque<Flight>,
    next: u64,
    /// The newest term in which an entry failed: what was decided after it was decided on a state that never came true.
    failed: Option<u64>,
}

impl Flights {
    /// Whether more may set out now.
    pub(super) fn have_room(&self, now: Instant) -> bool {
        let slow =
            self.queue.front().is_some_and(|oldest| now.saturating_duration_since(oldest.since) >= SLOW);
        self.queue.len() < if slow { MOST_SLOW } else { MOST }
    }

    /// Whether something of this term is on its way.
    pub(super) fn any_of(&self, term: u64) -> bool {
        self.queue.iter().any(|flight| flight.term == term)
    }

    /// A new term begins, or an old one begins again, from the folded state.
    pub(super) fn begin(&mut self) {
        self.failed = None;
    }

    /// Something sets out.
    pub(super) fn add(&mut self, term: u64, kind: Kind, replies: Replies) -> u64 {
        let id = self.next;
        self.next += 1;
        self.queue.push_back(Flight { id, since: Instant::now(), term, kind, replies, result: None });
        id
    }

    /// Something arrived, or did not. Gives the answers that are due.
    pub(super) fn settled(&mut self, id: u64, result: Result<(), ProposeError>) -> Landing {
        if let Some(flight) = self.queue.iter_mut().find(|flight| flight.id == id) {
            flight.result = Some(result);
        }
        let mut landing = Landing::default();
        while self.queue.front().is_some_and(|flight| flight.result.is_some()) {
            let Some(Flight { term, kind, replies, result: Some(mut result), .. }) = self.queue.pop_front()
            else {
                break;
            };
            if kind == Kind::Confirmation && self.failed == Some(term) {
                result = Err(ProposeError::NotLeader { leader: None });
            }
            if let (Kind::Entry, Err(error)) = (kind, &result) {
                tracing::warn!(%error, term, "an entry was not committed");
                (self.failed, landing.failed) = (Some(term), Some(term));
            }
            landing.told.extend(answer(replies, result));
        }
        landing
    }
}

/// Answers. Returns whose unlogged answers were told.
fn answer(replies: Replies, result: Result<(), ProposeError>) -> Vec<RequestId> {
    let error = result.err().map(|error| stage_error(&error));
    let mut told = Vec::new();
    for Reply { sender, outcome, unlogged } in replies {
        if error.is_none() {
            told.extend(unlogged);
        }
        // Who went away needs no answer.
        let _ = sender.send(error.clone().map_or(Ok(outcome), Err));
    }
    told
}

/// What a caller is told.
pub(super) fn stage_error(error: &ProposeError) -> StageError {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::Shutdown => StageError::NotLeader,
        ProposeError::Busy => StageError::Overloaded,
        ProposeError::StorageFull => StageError::StorageFull(error.to_string()),
        ProposeError::TooLarge { .. } => StageError::TooLarge(error.to_string()),
        ProposeError::Unknown => StageError::Unknown,
    }
}
