//! Replication to one follower: requests go out while answers to earlier ones are still on their way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use kontiki_proto::raft as proto;
use kontiki_proto::raft::raft_client::RaftClient;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::link::{StreamAnswers, unreachable};
use super::{MemberInfo, form};
use crate::types::{RpcError, Types};

/// When each request went out that has no answer yet.
#[derive(Clone, Default)]
struct Outstanding(Arc<Mutex<VecDeque<Instant>>>);

impl Outstanding {
    fn sent(&self) {
        self.0.lock().push_back(Instant::now());
    }

    fn answered(&self) {
        self.0.lock().pop_front();
    }

    /// When the oldest of them is overdue; none while nothing is awaited.
    fn overdue_at(&self, ttl: Duration) -> Option<Instant> {
        self.0.lock().front().map(|sent| *sent + ttl)
    }
}

struct Answers {
    inbound: Streaming<proto::AppendResponse>,
    outstanding: Outstanding,
    peer: MemberInfo,
    ttl: Duration,
}

impl Answers {
    /// The next answer; none when the peer ended the stream. A link that swallows everything ends here too, not when TCP gives up.
    async fn next(&mut self) -> Option<Result<StreamAppendResult<Types>, RpcError>> {
        loop {
            let overdue = self.outstanding.overdue_at(self.ttl);
            // Nothing awaited now: look again when something may be.
            let until = overdue.unwrap_or_else(|| Instant::now() + self.ttl);
            match tokio::time::timeout_at(until, self.inbound.next()).await {
                Ok(Some(Ok(answer))) => {
                    self.outstanding.answered();
                    let answer = form::appended_in(answer);
                    return Some(answer.map_err(|status| unreachable(&self.peer, &status)));
                }
                Ok(Some(Err(status))) => return Some(Err(unreachable(&self.peer, &status))),
                Ok(None) => return None,
                Err(_) if overdue.is_none() => {}
                Err(_) => {
                    let status = Status::deadline_exceeded("no answer to an append; the stream is torn down");
                    return Some(Err(unreachable(&self.peer, &status)));
                }
            }
        }
    }
}

pub(super) async fn stream<'s, S>(
    mut client: RaftClient<Channel>,
    peer: MemberInfo,
    route: proto::Route,
    mut requests: S,
    ttl: Duration,
) -> Result<StreamAnswers<'s>, RpcError>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    // openraft backs off inside this stream. A peer that refuses the connection would never poll it, and be called in a tight loop.
    let Some(first) = requests.next().await else { return Ok(Box::pin(stream::empty())) };
    let requests = stream::iter([first]).chain(requests);
    let outstanding = Outstanding::default();
    let sent = outstanding.clone();
    let mut route = Some(route);
    let outbound = requests.map(move |request| {
        sent.sent();
        form::append_out(&request, route.take())
    });
    let opened = tokio::time::timeout(ttl, client.stream_append(outbound)).await;
    let opened = opened.unwrap_or_else(|_| Err(Status::deadline_exceeded("an append stream did not open")));
    let inbound = opened.map_err(|status| unreachable(&peer, &status))?.into_inner();
    let answers = Answers { inbound, outstanding, peer, ttl };
    let answers = stream::unfold(Some(answers), |state| async move {
        let mut answers = state?;
        let answer = answers.next().await?;
        // After an error openraft opens a new stream.
        let rest = answer.is_ok().then_some(answers);
        Some((answer, rest))
    });
    Ok(Box::pin(answers))
}
