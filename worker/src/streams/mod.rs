//! Streams into pods: exec, attach, port-forward, logs. A controller that has a client for one has the leader tell this worker,
//! on the session; the worker dials that controller, on a connection of the stream's own, and carries bytes between it and
//! the descriptors that the runtime hands out.
//!
//! ```text
//!   session ──OpenStream──> Streams ──> carry (one task per stream) ⇄ controller
//!                                          ⇅
//!                                       runtime: a process' descriptors, a pod's port; a log's file
//! ```
//!
//! Nothing is collected on the way: who does not read holds up his own stream, back to the pipe that its process writes to.

mod carry;
mod failure;
mod pump;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kontiki_proto::worker::OpenStream;
use kontiki_proto::worker::open_stream::What;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::logs;
use crate::runtime::Runtime;
use crate::session::Dial;

/// Streams of one worker at a time; beside them as many logs, so that whoever follows all of them leaves room for commands.
const STREAMS_MAX: usize = 256;
/// Streams beyond that which are told so at a time; what is still more is not answered.
const REFUSALS_MAX: usize = 16;

/// Opens streams. A clone is another handle of the same.
#[derive(Clone)]
pub struct Streams {
    runtime: Arc<dyn Runtime>,
    logs: Arc<logs::Service>,
    dial: Arc<dyn Dial>,
    /// Where streams run; who opens them may be on another thread.
    thread: Handle,
    places: Arc<Semaphore>,
    logs_places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Streams {
    /// For the pods of a runtime and their logs, to the controllers that `dial` reaches. They are carried by the tokio runtime that this
    /// is called in.
    pub fn new(runtime: Arc<dyn Runtime>, logs: Arc<logs::Service>, dial: Arc<dyn Dial>) -> Streams {
        Streams {
            runtime,
            logs,
            dial,
            thread: Handle::current(),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            logs_places: Arc::new(Semaphore::new(STREAMS_MAX)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// Opens a stream, or has the controller that asks for it told why not. It never waits.
    pub fn open(&self, open: OpenStream) {
        let places = match open.what {
            Some(What::Logs(_)) => &self.logs_places,
            _ => &self.places,
        };
        let (place, refused) = match Arc::clone(places).try_acquire_owned() {
            Ok(place) => (place, false),
            Err(_) => match Arc::clone(&self.refusals).try_acquire_owned() {
                Ok(place) => (place, true),
                Err(_) => return warn!("too many streams are asked for: one is not answered"),
            },
        };
        let Streams { runtime, logs, dial, .. } = self.clone();
        self.thread.spawn(async move {
            carry::carry(open, &*runtime, &logs, &*dial, refused).await;
            drop(place);
        });
    }
}
