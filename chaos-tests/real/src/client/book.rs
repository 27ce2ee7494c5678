//! The book in which clients write down what they asked and what came back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kontiki_chaos_plan::history::{Answer, Call, OpRecord, WatchRecord, WatchStep};
use kontiki_chaos_plan::plan::Client;
use kontiki_pki::Identity;
use parking_lot::Mutex;

use crate::clock::Clock;

/// What all clients of a run share.
pub struct Book {
    /// The run's clock.
    pub clock: Clock,
    /// As whom they call.
    pub identity: Identity,
    /// Where the controllers are.
    pub controllers: Vec<String>,
    /// The command of a container, and the socket that it tells the truth to.
    pub container: Vec<String>,
    /// The socket's path.
    pub socket: String,
    ops: Mutex<Vec<OpRecord>>,
    watches: Mutex<Vec<WatchRecord>>,
    values: AtomicU64,
    /// What clients were asked to do and have not done yet. A watch is done when it has begun.
    left: AtomicU64,
    stopped: AtomicBool,
}

/// A watch in the book.
pub(super) type WatchNumber = usize;

impl Book {
    /// An empty one.
    pub fn new(
        clock: Clock,
        identity: Identity,
        controllers: Vec<String>,
        container: Vec<String>,
        socket: String,
    ) -> Book {
        let (ops, watches) = (Mutex::default(), Mutex::default());
        let (values, left, stopped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Book { clock, identity, controllers, container, socket, ops, watches, values, left, stopped }
    }

    /// A value that nobody wrote before.
    pub fn fresh(&self) -> String {
        format!("v{}", self.values.fetch_add(1, Ordering::Relaxed))
    }

    /// A controller's number and address.
    pub fn server(&self, via: u32) -> (u32, &str) {
        let number = via as usize % self.controllers.len().max(1);
        (number as u32, &self.controllers[number])
    }

    /// Writes down that something was asked: should nobody answer, that stands there.
    pub fn asked(&self, client: Client, server: u32, call: Call) -> usize {
        let mut ops = self.ops.lock();
        ops.push(OpRecord {
            client,
            request: None,
            server,
            invoked_ns: self.clock.now_ns(),
            returned_ns: None,
            call,
            answer: Answer::Unknown,
        });
        ops.len() - 1
    }

    /// Writes down the answer. Without one the call stays open: it may still be done at any time.
    pub fn answered(&self, number: usize, answer: Answer) {
        if answer != Answer::Unknown {
            let now = self.clock.now_ns();
            let op = &mut self.ops.lock()[number];
            (op.returned_ns, op.answer) = (Some(now), answer);
        }
    }

    /// A new watch.
    pub(super) fn watch(&self, client: Client, prefix: &str) -> WatchNumber {
        let mut watches = self.watches.lock();
        watches.push(WatchRecord { client, prefix: prefix.to_owned(), steps: Vec::new() });
        watches.len() - 1
    }

    /// Its next step.
    pub(super) fn step(&self, watch: WatchNumber, step: WatchStep) {
        let now = self.clock.now_ns();
        self.watches.lock()[watch].steps.push((now, step));
    }

    /// A client has one thing more to do.
    pub(super) fn given(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// It has done it.
    pub(super) fn done(&self) {
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    /// How much clients have still to do.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Nobody begins anything any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it is over.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// What was done so far: operations with an answer, all operations, steps of watches.
    pub fn counts(&self) -> (usize, usize, usize) {
        let ops = self.ops.lock();
        let answered = ops.iter().filter(|op| op.returned_ns.is_some()).count();
        (answered, ops.len(), self.watches.lock().iter().map(|watch| watch.steps.len()).sum())
    }

    /// Everything.
    pub fn read(&self) -> (Vec<OpRecord>, Vec<WatchRecord>) {
        (self.ops.lock().clone(), self.watches.lock().clone())
    }
}
