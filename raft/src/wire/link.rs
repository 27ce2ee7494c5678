//! One peer as openraft calls it. All that fails to reach the peer is `Unreachable`, which backs off, so that a dead peer
//! is not called in a tight loop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use kontiki_proto::raft::raft_client::RaftClient;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::{MemberInfo, Peers, Purpose, append, form, send};
use crate::state::SnapshotData;
use crate::types::{RpcError, Snapshot, Types, Vote};

/// How long to wait before calling an unreachable peer again: short, for it may just be restarting.
const BACKOFF_MS: [u64; 5] = [10, 25, 50, 100, 200];
/// Heartbeats on their way at once.
const HEARTBEATS: usize = 4;

pub(super) type StreamAnswers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>;

/// A peer, for one of openraft's tasks.
pub(crate) struct Link {
    peers: Peers,
    peer: MemberInfo,
    append: Purpose,
    heartbeats: Arc<Semaphore>,
}

/// What openraft makes of a failed call.
pub(super) fn unreachable(peer: &MemberInfo, status: &Status) -> RpcError {
    let text =
        format!("controller {} at {}: {:?}: {}", peer.id, peer.address, status.code(), status.message());
    RpcError::Unreachable(Unreachable::from_string(text))
}

impl Link {
    pub(super) fn new(peers: Peers, peer: MemberInfo, append: Purpose) -> Link {
        Link { peers, peer, append, heartbeats: Arc::new(Semaphore::new(HEARTBEATS)) }
    }

    fn failed(&self, status: &Status) -> RpcError {
        unreachable(&self.peer, status)
    }

    /// One call on the channel for votes, bounded here and at the peer.
    async fn call<Q, A, F>(
        &self,
        message: Q,
        deadline: Duration,
        method: impl FnOnce(RaftClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, RpcError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        let call = method(self.peers.client(&self.peer, Purpose::Vote), request);
        let answer = tokio::time::timeout(deadline, call).await;
        let answer = answer.map_err(|_| self.failed(&Status::deadline_exceeded("no answer in time")))?;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// A heartbeat goes on in the background when openraft stops waiting for it: the follower then still learns that
    /// its leader lives.
    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<StreamAppendResult<Types>, RpcError> {
        let permit = self.heartbeats.clone().try_acquire_owned();
        let permit = permit.map_err(|_| self.failed(&Status::resource_exhausted("heartbeats pile up")))?;
        let mut client = self.peers.client(&self.peer, Purpose::Heartbeat);
        let message = form::append_out(&request, Some(self.peers.route(self.peer.id)));
        let ttl = self.peers.local.heartbeat_ttl;
        let call = crate::scope::spawn(async move {
            let _permit = permit;
            let mut request = Request::new(message);
            request.set_timeout(ttl);
            match tokio::time::timeout(ttl, client.heartbeat(request)).await {
                Ok(answer) => form::appended_in(answer?.into_inner()),
                Err(_) => Err(Status::deadline_exceeded("no answer to a heartbeat")),
            }
        });
        let answer = call.await.map_err(|error| self.failed(&Status::internal(error.to_string())))?;
        answer.map_err(|status| self.failed(&status))
    }
}

impl NetBackoff<Types> for Link {
    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF_MS[BACKOFF_MS.len() - 1];
        let steps = BACKOFF_MS.into_iter().chain(std::iter::repeat(last));
        Some(Backoff::new(steps.map(Duration::from_millis)))
    }
}

impl NetStreamAppend<Types> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<StreamAnswers<'s>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.append == Purpose::Heartbeat {
            let answers = async move {
                let Some(request) = input.next().await else { return Ok(Box::pin(stream::empty()) as _) };
                let answer = self.heartbeat(request).await?;
                Ok(Box::pin(stream::iter([Ok(answer)])) as StreamAnswers<'s>)
            };
            return Box::pin(answers);
        }
        let client = self.peers.client(&self.peer, self.append);
        let route = self.peers.route(self.peer.id);
        Box::pin(append::stream(client, self.peer.clone(), route, input, self.peers.local.append_ttl))
    }
}

impl NetVote<Types> for Link {
    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let message = form::ballot_out(&request, self.peers.route(self.peer.id));
        let call = |mut client: RaftClient<Channel>, request| async move { client.vote(request).await };
        let answer = self.call(message, option.hard_ttl(), call).await?;
        form::voted_in(answer).map_err(|status| self.failed(&status))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let message = form::ballot_out(&request, self.peers.route(self.peer.id));
        let call = |mut client: RaftClient<Channel>, request| async move { client.pre_vote(request).await };
        let answer = self.call(message, option.hard_ttl(), call).await?;
        form::voted_in(answer).map_err(|status| self.failed(&status))
    }
}

impl NetTransferLeader<Types> for Link {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let message = form::transfer_out(&request, self.peers.route(self.peer.id));
        let call =
            |mut client: RaftClient<Channel>, request| async move { client.transfer_leader(request).await };
        let answer = self.call(message, option.hard_ttl(), call).await?;
        form::transferred_in(answer).map_err(|status| self.failed(&status))
    }
}

impl NetSnapshot<Types> for Link {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = send::snapshot(&self.peers, &self.peer, vote, snapshot, option.hard_ttl());
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent,
        }
    }
}
