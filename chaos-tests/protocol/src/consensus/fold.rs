//! A state to agree on: each proposal writes a unique value into a register. It keeps all of them, and a hash over everything
//! that was ever folded, so that replicas that differ anywhere differ there.

use std::collections::BTreeMap;

use kontiki_raft::{CommittedEntry, Fold, FoldError, LogPosition, Record, StoreError, Table, Writes};
use parking_lot::Mutex;

/// The tables of the fold.
pub const TABLES: &[&str] = &["registers", "hash"];

const REGISTERS: Table = Table(0);
const HASH: Table = Table(1);
const CHAIN: &[u8] = b"chain";

/// What a proposal carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// Which register.
    pub register: u32,
    /// Unique in a run, never 0.
    pub value: u64,
}

impl Write {
    /// As a payload.
    pub fn encode(self) -> Vec<u8> {
        [&self.register.to_be_bytes()[..], &self.value.to_be_bytes()[..]].concat()
    }

    /// From a payload.
    pub fn decode(bytes: &[u8]) -> Option<Write> {
        let (register, value) = bytes.split_at_checked(4)?;
        let register = u32::from_be_bytes(register.try_into().ok()?);
        Some(Write { register, value: u64::from_be_bytes(value.try_into().ok()?) })
    }
}

/// What a replica holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The last entry of it.
    pub last: LogPosition,
    /// The last value of each register, and the index that wrote it.
    pub registers: BTreeMap<u32, (u64, u64)>,
    /// The hash of all entries up to the last.
    pub hash: u64,
    /// How many entries are in the hash.
    pub count: u64,
}

/// Told of each entry as it is folded.
pub type Watcher = Box<dyn Fn(&CommittedEntry, &Held) + Send + Sync>;

/// A replica.
pub struct Registers {
    held: Mutex<Held>,
    watcher: Watcher,
}

impl Registers {
    /// An empty one.
    pub fn new(watcher: Watcher) -> Registers {
        Registers { held: Mutex::default(), watcher }
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.held.lock().clone()
    }

    /// The last value of a register.
    pub fn get(&self, register: u32) -> Option<(u64, u64)> {
        self.held.lock().registers.get(&register).copied()
    }
}

fn mix(hash: u64, numbers: [u64; 4]) -> u64 {
    numbers.into_iter().fold(hash ^ 0xcbf2_9ce4_8422_2325, |hash, number| {
        let z = (hash ^ number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb).rotate_left(17)
    })
}

fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut found = [0; N];
    if bytes.len() != 8 * N {
        return None;
    }
    for (number, bytes) in found.iter_mut().zip(bytes.chunks(8)) {
        *number = u64::from_be_bytes(bytes.try_into().ok()?);
    }
    Some(found)
}

fn bytes(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

impl Fold for Registers {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        let mut loaded = Held::default();
        let foreign = || FoldError::Records("a record is not one of ours".into());
        for record in records {
            let Record { table, key, value } = record?;
            if table == REGISTERS {
                let register = key.try_into().map(u32::from_be_bytes).map_err(|_| foreign())?;
                let [value, index] = numbers(&value).ok_or_else(foreign)?;
                loaded.registers.insert(register, (value, index));
            } else {
                let [term, index, hash, count] = numbers(&value).ok_or_else(foreign)?;
                loaded.last = LogPosition { term, index };
                (loaded.hash, loaded.count) = (hash, count);
            }
        }
        *self.held.lock() = loaded;
        Ok(())
    }

    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes) {
        let mut held = self.held.lock();
        let Some(Write { register, value }) = Write::decode(&entry.payload) else { return };
        held.registers.insert(register, (value, entry.index));
        held.hash = mix(held.hash, [entry.term, entry.index, u64::from(register), value]);
        held.count += 1;
        held.last = LogPosition { term: entry.term, index: entry.index };
        writes.put(REGISTERS, register.to_be_bytes(), bytes(&[value, entry.index]));
        writes.put(HASH, CHAIN, bytes(&[entry.term, entry.index, held.hash, held.count]));
        (self.watcher)(entry, &held);
    }

    fn folded(&self, _last: LogPosition) {}
}
