//! Who sees everything: each fold, each acknowledgement, each read, each leader. It knows the one log that all must agree on, and says at
//! once when somebody departs from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kontiki_chaos_plan::history::Broken;
use kontiki_raft::{CommittedEntry, LogPosition};
use parking_lot::Mutex;

use super::fold::{Held, Write};
use crate::disk::SimDisk;
use crate::trace::Trace;

/// No more violations than this are kept: the first one counts.
const KEPT: usize = 20;

/// Each voter's disk; none for one that was damaged on purpose, which had what it said.
pub type Voters = Vec<(u64, Option<SimDisk>)>;

#[derive(Default)]
struct Known {
    /// The log: term, payload's write and the hash after it, by index.
    log: BTreeMap<u64, (u64, Write, u64)>,
    /// What was acknowledged, by index.
    acknowledged: BTreeMap<u64, Write>,
    /// The least index that a read of a register must reflect.
    floors: BTreeMap<u32, u64>,
    /// Who leads each term.
    leaders: BTreeMap<u64, u64>,
    broken: Vec<Broken>,
    writes: u64,
    reads: u64,
}

/// The observer. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    known: Arc<Mutex<Known>>,
    trace: Trace,
    voters: Arc<Mutex<Voters>>,
    /// The members are being changed: which majority counts cannot be seen from here.
    changing: Arc<AtomicBool>,
}

impl Observer {
    /// One that has seen nothing.
    pub fn new(trace: Trace) -> Observer {
        Observer { known: Arc::default(), trace, voters: Arc::default(), changing: Arc::default() }
    }

    /// Notes a violation.
    pub fn broken(&self, invariant: &str, words: String) {
        let at_ns = self.trace.now_ns();
        self.trace.note("broken", 0, 0, 0);
        let mut known = self.known.lock();
        if known.broken.len() < KEPT {
            known.broken.push(Broken { at_ns, invariant: invariant.into(), words });
        }
    }

    /// What went wrong so far.
    pub fn violations(&self) -> Vec<Broken> {
        self.known.lock().broken.clone()
    }

    /// Writes that were acknowledged, and reads that were answered.
    pub fn counts(&self) -> (u64, u64) {
        let known = self.known.lock();
        (known.writes, known.reads)
    }

    /// Whose disks a majority is counted of.
    pub fn set_voters(&self, voters: Voters) {
        *self.voters.lock() = voters;
    }

    /// Whether the members are being changed.
    pub fn set_changing(&self, changing: bool) {
        self.changing.store(changing, Ordering::Relaxed);
    }

    /// The last entry that anybody folded.
    pub fn last(&self) -> u64 {
        self.known.lock().log.keys().next_back().copied().unwrap_or(0)
    }

    /// A node folded an entry.
    pub fn folded(&self, node: u64, entry: &CommittedEntry, held: &Held) {
        let Some(write) = Write::decode(&entry.payload) else { return };
        let (index, term) = (entry.index, entry.term);
        self.trace.note("fold", node, index, held.hash);
        let found = self.known.lock().log.get(&index).copied();
        match found {
            None => {
                self.durable_on_a_majority(index, term);
                let wrong = {
                    let mut known = self.known.lock();
                    known.log.insert(index, (term, write, held.hash));
                    known.acknowledged.get(&index).copied().filter(|acknowledged| *acknowledged != write)
                };
                if let Some(acknowledged) = wrong {
                    let words = format!(
                        "entry {index} was acknowledged as {acknowledged:?}, node {node} folds {write:?}"
                    );
                    self.broken("B6", words);
                }
            }
            Some((other_term, other, _)) if (other_term, other) != (term, write) => {
                let words = format!(
                    "entry {index}: node {node} folds {write:?} of term {term}, others {other:?} of term {other_term}"
                );
                self.broken("A4", words);
            }
            Some((_, _, hash)) if hash != held.hash => {
                let words =
                    format!("after entry {index} node {node} has hash {:x}, others {hash:x}", held.hash);
                self.broken("B1", words);
            }
            Some(_) => {}
        }
    }

    /// A5: what is newly committed would survive a power cut of everybody, as the disks are now.
    fn durable_on_a_majority(&self, index: u64, term: u64) {
        if self.changing.load(Ordering::Relaxed) {
            return;
        }
        let voters = self.voters.lock();
        let path = super::Member::log_path();
        let holds = |disk: &Option<SimDisk>| {
            let Some(disk) = disk else { return true };
            let entry = disk.durable(&path, 0, &index.to_be_bytes());
            if let Some(entry) = entry {
                return kontiki_raft::entry_position(entry) == Some(LogPosition { term, index });
            }
            // Purged: a snapshot holds it.
            let purged = disk.durable(&path, 1, b"purged").and_then(kontiki_raft::stored_position);
            purged.is_some_and(|purged| purged.index >= index)
        };
        let durable: Vec<u64> = voters.iter().filter(|(_, disk)| holds(disk)).map(|(id, _)| *id).collect();
        if durable.len() * 2 <= voters.len() {
            let words = format!(
                "entry {index} of term {term} counts as committed, but only the disks of {durable:?} of {} hold it",
                voters.len()
            );
            drop(voters);
            self.broken("A5", words);
        }
    }

    /// A write was acknowledged.
    pub fn acknowledged(&self, write: Write, at: LogPosition) {
        self.trace.note("acknowledged", at.index, at.term, write.value);
        let mut known = self.known.lock();
        known.writes += 1;
        known.acknowledged.insert(at.index, write);
        let floor = known.floors.entry(write.register).or_default();
        *floor = (*floor).max(at.index);
        let wrong = match known.log.get(&at.index) {
            Some((term, folded, _)) if *term == at.term && *folded == write => None,
            found => Some(format!("{write:?} was acknowledged at {at:?}, where there is {found:?}")),
        };
        drop(known);
        if let Some(words) = wrong {
            self.broken("A3", words);
        }
    }

    /// The least index that a read of this register that begins now must reflect.
    pub fn floor(&self, register: u32) -> u64 {
        self.known.lock().floors.get(&register).copied().unwrap_or(0)
    }

    /// A read was answered: with this value of this index.
    pub fn read(&self, node: u64, register: u32, floor: u64, found: Option<(u64, u64)>) {
        let (value, index) = found.unwrap_or_default();
        self.trace.note("read", node, index, value);
        let mut known = self.known.lock();
        known.reads += 1;
        let real = found.is_none()
            || known.log.get(&index).is_some_and(|(_, write, _)| *write == Write { register, value });
        let at = known.floors.entry(register).or_default();
        *at = (*at).max(index);
        drop(known);
        if index < floor {
            let words = format!(
                "a read of register {register} at node {node} saw entry {index}, but {floor} was seen or acknowledged before"
            );
            self.broken("C1", words);
        }
        if !real {
            self.broken(
                "C4",
                format!("a read at node {node} saw {value} in register {register}, never written there"),
            );
        }
    }

    /// A disk whose bits were flipped was opened without complaint: whatever its log holds must be what was agreed on.
    pub fn opened(&self, node: u64, disk: &SimDisk) {
        let path = super::Member::log_path();
        let known = self.known.lock();
        let wrong = known.log.iter().find_map(|(index, (term, write, _))| {
            let stored = disk.durable(&path, 0, &index.to_be_bytes())?;
            let found = kontiki_raft::entry_payload(stored.clone()).and_then(|payload| Write::decode(&payload));
            // An entry of another term is one that was never agreed on.
            let same_term = kontiki_raft::entry_position(stored).is_none_or(|position| position.term == *term);
            (same_term && found != Some(*write))
                .then(|| format!("node {node} opened its damaged log, where entry {index} is {found:?} instead of {write:?}"))
        });
        drop(known);
        if let Some(words) = wrong {
            self.broken("B7", words);
        }
    }

    /// A8: a node was elected, and who voted for it has that on its disk.
    pub fn elected(&self, node: u64, term: u64) {
        if self.changing.load(Ordering::Relaxed) {
            return;
        }
        let path = super::Member::log_path();
        let voted = |disk: &Option<SimDisk>| {
            let Some(disk) = disk else { return true };
            disk.durable(&path, 1, b"vote").and_then(kontiki_raft::vote_term) >= Some(term)
        };
        let voters = self.voters.lock();
        let count = voters.iter().filter(|(_, disk)| voted(disk)).count();
        let words =
            format!("node {node} leads term {term}, but only {count} disks of {} know of it", voters.len());
        let enough = count * 2 > voters.len();
        drop(voters);
        if !enough {
            self.broken("A8", words);
        }
    }

    /// A node says that it leads.
    pub fn leads(&self, node: u64, term: u64) {
        let other = *self.known.lock().leaders.entry(term).or_insert(node);
        if other != node {
            self.broken("A1", format!("nodes {other} and {node} both lead term {term}"));
        }
    }

    /// How many terms had a leader.
    pub fn reigns(&self) -> u64 {
        self.known.lock().leaders.len() as u64
    }

    /// B6, at the end: a replica that has everything holds all that was acknowledged.
    pub fn complete(&self, node: u64, held: &Held) {
        let known = self.known.lock();
        let mut expected: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (index, (_, write, _)) in &known.log {
            expected.insert(write.register, (write.value, *index));
        }
        let missing = known
            .acknowledged
            .iter()
            .find(|(index, write)| known.log.get(index).is_none_or(|(_, folded, _)| folded != *write));
        let missing =
            missing.map(|(index, write)| format!("{write:?} was acknowledged as entry {index} and is gone"));
        let differs = held.registers != expected;
        let words = format!("node {node} ends with {:?}, the log gives {expected:?}", held.registers);
        drop(known);
        if let Some(words) = missing {
            self.broken("B6", words);
        }
        if differs {
            self.broken("B2", words);
        }
    }
}
