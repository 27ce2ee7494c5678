//! What the other controllers call here. Each call first shows who calls whom in which cluster.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kontiki_proto::raft as proto;
use kontiki_proto::raft::raft_server;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::presence::{self, LostLeader};
use super::{CallerOf, Local, form, receive};
use crate::node::{LeadershipWatch, Reign};
use crate::scope::Scope;
use crate::state::StateDirectory;
use crate::types::Raft;

/// Decoded append requests that wait for the consensus, per stream.
const APPEND_QUEUE: usize = 16;
/// A read position is found within this time or not at all.
const READ_DEADLINE: Duration = Duration::from_secs(1);
/// The same refusal is logged once in this time.
const LOG_REFUSAL_EVERY: Duration = Duration::from_secs(10);

/// Answers the other controllers.
#[derive(Clone)]
pub struct Service {
    pub(super) raft: Raft,
    pub(super) local: Arc<Local>,
    pub(super) directory: Arc<StateDirectory>,
    pub(super) lost: LostLeader,
    /// One snapshot comes in at a time.
    pub(super) receiving: Arc<Semaphore>,
    leadership: LeadershipWatch,
    reign: Reign,
    caller_of: CallerOf,
    /// Requests come in on tasks of the server, which are in no scope.
    scope: Option<Scope>,
    refusals: Arc<Mutex<HashMap<u64, Instant>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the consensus of this controller has stopped: {error}"))
}

impl Service {
    pub(crate) fn new(
        raft: Raft,
        local: Arc<Local>,
        directory: Arc<StateDirectory>,
        lost: LostLeader,
        leadership: LeadershipWatch,
        reign: Reign,
        caller_of: CallerOf,
    ) -> Service {
        let receiving = Arc::new(Semaphore::new(1));
        let (scope, refusals) = (Scope::current(), Arc::default());
        Service { raft, local, directory, lost, receiving, leadership, reign, caller_of, scope, refusals }
    }

    /// Spawns a task where the node's tasks are.
    pub(super) fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match &self.scope {
            Some(scope) => scope.spawn(task),
            None => tokio::spawn(task),
        }
    }

    /// Refuses whoever is not the controller that it says it is, or means another one than this.
    pub(super) fn admit(
        &self,
        extensions: &http::Extensions,
        route: Option<&proto::Route>,
    ) -> Result<u64, Status> {
        let route = route.ok_or_else(|| form::missing("route"))?;
        let checked = self.check(extensions, route);
        if let Err(status) = &checked {
            let mut refusals = self.refusals.lock();
            let due = refusals.get(&route.from).is_none_or(|last| last.elapsed() > LOG_REFUSAL_EVERY);
            // Ids come from strangers: their number is bounded.
            if due && (refusals.len() < 64 || refusals.contains_key(&route.from)) {
                refusals.insert(route.from, Instant::now());
                tracing::warn!(
                    from = route.from,
                    reason = status.message(),
                    "refused a controller's request"
                );
            }
        }
        checked.map(|()| route.from)
    }

    fn check(&self, extensions: &http::Extensions, route: &proto::Route) -> Result<(), Status> {
        let Local { cluster, id, .. } = &*self.local;
        let denied = |text: String| Err(Status::permission_denied(text));
        if route.cluster != *cluster {
            return denied(format!(
                "this is a controller of cluster {cluster:?}, not of {:?}",
                route.cluster
            ));
        }
        if route.to != *id {
            let text =
                format!("this is controller {id}, not controller {}: has its address moved?", route.to);
            return Err(Status::failed_precondition(text));
        }
        if route.from == *id {
            return denied(format!("controller {id} is this one: is its number used twice?"));
        }
        let Some(caller) = (self.caller_of)(extensions) else {
            return Err(Status::unauthenticated("controllers show a client certificate of the cluster"));
        };
        if caller.cluster != *cluster {
            return denied(format!(
                "the certificate of {:?} is of cluster {:?}",
                caller.name, caller.cluster
            ));
        }
        if caller.controller != Some(route.from) {
            return denied(format!(
                "the certificate of {:?} is not that of controller {}",
                caller.name, route.from
            ));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl raft_server::Raft for Service {
    type StreamAppendStream = Answers<proto::AppendResponse>;
    type PresenceStream = Answers<proto::PresenceResponse>;

    async fn stream_append(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let (_, extensions, mut inbound) = request.into_parts();
        let first = inbound.message().await?.ok_or_else(|| form::missing("first request"))?;
        self.admit(&extensions, first.route.as_ref())?;
        let (decoded, requests) = mpsc::channel(APPEND_QUEUE);
        decoded.try_send(form::append_in(first)?).map_err(stopped)?;
        let (failed, failure) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            loop {
                let request = tokio::select! {
                    // The answers are not read any more: so are the requests.
                    () = decoded.closed() => return,
                    request = inbound.message() => request,
                };
                let request = match request {
                    Ok(Some(request)) => form::append_in(request),
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                match request {
                    Ok(request) => {
                        if decoded.send(request).await.is_err() {
                            return;
                        }
                    }
                    Err(status) => {
                        let _ = failed.send(status);
                        return;
                    }
                }
            }
        });
        let answers = self.raft.stream_append(ReceiverStream::new(requests));
        let answers = answers.map(|answer| answer.map(form::appended_out).map_err(stopped));
        let failure = futures_util::stream::once(failure).filter_map(async |status| status.ok().map(Err));
        Ok(Response::new(Box::pin(answers.chain(failure))))
    }

    async fn heartbeat(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let request = form::append_in(request.into_inner())?;
        let (prev, last) = (request.prev_log_id, request.entries.last().map(|entry| entry.log_id));
        let last = last.or(prev);
        let answer = self.raft.append_entries(request).await.map_err(stopped)?;
        if answer.is_conflict() && prev.is_none() {
            return Err(Status::internal("a conflict with the empty log"));
        }
        Ok(Response::new(form::appended_out(answer.into_stream_result(prev, last))))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let mut ballot = form::ballot_in(request.into_inner())?;
        let current = self.raft.server_metrics().borrow_watched().vote;
        // This controller saw its leader die: the lease that it granted protects nobody.
        ballot.leadership_transfer |= self.lost.is(&current);
        let answer = self.raft.vote(ballot).await.map_err(stopped)?;
        Ok(Response::new(form::voted_out(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let ballot = form::ballot_in(request.into_inner())?;
        let answer = self.raft.pre_vote(ballot).await.map_err(stopped)?;
        Ok(Response::new(form::voted_out(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferResponse>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let transfer = form::transfer_in(request.into_inner())?;
        let answer = self.raft.handle_transfer_leader(transfer).await.map_err(stopped)?;
        Ok(Response::new(form::transferred_out(answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let (_, extensions, parts) = request.into_parts();
        receive::snapshot(self, &extensions, parts).await.map(Response::new)
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let reign = self.reign.clone();
        let asked = self.spawn(async move { reign.confirmed().await });
        let confirmed = tokio::time::timeout(READ_DEADLINE, asked).await;
        let index = confirmed.ok().and_then(Result::ok).flatten().map(|position| position.index);
        Ok(Response::new(proto::ReadIndexResponse { index }))
    }

    async fn presence(
        &self,
        request: Request<proto::PresenceRequest>,
    ) -> Result<Response<Self::PresenceStream>, Status> {
        self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let term = request.get_ref().term;
        let mut leadership = self.leadership.subscribe();
        let ends = async move {
            let over = leadership.wait_for(|now| !now.leading || now.term != term).await.is_err();
            // The sender is gone: this controller shuts down.
            over.then(|| Err(Status::unavailable("this controller shuts down")))
        };
        let stream = futures_util::stream::once(ends).filter_map(async |end| end);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn leader_lost(
        &self,
        request: Request<proto::LeaderLostRequest>,
    ) -> Result<Response<proto::LeaderLostResponse>, Status> {
        let from = self.admit(request.extensions(), request.get_ref().route.as_ref())?;
        let proto::LeaderLostRequest { leader, last_log, .. } = request.into_inner();
        let (leader, last_log) = (form::vote_in(leader)?, last_log.map(form::id_in));
        let agreed =
            presence::agrees(&self.raft, &self.lost, &leader, last_log, from < self.local.id).await?;
        Ok(Response::new(proto::LeaderLostResponse { agreed }))
    }
}
