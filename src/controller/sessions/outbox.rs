//! The way to one worker. Everything that goes there carries the leader's term and counts up, so that a worker can refuse what is old or out
//! of order.

use futures_util::{StreamExt, stream::Map};
use kontiki_proto::worker::{ToWorker, to_worker};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages that may wait for a worker.
const MAX: usize = 1024;

/// What a session sends by. Its stream ends when it is dropped.
pub(super) struct Outbox {
    term: u64,
    sequence: Mutex<u64>,
    /// Each by itself: a channel sets room aside for dozens, which in thousands of sessions is what they take.
    out: mpsc::Sender<Box<ToWorker>>,
}

/// What goes to the worker, in the words of its service.
pub(super) type ToWorkers = Map<ReceiverStream<Box<ToWorker>>, fn(Box<ToWorker>) -> Result<ToWorker, Status>>;

/// The worker does not read, or is gone.
#[derive(Debug)]
pub(super) struct Stuck;

impl Outbox {
    /// Of a session in this term, and the worker's end of it.
    pub(super) fn of(term: u64) -> (Outbox, ToWorkers) {
        let (out, worker) = mpsc::channel(MAX);
        let open: fn(Box<ToWorker>) -> _ = |message| Ok(*message);
        (Outbox { term, sequence: Mutex::new(0), out }, ReceiverStream::new(worker).map(open))
    }

    /// Never waits: a worker that does not read is to be cut off, it will resync.
    pub(super) fn send(&self, what: to_worker::What) -> Result<(), Stuck> {
        // Counted and queued under one lock: who sends comes from several threads.
        let mut sequence = self.sequence.lock();
        *sequence += 1;
        let message = ToWorker { term: self.term, sequence: *sequence, what: Some(what) };
        self.out.try_send(Box::new(message)).map_err(|_| Stuck)
    }
}
