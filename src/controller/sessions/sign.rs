//! When a worker was heard last. It is noted where its messages come in, before they wait for anything: who speaks in time is alive, however much
//! this leader has to do before it gets to what was said. Heartbeats end here: thousands of them come in each second, and to take each to
//! another thread and its answer back costs more than the rest of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures_util::{Stream, StreamExt};
use kontiki_proto::worker::{FromWorker, Heartbeat, from_worker};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages of one worker that may wait for its session. A worker that says more waits, too.
const WAITING: usize = 64;

/// What comes from a worker, or why no more does.
pub(super) type Said = Result<FromWorker, Status>;

/// A worker's last sign of life.
#[derive(Clone, Debug)]
pub(super) struct SignOfLife(Arc<Mutex<Instant>>);

impl SignOfLife {
    /// It is heard now.
    pub(super) fn new() -> SignOfLife {
        SignOfLife(Arc::new(Mutex::new(now())))
    }

    /// When it was heard last.
    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now();
    }

    /// The worker's messages, each noted as it comes in, by a task of its own, without heartbeats: these it answers. It ends when one of
    /// them could not be.
    pub(super) fn noting(
        &self,
        mut messages: impl Stream<Item = Said> + Send + Unpin + 'static,
        answer: impl Fn(&Heartbeat) -> bool + Send + 'static,
    ) -> ReceiverStream<Box<Said>> {
        // Boxed: a channel sets room aside for dozens, and a greeting is large.
        let (sender, receiver) = mpsc::channel(WAITING);
        let sign = self.clone();
        // It ends with the worker's stream, or when the session takes no more.
        drop(kontiki_raft::spawn(async move {
            while let Some(message) = messages.next().await {
                if message.is_ok() {
                    sign.note();
                }
                if let Ok(FromWorker { what: Some(from_worker::What::Heartbeat(beat)) }) = &message {
                    if !answer(beat) {
                        return;
                    }
                    continue;
                }
                if sender.send(Box::new(message)).await.is_err() {
                    return;
                }
            }
        }));
        ReceiverStream::new(receiver)
    }
}

/// By tokio's clock, which a simulation plays.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_speaks_is_alive_before_anybody_listens() {
        let sign = SignOfLife::new();
        let greeted = sign.last();
        let (worker, inbound) = mpsc::channel(4);
        let mut messages = sign.noting(ReceiverStream::new(inbound), |_| true);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(worker.send(Ok(FromWorker::default())).await.is_ok());
        tokio::task::yield_now().await;
        assert_eq!(sign.last(), greeted + Duration::from_secs(5), "nobody has taken the message yet");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(messages.next().await.is_some_and(|message| message.is_ok()));
        assert_eq!(sign.last(), greeted + Duration::from_secs(5), "to be taken up is no sign of life");
        drop(worker);
        assert!(messages.next().await.is_none());
    }
    #[tokio::test(start_paused = true)]
    async fn heartbeats_are_answered_at_once_until_that_fails() {
        let sign = SignOfLife::new();
        let (worker, inbound) = mpsc::channel(4);
        let answered = Arc::new(Mutex::new(Vec::new()));
        let answers = answered.clone();
        let mut messages = sign.noting(ReceiverStream::new(inbound), move |beat| {
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(beat.serial);
            beat.serial < 2
        });
        let beat = |serial| FromWorker { what: Some(from_worker::What::Heartbeat(Heartbeat { serial })) };
        for message in [beat(1), FromWorker::default(), beat(2), beat(3)] {
            assert!(worker.send(Ok(message)).await.is_ok());
        }
        assert!(
            messages.next().await.is_some_and(|message| message.is_ok_and(|m| m == FromWorker::default()))
        );
        assert!(messages.next().await.is_none(), "the session ends");
        assert_eq!(*answered.lock().unwrap_or_else(PoisonError::into_inner), [1, 2]);
    }
}
