//! What the API needs, from this controller: views of its replica, writes through whoever leads.
//!
//! A write that comes to a follower is forwarded to the leader. While there is no leader it waits, and a write whose
//! outcome got lost is sent again with the same request id, so that a failover costs a client time and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{Addr, prelude::SendError};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use kontiki_actors::{Input, Kind, Object, ObjectKey, Outcome, Request, RequestId, State, codec};
use kontiki_api::{
    backend::{Backend, Freshness, LogsError, LogsQuery, LogsStream, Unavailable},
    feed::Feed,
    streams::{PodStream, StreamError, StreamTo},
    usage::NodeUsage,
};
use kontiki_hooks::{Mark, reached};
use kontiki_proto::{
    cluster::{SubmitRequest, cluster_client::ClusterClient},
    worker::{LogsRequest, node_client::NodeClient},
};
use kontiki_raft::{MemberInfo, Node};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use tonic::transport::Channel;

use super::{
    cluster::Levels,
    metrics,
    peers::Dial,
    replica::Replica,
    sessions::Contact,
    stage::{Answer, Stage, StageError, Submit, now_ms},
    streams::Streams,
    usage::Usages,
};

/// A write is answered within this time, one way or the other.
const WRITE: Duration = Duration::from_secs(5);
/// A view that waits for a revision waits this long.
const CATCH_UP: Duration = Duration::from_secs(3);
/// The pause before a write is sent again, unless the leadership changes before.
const AGAIN: Duration = Duration::from_millis(25);
/// One message between controllers.
const MESSAGE_BYTES: usize = 16 << 20;

/// The API's door into this controller.
pub(crate) struct Local {
    node: Node,
    replica: Arc<Replica>,
    stage: Addr<Stage>,
    contact: Contact,
    dial: Arc<dyn Dial>,
    streams: Streams,
    usages: Usages,
    levels: Arc<Levels>,
    leaders: Mutex<BTreeMap<(u64, String), Channel>>,
    started: Instant,
}

impl Local {
    /// The door of a controller.
    pub(crate) fn new(
        node: Node,
        replica: Arc<Replica>,
        stage: Addr<Stage>,
        contact: Contact,
        dial: Arc<dyn Dial>,
        streams: Streams,
        usages: Usages,
        levels: Arc<Levels>,
    ) -> Local {
        Local {
            node,
            replica,
            stage,
            contact,
            dial,
            streams,
            usages,
            levels,
            leaders: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Hands a write to this controller's stage, if it leads: in this very term, if one is named.
    pub(crate) async fn decide(
        &self,
        request: Request,
        id: RequestId,
        term: Option<u64>,
        trace: Option<String>,
    ) -> Answer {
        let (reply, answer) = oneshot::channel();
        let submit =
            Submit { input: Input::Api(request), request: Some(id), term, trace, reply: Some(reply) };
        match self.stage.try_send(submit) {
            Ok(()) => {}
            Err(SendError::Full(_)) => return Err(StageError::Overloaded),
            // The stage is gone: this controller is ending.
            Err(SendError::Closed(_)) => return Err(StageError::NotLeader),
        }
        answer.await.unwrap_or(Err(StageError::Unknown))
    }

    /// Forwards a write to the leader of a term. Any failure of the call leaves the outcome unknown: it may arrive later, but only that
    /// term's leader takes it, who remembers what it answered to later attempts.
    async fn forward(
        &self,
        leader: &MemberInfo,
        term: u64,
        request: &Request,
        id: &RequestId,
        trace: &Option<String>,
    ) -> Answer {
        let bytes = codec::encode(request).map_err(|e| StageError::TooLarge(e.to_string()))?;
        let message = SubmitRequest {
            request: bytes.into(),
            request_id: id.to_string(),
            traceparent: trace.clone().unwrap_or_default(),
            term,
        };
        let mut client = ClusterClient::new(self.channel(leader)).max_decoding_message_size(MESSAGE_BYTES);
        let reply = client.submit(message).await.map_err(|status| {
            tracing::debug!(
                leader = leader.name,
                cause = status.message(),
                "a forwarded write got no answer"
            );
            StageError::Unknown
        })?;
        codec::decode::<Answer>(&reply.into_inner().outcome).unwrap_or(Err(StageError::Unknown))
    }

    fn channel(&self, member: &MemberInfo) -> Channel {
        let mut leaders = self.leaders.lock();
        let key = (member.id, member.address.clone());
        if let Some(channel) = leaders.get(&key) {
            return channel.clone();
        }
        leaders.retain(|(id, _), _| *id != member.id);
        let channel = self.dial.controller(member);
        leaders.insert(key, channel.clone());
        channel
    }

    /// Refuses what not all controllers know yet, before it goes to a leader that may be one of them.
    async fn check_level(&self, request: &Request) -> Result<(), Unavailable> {
        if request.level() <= self.replica.view().level() {
            return Ok(());
        }
        // It may have been raised a moment ago.
        let at = self.view(Freshness::Linearizable).await?.level();
        match self.levels.refusal(request, at).await {
            Some(reason) => Err(Unavailable::Level { reason }),
            None => Ok(()),
        }
    }

    async fn write(
        &self,
        request: Request,
        id: RequestId,
        trace: Option<String>,
    ) -> Result<Outcome, Unavailable> {
        self.check_level(&request).await?;
        let trace = trace.or_else(kontiki_proto::trace::current);
        let until = Instant::now() + WRITE;
        let mut leadership = self.node.leadership();
        let mut unknown = false;
        loop {
            let now = leadership.borrow_and_update().clone();
            let attempt = async {
                if now.leading {
                    self.decide(request.clone(), id.clone(), Some(now.term), trace.clone()).await
                } else {
                    match &now.leader {
                        Some(leader) => self.forward(leader, now.term, &request, &id, &trace).await,
                        None => Err(StageError::NotLeader),
                    }
                }
            };
            // A leader that vanished must not hold a write: whoever leads next is asked with the same id.
            let changed = async {
                let mut leadership = self.node.leadership();
                let seen = (now.term, now.leading, now.leader.as_ref().map(|l| l.id));
                let differs = |l: &kontiki_raft::Leadership| {
                    (l.term, l.leading, l.leader.as_ref().map(|l| l.id)) != seen
                        && (l.leading || l.leader.is_some())
                };
                let _ = leadership.wait_for(differs).await;
            };
            let answer = tokio::select! {
                biased;
                answer = attempt => answer,
                () = changed => Err(StageError::Unknown),
                () = tokio::time::sleep_until(until) => return Err(out_of_time(unknown || now.leader.is_some())),
            };
            match answer {
                Ok(outcome) => return Ok(outcome),
                Err(StageError::Unknown) => {
                    reached(Mark::WriteSentAgain);
                    unknown = true;
                }
                Err(error) => {
                    if let Some(final_word) = refusal(&error, unknown) {
                        return Err(final_word);
                    }
                }
            }
            tokio::select! {
                _ = leadership.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
            if Instant::now() >= until {
                return Err(out_of_time(unknown));
            }
        }
    }
}

/// What the refusal of an attempt says of the whole write; none: it is tried again. Where an earlier attempt may have been done, or may
/// still be, a refusal of this one is none of the write.
fn refusal(error: &StageError, unknown: bool) -> Option<Unavailable> {
    match error {
        StageError::NotLeader | StageError::Unknown => None,
        StageError::Overloaded | StageError::StorageFull(_) if unknown => None,
        // It would be refused again.
        StageError::TooLarge(_) | StageError::Defect(_) if unknown => Some(out_of_time(true)),
        StageError::Overloaded => Some(Unavailable::Overloaded),
        StageError::StorageFull(_) => Some(Unavailable::NoQuorum { reason: error.to_string() }),
        StageError::TooLarge(reason) => Some(Unavailable::TooLarge { reason: reason.clone() }),
        StageError::Defect(_) => Some(Unavailable::Defect { reason: error.to_string() }),
    }
}

fn out_of_time(maybe_done: bool) -> Unavailable {
    if maybe_done {
        let reason = "the leader did not answer within 5 s; the write may be done or not";
        Unavailable::Timeout { reason: reason.into() }
    } else {
        let reason =
            "no leader was elected within 5 s: fewer than a majority of the controllers can be reached";
        Unavailable::NoQuorum { reason: reason.into() }
    }
}

impl Backend for Local {
    fn view(&self, freshness: Freshness) -> BoxFuture<'_, Result<State, Unavailable>> {
        async move {
            match freshness {
                Freshness::Any => {}
                Freshness::Linearizable => {
                    let no_quorum =
                        |e: &dyn std::fmt::Display| Unavailable::NoQuorum { reason: e.to_string() };
                    let index = self.node.read_index().await.map_err(|e| no_quorum(&e))?;
                    self.node.wait_applied(index, CATCH_UP).await.map_err(|e| no_quorum(&e))?;
                }
                Freshness::AtLeast(wanted) => {
                    let caught_up = async {
                        loop {
                            // The view is there before the feed tells of it.
                            let seen = self.replica.view().revision();
                            if seen >= wanted {
                                return;
                            }
                            self.replica.feed().changed(seen).await;
                        }
                    };
                    if tokio::time::timeout(CATCH_UP, caught_up).await.is_err() {
                        let current = self.replica.view().revision();
                        return Err(Unavailable::Behind { wanted, current });
                    }
                }
            }
            Ok(State::clone(&self.replica.view()))
        }
        .boxed()
    }

    fn submit(
        &self,
        request: Request,
        id: RequestId,
        trace: Option<String>,
    ) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        self.write(request, id, trace).boxed()
    }

    fn feed(&self) -> Arc<Feed> {
        self.replica.feed().clone()
    }

    fn logs(&self, pod: Arc<Object>, query: LogsQuery) -> BoxFuture<'_, Result<LogsStream, LogsError>> {
        async move {
            let node_name = pod.pod().and_then(|p| p.node.clone()).unwrap_or_default();
            let since = query.since_ms.or(query.since_s.map(|s| now_ms() - s.saturating_mul(1000)));
            let request = LogsRequest {
                pod_uid: pod.meta.uid.to_string(),
                container: query.container,
                follow: query.follow,
                previous: query.previous,
                timestamps: query.timestamps,
                tail_lines: query.tail_lines,
                since_time_ms: since,
                limit_bytes: query.limit_bytes,
            };
            // A worker that has a session brings its logs; the others are dialed.
            let carried =
                self.streams.log(&node_name, request.clone(), |member| self.channel(member)).await?;
            if let Some(log) = carried {
                return Ok(log);
            }
            let view = self.replica.view();
            let node = view.get(&ObjectKey::new(Kind::NODE, "", &node_name));
            let unknown = || LogsError::Unreachable(format!("node {node_name:?} has no address"));
            let status = node.ok_or_else(unknown)?.document.status_value();
            let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().ok_or_else(unknown)?;
            let host = status["addresses"][0]["address"].as_str().ok_or_else(unknown)?;
            let channel =
                self.dial.worker(&node_name, &format!("{host}:{port}")).map_err(LogsError::Unreachable)?;
            let stream =
                NodeClient::new(channel).logs(request).await.map_err(|s| logs_error(&node_name, &s))?;
            let node_name = node_name.clone();
            let chunks = stream.into_inner().map(move |chunk| match chunk {
                Ok(chunk) => Ok::<Bytes, _>(chunk.data),
                Err(status) => Err(logs_error(&node_name, &status)),
            });
            Ok(chunks.boxed())
        }
        .boxed()
    }

    fn open_stream(&self, pod: Arc<Object>, to: StreamTo) -> BoxFuture<'_, Result<PodStream, StreamError>> {
        async move {
            let node = pod.pod().and_then(|p| p.node.clone()).unwrap_or_default();
            self.streams.open(&node, &pod.meta.uid, to, |member| self.channel(member)).await
        }
        .boxed()
    }

    fn usage(&self, nodes: BTreeSet<String>, pods: bool) -> BoxFuture<'_, Result<Vec<NodeUsage>, String>> {
        self.usages.of(nodes, pods, |member| self.channel(member)).boxed()
    }

    fn metrics(&self) -> String {
        let heard = self.contact.count();
        let levels = (self.levels.own(), self.levels.held());
        metrics::text(&self.node.status(), &self.replica.view(), levels, heard, self.started.elapsed())
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let index = self.node.read_index().await.map_err(|e| e.to_string())?;
            self.node.wait_applied(index, CATCH_UP).await.map_err(|e| e.to_string())
        }
        .boxed()
    }
}

fn logs_error(node: &str, status: &tonic::Status) -> LogsError {
    match status.code() {
        tonic::Code::NotFound => LogsError::NotFound(status.message().to_string()),
        tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument => {
            LogsError::Refused(status.message().to_string())
        }
        _ => LogsError::Unreachable(format!("node {node}: {}", status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_after_an_attempt_that_may_be_done_is_no_refusal_of_the_write() {
        let (large, defect) = (StageError::TooLarge("9 MB".into()), StageError::Defect("it fails".into()));
        assert!(matches!(refusal(&large, false), Some(Unavailable::TooLarge { .. })));
        assert!(matches!(refusal(&defect, false), Some(Unavailable::Defect { .. })));
        for error in [large, defect] {
            assert_eq!(refusal(&error, true), Some(out_of_time(true)));
        }
        assert_eq!(refusal(&StageError::Overloaded, false), Some(Unavailable::Overloaded));
        assert_eq!(refusal(&StageError::Overloaded, true), None);
    }
}
