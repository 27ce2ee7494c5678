//! The entry: what one Raft log entry carries. The inputs of one or more turns, with the leader's clock and seed, and
//! the changes they decided. Folding needs the changes only; the inputs can be decided again by another build.

use kontiki_hooks::{Defect, planted};
use serde::{Deserialize, Serialize};

use crate::{
    change::Change,
    codec::{self, CodecError},
    input::{Input, Outcome, RequestId},
};

/// One log entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's term when it decided; folded only if the entry was committed in that term.
    pub term: u64,
    /// The turns, in order.
    pub turns: Vec<Turned>,
}

/// One turn: what it was told and what it decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turned {
    /// The request that it answers: a retry with this id is answered, not done again.
    pub request: Option<RequestId>,
    /// The leader's clock, Unix milliseconds.
    pub now_ms: i64,
    /// The seed of ids and names.
    pub seed: u64,
    /// What it was told; documents that stand in the changes are left out.
    pub input: Input,
    /// What it decided.
    pub changes: Vec<Change>,
    /// What it answers.
    pub outcome: Outcome,
    /// W3C trace context of the request, so that a trace goes on where the entry is folded.
    pub trace: Option<String>,
}

impl Entry {
    /// Whether it counts, committed in this term. One that was decided in another was decided on a state that is not the
    /// log's, and changes nothing.
    pub fn counts_in(&self, committed_term: u64) -> bool {
        self.term == committed_term || planted(Defect::FoldForeignTerm)
    }

    /// As bytes for the log.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// From the log's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Entry, CodecError> {
        codec::decode(bytes)
    }
}
