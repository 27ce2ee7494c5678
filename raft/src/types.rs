//! The types that openraft is instantiated with, and their short names. Nothing of openraft leaves this crate.

use std::fmt;

use bytes::Bytes;
use openraft::raft::responder::Responder;
use openraft::type_config::alias;
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};

/// Node ids are plain numbers, a term has at most one leader, an entry's payload is opaque, applying answers nothing: what an
/// entry means is the fold's business.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Types;

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

impl RaftTypeConfig for Types {
    type D = Payload;
    type R = ();
    type NodeId = u64;
    type Node = Seat;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = openraft::impls::Vote<LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, Seat>;
    type Entry = openraft::Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type EntryPayload = alias::PayloadOf<Types>;
pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, Seat>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = alias::SnapshotOf<Types, crate::state::SnapshotData>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type Raft = openraft::Raft<Types, crate::state::StateMachine>;
pub(crate) type RpcError = openraft::errors::RPCError<Types>;

/// A log id from its two numbers.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(leader_of_term(term), index)
}

/// The identity of the one leader that a term can have.
pub(crate) fn leader_of_term(term: u64) -> CommittedLeaderId {
    use openraft::vote::RaftLeaderId;
    LeaderId::new(term, 0).to_committed()
}

/// The term a log id was written in.
pub(crate) fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}

/// What a log entry carries for the fold. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A member's place in the cluster, as the replicated membership stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) address: String,
}

/// Hands a write's outcome to who waits for it; nobody may be waiting any more.
pub(crate) struct Answer<T>(pub(crate) tokio::sync::oneshot::Sender<T>);

impl<T: OptionalSend + 'static> Responder<Types, T> for Answer<T> {
    fn on_complete(self, result: T) {
        let _ = self.0.send(result);
    }
}
