//! What stored records say, for those who look at a disk from outside: simulations and tools.

use bytes::Bytes;

use crate::envelope;
use crate::fold::LogPosition;
use crate::types::{EntryPayload, LogId, term_of};

fn position(id: &LogId) -> LogPosition {
    LogPosition { term: term_of(id), index: id.index }
}

/// The place of a stored log entry; none if it does not verify.
pub fn entry_position(stored: Bytes) -> Option<LogPosition> {
    envelope::open_entry(stored).ok().map(|entry| position(&entry.log_id))
}

/// What a stored log entry carries for the fold; none for the consensus' own, and for one that does not verify.
pub fn entry_payload(stored: Bytes) -> Option<Bytes> {
    match envelope::open_entry(stored).ok()?.payload {
        EntryPayload::Normal(payload) => Some(payload.0),
        _ => None,
    }
}

/// The term of a stored vote; none if it does not verify.
pub fn vote_term(stored: Bytes) -> Option<u64> {
    envelope::open_vote(stored).ok().map(|vote| vote.leader_id().term)
}

/// A stored position; none if it does not verify.
pub fn stored_position(stored: Bytes) -> Option<LogPosition> {
    envelope::open_position(stored).ok().as_ref().map(position)
}
