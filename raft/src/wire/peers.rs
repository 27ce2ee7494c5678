//! The channels to the other controllers, one per peer and purpose, kept across openraft's many clients.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::raft as proto;
use kontiki_proto::raft::raft_client::RaftClient;
use openraft::network::RaftNetworkFactory;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

use super::link::Link;
use super::{Local, MESSAGE_BYTES, MemberInfo, PeerDialer, Purpose, form};
use crate::types::{Seat, Types, Vote};

/// Questions to one voter on their way at once: one that does not answer is not asked more and more.
const QUESTIONS: usize = 8;

/// A channel, and the address it was dialled to.
type Dialled = (String, Channel);

/// Reaches the other controllers.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(super) local: Arc<Local>,
    dialer: Arc<dyn PeerDialer>,
    channels: Arc<Mutex<HashMap<(u64, Purpose), Dialled>>>,
    questions: Arc<Mutex<HashMap<u64, Arc<Semaphore>>>>,
}

impl Peers {
    pub(crate) fn new(local: Arc<Local>, dialer: Arc<dyn PeerDialer>) -> Peers {
        Peers { local, dialer, channels: Arc::default(), questions: Arc::default() }
    }

    /// A client on the peer's channel for this purpose; dialled anew when the peer moved.
    pub(crate) fn client(&self, peer: &MemberInfo, purpose: Purpose) -> RaftClient<Channel> {
        let mut channels = self.channels.lock();
        let (address, channel) = channels
            .entry((peer.id, purpose))
            .or_insert_with(|| (peer.address.clone(), self.dialer.channel(peer, purpose)));
        if *address != peer.address {
            (*address, *channel) = (peer.address.clone(), self.dialer.channel(peer, purpose));
        }
        RaftClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// The words that open every request to this peer.
    pub(crate) fn route(&self, to: u64) -> proto::Route {
        proto::Route { cluster: self.local.cluster.clone(), from: self.local.id, to }
    }

    /// Asks the peer for the index a linearizable read must have seen.
    pub(crate) async fn read_index(
        &self,
        leader: &MemberInfo,
        deadline: Duration,
    ) -> Result<Option<u64>, tonic::Status> {
        let mut client = self.client(leader, Purpose::Vote);
        let mut request = tonic::Request::new(proto::ReadIndexRequest { route: Some(self.route(leader.id)) });
        request.set_timeout(deadline);
        let answer = tokio::time::timeout(deadline, client.read_index(request))
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("the leader did not answer in time"))?;
        Ok(answer?.into_inner().index)
    }

    /// Asks a voter whether it follows the leader of this vote, by a heartbeat that says nothing else. It is answered by the peer's
    /// consensus, and is this question's own answer.
    pub(crate) fn follows(
        &self,
        peer: &MemberInfo,
        vote: Vote,
    ) -> impl Future<Output = Result<bool, tonic::Status>> + Send + use<> {
        let questions = self
            .questions
            .lock()
            .entry(peer.id)
            .or_insert_with(|| Arc::new(Semaphore::new(QUESTIONS)))
            .clone();
        let permit = questions.try_acquire_owned();
        let mut client = self.client(peer, Purpose::Heartbeat);
        let ask = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let message = form::append_out(&ask, Some(self.route(peer.id)));
        let ttl = self.local.heartbeat_ttl;
        async move {
            let permit = permit.map_err(|_| tonic::Status::resource_exhausted("questions pile up"))?;
            // It goes on when a majority has answered without it: a connection on which many are taken back is closed by the peer.
            let asked = crate::scope::spawn(async move {
                let _permit = permit;
                let mut request = tonic::Request::new(message);
                request.set_timeout(ttl);
                let answer = tokio::time::timeout(ttl, client.heartbeat(request)).await;
                let answer = answer.map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))??;
                form::appended_in(answer.into_inner())
            });
            match asked.await.map_err(|error| tonic::Status::internal(error.to_string()))?? {
                Ok(_) | Err(StreamAppendError::Conflict(_)) => Ok(true),
                Err(StreamAppendError::HigherVote(_)) => Ok(false),
            }
        }
    }

    fn link(&self, target: u64, seat: &Seat, append: Purpose) -> Link {
        Link::new(self.clone(), MemberInfo::new(target, seat), append)
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Seat) -> Link {
        self.link(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Seat) -> Link {
        self.link(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Seat) -> Link {
        self.link(target, node, Purpose::Snapshot)
    }
}
