//! Replication to one follower: requests go out while answers to earlier ones are still on their way.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use kontiki_hooks::{Defect, planted};
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

    fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// When the oldest of them is overdue; none while nothing is awaited.
    fn overdue_at(&self, ttl: Duration) -> Option<Instant> {
        self.0.lock().front().map(|sent| *sent + ttl)
    }
}

/// openraft's requests, as the connection reads them.
///
/// The connection keeps a request's body for a while after its answer is given up, and goes on reading it. All of openraft's streams to
/// one follower share what is to be sent next: one that lives on takes it away from its successor, which then finds nothing to
/// send, and openraft falls back on what it was once told to begin with, purged long since. So they end with [`Open`], at once.
struct Requests<S>(Arc<Mutex<Option<S>>>);

/// While it lives, requests go out.
struct Open<S>(Arc<Mutex<Option<S>>>);

impl<S> Requests<S> {
    fn open(requests: S) -> (Requests<S>, Open<S>) {
        let shared = Arc::new(Mutex::new(Some(requests)));
        (Requests(shared.clone()), Open(shared))
    }
}

impl<S: Stream + Unpin> Stream for Requests<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        match &mut *self.0.lock() {
            Some(requests) => requests.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

impl<S> Drop for Open<S> {
    fn drop(&mut self) {
        if planted(Defect::AppendStreamOutlives) {
            return;
        }
        let ended = self.0.lock().take();
        // What its end sets off must not find the lock taken.
        drop(ended);
    }
}

struct Answers<S> {
    inbound: Streaming<proto::AppendResponse>,
    outstanding: Outstanding,
    /// Requests and answers end together.
    _open: Open<S>,
    peer: MemberInfo,
    ttl: Duration,
}

impl<S> Answers<S> {
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
                Ok(None) if self.outstanding.count() == 0 || planted(Defect::AppendStreamOutlives) => {
                    return None;
                }
                // openraft takes an end without an error for the end of an errand, and would not look for what is left of it.
                Ok(None) => {
                    let status =
                        Status::unavailable("the append stream ended before its requests were answered");
                    return Some(Err(unreachable(&self.peer, &status)));
                }
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
    requests: S,
    ttl: Duration,
) -> Result<StreamAnswers<'s>, RpcError>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let (mut requests, open) = Requests::open(requests);
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
    let answers = Answers { inbound, outstanding, _open: open, peer, ttl };
    let answers = stream::unfold(Some(answers), |state| async move {
        let mut answers = state?;
        let answer = answers.next().await?;
        // After an error openraft opens a new stream.
        let rest = answer.is_ok().then_some(answers);
        Some((answer, rest))
    });
    Ok(Box::pin(answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says when it is dropped.
    struct Errand(Arc<Mutex<bool>>);

    impl Drop for Errand {
        fn drop(&mut self) {
            *self.0.lock() = true;
        }
    }

    #[tokio::test]
    async fn requests_end_with_their_answers_though_somebody_still_reads_them() {
        let ended = Arc::new(Mutex::new(false));
        let errand = Errand(ended.clone());
        let endless = stream::unfold(errand, async |errand| Some(((), errand)));
        let (mut requests, open) = Requests::open(Box::pin(endless));
        assert_eq!(requests.next().await, Some(()));
        drop(open);
        assert!(*ended.lock(), "what openraft lends to the stream is given back at once");
        assert_eq!(requests.next().await, None);
    }
}
