//! What happened, in order, as one hash. Two runs of one seed must give the same; where they part, the marks say when.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A mark is kept after so many events.
const MARK_EVERY: u64 = 1000;

/// The running hash of a run. Cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    start: Instant,
    hash: u64,
    events: u64,
    marks: Vec<u64>,
    print: bool,
}

impl Trace {
    /// Begins; must be called on the simulation's runtime.
    pub fn begin() -> Trace {
        // A divergence of two runs is found by comparing what they print.
        let print = std::env::var_os("KONTIKI_SIM_TRACE").is_some();
        let start = Instant::now();
        Trace(Arc::new(Mutex::new(Inner {
            start,
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            marks: Vec::new(),
            print,
        })))
    }

    /// Nanoseconds since the beginning.
    pub fn now_ns(&self) -> u64 {
        self.0.lock().start.elapsed().as_nanos() as u64
    }

    /// Notes an event: what, and up to three numbers of it.
    pub fn note(&self, what: &str, a: u64, b: u64, c: u64) {
        let mut inner = self.0.lock();
        let now = inner.start.elapsed().as_nanos() as u64;
        if inner.print {
            println!("{now} {what} {a} {b} {c}");
        }
        for byte in what.bytes() {
            inner.mix(u64::from(byte));
        }
        for number in [now, a, b, c] {
            inner.mix(number);
        }
        inner.events += 1;
        if inner.events.is_multiple_of(MARK_EVERY) {
            let hash = inner.hash;
            inner.marks.push(hash);
        }
    }

    /// The hash of all events so far, and how many there were.
    pub fn hash(&self) -> (u64, u64) {
        let inner = self.0.lock();
        (inner.hash, inner.events)
    }

    /// The hash after each thousandth event, to find where two runs part.
    pub fn marks(&self) -> Vec<u64> {
        self.0.lock().marks.clone()
    }
}

impl Inner {
    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}
