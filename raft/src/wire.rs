//! Between controllers: how the consensus travels. Each peer has a connection per purpose, so that a snapshot never holds up
//! a heartbeat; every call has a deadline; every request says who asks whom in which cluster, and is refused if the receiver
//! or the caller's certificate disagrees.

mod append;
mod form;
mod link;
mod peers;
mod presence;
mod receive;
mod send;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;

use crate::types::Seat;
pub(crate) use peers::Peers;
pub(crate) use presence::{LostLeader, watch_leader};
pub(crate) use service::Service;

/// No message is larger.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;

/// The tonic service to mount on the process's port.
pub type RaftService = kontiki_proto::raft::raft_server::RaftServer<Service>;

/// A controller as the membership knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its number, never used again for another controller.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its failure domain; empty if unknown.
    pub zone: String,
    /// `host:port` where the others reach it.
    pub address: String,
}

impl MemberInfo {
    pub(crate) fn new(id: u64, seat: &Seat) -> MemberInfo {
        let Seat { name, zone, address } = seat.clone();
        MemberInfo { id, name, zone, address }
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat { name: self.name.clone(), zone: self.zone.clone(), address: self.address.clone() }
    }
}

/// What a connection is for. Each has its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Log entries.
    Append,
    /// Heartbeats.
    Heartbeat,
    /// Votes, transfers and read positions.
    Vote,
    /// Snapshots.
    Snapshot,
    /// Noticing that the leader is gone.
    Presence,
}

/// Dials other controllers. Production dials with TLS and verifies that the peer is the controller with this id.
pub trait PeerDialer: Send + Sync + 'static {
    /// A channel that connects on its first use and again after a break. The caller keeps it.
    fn channel(&self, peer: &MemberInfo, purpose: Purpose) -> Channel;
}

/// Who is at the other end of a request, by its verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The cluster whose authority vouches for it.
    pub cluster: String,
    /// The controller's number; nothing else may speak here.
    pub controller: Option<u64>,
    /// Its name, for messages.
    pub name: String,
}

/// Reads the caller's identity from a request; none for an anonymous caller, which is refused.
pub type CallerOf = Arc<dyn Fn(&http::Extensions) -> Option<Caller> + Send + Sync>;

/// Who this controller is, and how long it waits.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) cluster: String,
    pub(crate) id: u64,
    /// An append stream whose oldest request waits longer is torn down.
    pub(crate) append_ttl: Duration,
    /// A heartbeat is given up after this.
    pub(crate) heartbeat_ttl: Duration,
    /// A snapshot that makes no progress for this long is given up.
    pub(crate) snapshot_stall: Duration,
}
