//! The book of a run: everything that happened, in order, as it happened, and a hash over it.

use std::collections::BTreeMap;

use kontiki_chaos_plan::history::{
    Broken, FaultRecord, Heeded, InstanceEvent, LoggedEntry, OpRecord, Reign, WatchRecord, WatchStep,
};
use kontiki_raft::{CommittedEntry, LogPosition};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The book.
pub struct Book {
    start: Instant,
    /// Two runs that part are compared by what they print.
    print: bool,
    pages: Mutex<Pages>,
}

/// What is in it.
#[derive(Default)]
pub struct Pages {
    /// What clients did.
    pub ops: Vec<OpRecord>,
    /// What watches delivered.
    pub watches: Vec<WatchRecord>,
    /// What was folded, by index.
    pub log: BTreeMap<u64, LoggedEntry>,
    /// Up to which index it is complete.
    pub folded: u64,
    /// What containers did.
    pub instances: Vec<InstanceEvent>,
    /// Who led.
    pub reigns: Vec<Reign>,
    /// Who went along with a leader of the past.
    pub heeded: Vec<Heeded>,
    /// What broke by plan.
    pub faults: Vec<FaultRecord>,
    /// What broke otherwise.
    pub broken: Vec<Broken>,
    /// The hash of all of it.
    pub trace: Trace,
}

/// A hash over what happens, in order (FNV-1a).
#[derive(Clone, Copy)]
pub struct Trace(pub u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn add(&mut self, at_ns: u64, what: &[u8]) {
        for byte in at_ns.to_le_bytes().iter().chain(what) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Book {
    /// An empty one, that begins now.
    pub fn new() -> Book {
        let print = std::env::var_os("KONTIKI_TRACE").is_some();
        Book { start: Instant::now(), print, pages: Mutex::default() }
    }

    /// When it began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Nanoseconds since then.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn write(&self, trace: impl AsRef<[u8]>, change: impl FnOnce(&mut Pages, u64)) {
        let now = self.now_ns();
        let mut pages = self.pages.lock();
        if self.print {
            eprintln!("{now} {:.300}", String::from_utf8_lossy(trace.as_ref()));
        }
        pages.trace.add(now, trace.as_ref());
        change(&mut pages, now);
    }

    /// Everything, at the end.
    pub fn take(&self) -> Pages {
        std::mem::take(&mut self.pages.lock())
    }

    /// Looks into it.
    pub fn read<T>(&self, look: impl FnOnce(&Pages) -> T) -> T {
        look(&self.pages.lock())
    }

    /// A replica folds an entry.
    pub fn committed(&self, controller: u32, entry: &CommittedEntry) {
        let known = self
            .pages
            .lock()
            .log
            .get(&entry.index)
            .map(|known| known.term == entry.term && known.bytes == entry.payload);
        match known {
            Some(true) => {}
            Some(false) => {
                let words = format!(
                    "controller {controller} folds another entry {} than was folded before",
                    entry.index
                );
                self.broken("A3", words);
            }
            None => {
                let mut trace = format!("entry {} {} ", entry.index, entry.term).into_bytes();
                trace.extend_from_slice(&entry.payload);
                self.write(trace, |pages, now| {
                    let bytes = entry.payload.to_vec();
                    let logged =
                        LoggedEntry { index: entry.index, term: entry.term, committed_ns: now, bytes };
                    pages.log.insert(entry.index, logged);
                });
            }
        }
    }

    /// A replica has everything up to here. Entries without a payload (a leader's first, changes of members) are not folded one by
    /// one: those without a page get one here, with the lowest term they can have.
    pub fn folded(&self, _controller: u32, last: LogPosition) {
        let now = self.now_ns();
        let mut pages = self.pages.lock();
        let mut term = pages.log.get(&pages.folded).map_or(0, |entry| entry.term);
        for index in pages.folded + 1..=last.index {
            let lowest = if index == last.index { last.term } else { term };
            let empty = LoggedEntry { index, term: lowest, committed_ns: now, bytes: Vec::new() };
            term = pages.log.entry(index).or_insert(empty).term;
        }
        pages.folded = pages.folded.max(last.index);
    }

    /// A client did something.
    pub fn op(&self, record: OpRecord) {
        let trace = format!("op {record:?}");
        self.write(trace, |pages, _| pages.ops.push(record));
    }

    /// A watch begins; gives its place.
    pub fn watch(&self, client: u32, prefix: &str) -> usize {
        let mut pages = self.pages.lock();
        pages.watches.push(WatchRecord { client, prefix: prefix.into(), steps: Vec::new() });
        pages.watches.len() - 1
    }

    /// A step of a watch.
    pub fn watched(&self, place: usize, step: WatchStep) {
        let trace = format!("watch {place} {step:?}");
        self.write(trace, |pages, now| pages.watches[place].steps.push((now, step)));
    }

    /// A container begins or ends.
    pub fn instance(&self, event: InstanceEvent) {
        let trace = format!("instance {event:?}");
        self.write(trace, |pages, _| pages.instances.push(event));
    }

    /// A controller leads in this term, or (none) does not.
    pub fn leads(&self, controller: u32, term: Option<u64>) {
        let open = |pages: &Pages| {
            pages.reigns.iter().rposition(|r| r.controller == controller && r.until_ns.is_none())
        };
        let same = self.read(|pages| open(pages).map(|at| pages.reigns[at].term)) == term;
        if same {
            return;
        }
        self.write(format!("leads {controller} {term:?}"), |pages, now| {
            if let Some(at) = open(pages) {
                pages.reigns[at].until_ns = Some(now);
            }
            if let Some(term) = term {
                pages.reigns.push(Reign { controller, term, from_ns: now, until_ns: None });
            }
        });
    }

    /// A worker, which said that it had accepted that term, goes along with a controller that speaks in this one.
    pub fn heeded(&self, controller: u32, node: &str, term: u64, accepted: u64) {
        self.write(format!("heeded {controller} {node} {term} {accepted}"), |pages, at_ns| {
            pages.heeded.push(Heeded { at_ns, node: node.into(), controller, term, accepted });
        });
    }

    /// A fault was done, or could not be.
    pub fn fault(&self, record: FaultRecord) {
        let trace = format!("fault {record:?}");
        self.write(trace, |pages, _| pages.faults.push(record));
    }

    /// Something that must not happen.
    pub fn broken(&self, invariant: &str, words: impl Into<String>) {
        let words = words.into();
        self.write(format!("broken {invariant} {words}"), |pages, at_ns| {
            pages.broken.push(Broken { at_ns, invariant: invariant.into(), words });
        });
    }
}

impl Default for Book {
    fn default() -> Self {
        Book::new()
    }
}
