//! What is written down of a run as it happens.

use std::collections::BTreeMap;

use kontiki_chaos_plan::history::{
    Broken, FaultRecord, InstanceEvent, OpRecord, Reign, ReplicaHash, WatchRecord,
};

use crate::world::Happening;

/// The notes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) ops: Vec<OpRecord>,
    pub(crate) watches: Vec<WatchRecord>,
    pub(crate) instances: Vec<InstanceEvent>,
    pub(crate) reigns: Vec<Reign>,
    pub(crate) hashes: Vec<ReplicaHash>,
    pub(crate) faults: Vec<FaultRecord>,
    pub(crate) reached: BTreeMap<String, u64>,
    pub(crate) broken: Vec<Broken>,
    /// Turns that were decided.
    pub(crate) turns: u64,
    /// Things that happened.
    pub(crate) happenings: u64,
    trace: u64,
}

/// Violations that are written down: the first ones tell what there is to know.
const BROKEN_MAX: usize = 20;

impl Notes {
    /// The run came here.
    pub(crate) fn reached(&mut self, mark: &str) {
        match self.reached.get_mut(mark) {
            Some(count) => *count += 1,
            None => {
                self.reached.insert(mark.to_owned(), 1);
            }
        }
    }

    /// An invariant does not hold.
    pub(crate) fn broken(&mut self, at_ns: u64, invariant: &str, words: String) {
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(Broken { at_ns, invariant: invariant.to_owned(), words });
        }
    }

    /// Something happened.
    pub(crate) fn trace(&mut self, now: u64, what: &Happening) {
        self.happenings += 1;
        let (kind, number) = match what {
            Happening::Plan(number) | Happening::FaultEnds(number) => (1, *number as u64),
            Happening::Flap { event, cut } => (2, (*event as u64) << 1 | u64::from(*cut)),
            Happening::Append { to, upto, .. } => (3, (*to as u64) << 48 ^ upto),
            Happening::Ack { from, upto, .. } => (4, (*from as u64) << 48 ^ upto),
            Happening::Learn { to } => (5, *to as u64),
            Happening::Election { epoch } => (6, *epoch),
            Happening::Deposed { at, term } => (7, (*at as u64) << 48 ^ term),
            Happening::Pump { at, .. } => (8, *at as u64),
            Happening::Ring { alarm, .. } => (9, alarm.0 as u64),
            Happening::Confirmed { flight, .. } => (10, *flight),
            Happening::Tick { at, .. } => (11, *at as u64),
            Happening::Judge { verdicts, .. } => (12, verdicts.len() as u64),
            Happening::Submit { op, submission, .. } => (13, op << 16 ^ u64::from(*submission)),
            Happening::Dial { worker, epoch } => (14, (*worker as u64) << 32 ^ epoch),
            Happening::Hello { worker, epoch, .. } => (15, (*worker as u64) << 32 ^ epoch),
            Happening::Hint { worker, epoch, .. } => (16, (*worker as u64) << 32 ^ epoch),
            Happening::Down { session } => (17, *session),
            Happening::Up { session } => (18, *session),
            Happening::Silent { session } => (19, *session),
            Happening::Pod { worker, epoch, .. } => (20, (*worker as u64) << 32 ^ u64::from(*epoch)),
            Happening::Ends { worker, attempt, .. } => (26, (*worker as u64) << 32 ^ u64::from(*attempt)),
            Happening::Flush { worker } => (21, *worker as u64),
            Happening::Lie { worker, .. } => (22, *worker as u64),
            Happening::Op { op, .. } => (23, *op),
            Happening::Again { session, put } => (25, *session << 16 ^ put.len() as u64),
            Happening::Watch { watch, epoch } => (24, (*watch as u64) << 32 ^ epoch),
        };
        self.mix(now);
        self.mix(kind << 56 ^ number);
    }

    /// Takes a number into the hash of everything that happened.
    pub(crate) fn mix(&mut self, word: u64) {
        self.trace = mix(self.trace, word);
    }

    /// The hash of everything that happened.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace
    }
}

/// One step of a fast hash for things that nobody forges.
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// The same over bytes.
pub(crate) fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = mix(hash, word);
    }
    let rest = chunks.remainder();
    let word = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    mix(hash, word)
}
