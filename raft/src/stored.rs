//! What stored records say, for those who look at a disk from outside: simulations and tools.

use bytes::Bytes;

use crate::envelope;
use crate::fold::LogPosition;
use crate::types::{LogId, term_of};

fn position(id: &LogId) -> LogPosition {
    LogPosition { term: term_of(id), index: id.index }
}

/// The place of a stored log entry; none if it does not verify.
pub fn entry_position(stored: Bytes) -> Option<LogPosition> {
    envelope::open_entry(stored).ok().map(|entry| position(&entry.log_id))
}

/// A stored position; none if it does not verify.
pub fn stored_position(stored: Bytes) -> Option<LogPosition> {
    envelope::open_position(stored).ok().as_ref().map(position)
}
