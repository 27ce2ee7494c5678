//! Streams into pods: exec, attach, port-forward. A controller that has a client for one has the leader tell this worker,
//! on the session; the worker dials that controller, on a connection of the stream's own, and carries bytes between it and
//! the descriptors that the runtime hands out.
//!
//! ```text
//!   session ──OpenStream──> Streams ──> carry (one task per stream) ⇄ controller
//!                                          ⇅
//!                                       runtime: a process' descriptors, a pod's port
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
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::runtime::Runtime;
use crate::session::Dial;

/// Streams of one worker at a time.
const STREAMS_MAX: usize = 256;
/// Streams beyond that which are told so at a time; what is still more is not answered.
const REFUSALS_MAX: usize = 16;

/// Opens streams. A clone is another handle of the same.
#[derive(Clone)]
pub struct Streams {
    runtime: Arc<dyn Runtime>,
    dial: Arc<dyn Dial>,
    /// Where streams run; who opens them may be on another thread.
    thread: Handle,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Streams {
    /// For the pods of a runtime, to the controllers that `dial` reaches. They are carried by the tokio runtime that this
    /// is called in.
    pub fn new(runtime: Arc<dyn Runtime>, dial: Arc<dyn Dial>) -> Streams {
        let (places, refusals) = (Semaphore::new(STREAMS_MAX), Semaphore::new(REFUSALS_MAX));
        Streams {
            runtime,
            dial,
            thread: Handle::current(),
            places: Arc::new(places),
            refusals: Arc::new(refusals),
        }
    }

    /// Opens a stream, or has the controller that asks for it told why not. It never waits.
    pub fn open(&self, open: OpenStream) {
        let (place, refused) = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => (place, false),
            Err(_) => match Arc::clone(&self.refusals).try_acquire_owned() {
                Ok(place) => (place, true),
                Err(_) => return warn!("too many streams are asked for: one is not answered"),
            },
        };
        let (runtime, dial) = (Arc::clone(&self.runtime), Arc::clone(&self.dial));
        self.thread.spawn(async move {
            carry::carry(open, &*runtime, &*dial, refused).await;
            drop(place);
        });
    }
}
