//! A database on a simulated disk: what it holds now, and what of that would survive.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use kontiki_raft::{Batch, Change, DatabasePurpose, DiskError, DiskErrorKind, Durability};
use rand::Rng;
use rand::rngs::StdRng;

/// One version of all tables. Cheap to clone: versions share what they have in common.
type Tables = Vec<Table>;
/// Its keys are shared too: a version copies the nodes that it changes, and would allocate each key in them anew.
pub(super) type Table = OrdMap<Arc<[u8]>, Bytes>;

/// One in so many writes to a state is followed by a flush of the database's own.
const OWN_FLUSH: u32 = 64;

fn remove_range(content: &mut Table, from: Bound<&[u8]>, to: Bound<&[u8]>) {
    let gone: Vec<Arc<[u8]>> = content.range::<_, [u8]>((from, to)).map(|(key, _)| key.clone()).collect();
    for key in gone {
        content.remove(&key);
    }
}

/// A stored database.
#[derive(Clone)]
pub struct Stored {
    pub(super) names: Vec<String>,
    purpose: DatabasePurpose,
    live: Tables,
    /// What a power cut leaves for certain, and the number of that version.
    safe: (u64, Tables),
    /// Later versions, each written ahead but not synced.
    ahead: VecDeque<(u64, Tables)>,
    version: u64,
    unflushed: u64,
    rotten: BTreeSet<(u8, Vec<u8>)>,
    pub(super) opened_by: Option<u64>,
}

impl Stored {
    pub(super) fn new(names: Vec<String>, purpose: DatabasePurpose) -> Stored {
        let live: Tables = vec![OrdMap::new(); names.len()];
        Stored {
            names,
            purpose,
            safe: (0, live.clone()),
            live,
            ahead: VecDeque::new(),
            version: 0,
            unflushed: 0,
            rotten: BTreeSet::new(),
            opened_by: None,
        }
    }

    /// Opening replays what was written ahead and makes it safe.
    pub(super) fn opened(&mut self, by: u64, names: &[&str]) {
        for name in names {
            if !self.names.iter().any(|own| own == name) {
                self.names.push((*name).into());
                self.live.push(OrdMap::new());
            }
        }
        self.opened_by = Some(by);
        self.flush();
    }

    /// Its table of this name.
    pub(super) fn table(&self, name: &str) -> Option<u8> {
        self.names.iter().position(|own| own == name).map(|table| table as u8)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.safe.1.iter().all(OrdMap::is_empty)
    }

    pub(super) fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.verify(table, key)?;
        Ok(self.live[usize::from(table)].get(key).map(|value| value.to_vec()))
    }

    /// The first pair within the bounds, from a version that was read before.
    pub(super) fn content(&self, table: u8) -> Table {
        self.live[usize::from(table)].clone()
    }

    pub(super) fn verify(&self, table: u8, key: &[u8]) -> Result<(), DiskError> {
        if !self.rotten.is_empty() && self.rotten.contains(&(table, key.to_vec())) {
            let detail = "Corruption: block checksum mismatch".into();
            return Err(DiskError { kind: DiskErrorKind::Corrupt, detail });
        }
        Ok(())
    }

    /// Writes, and tells the version that must become safe if it is to be synced.
    pub(super) fn write(
        &mut self,
        batch: Batch,
        tables: &[u8],
        how: Durability,
        random: &mut StdRng,
    ) -> Option<u64> {
        for change in batch.changes {
            let table = tables[usize::from(change.table())];
            let content = &mut self.live[usize::from(table)];
            match change {
                Change::Put { key, value, .. } => {
                    if !self.rotten.is_empty() {
                        self.rotten.remove(&(table, key.clone()));
                    }
                    content.insert(key.into(), value.into());
                }
                Change::Delete { key, .. } => {
                    content.remove(&key[..]);
                }
                Change::DeleteRange { from, to, .. } if from < to => {
                    remove_range(content, Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                }
                Change::DeleteRange { .. } => {}
            }
        }
        self.version += 1;
        match how {
            Durability::Unlogged => {
                self.unflushed += 1;
                if random.random_ratio(1, OWN_FLUSH) {
                    self.flush();
                }
                None
            }
            Durability::Logged | Durability::Synced => {
                self.ahead.push_back((self.version, self.live.clone()));
                (how == Durability::Synced).then_some(self.version)
            }
        }
    }

    /// Everything up to this version is safe.
    pub(super) fn synced(&mut self, version: u64) {
        while self.ahead.front().is_some_and(|(first, _)| *first <= version) {
            if let Some(next) = self.ahead.pop_front() {
                self.safe = next;
            }
        }
    }

    /// Drops what is stored from one key up to and with another, for good, as RocksDB drops files: also what a power cut would have
    /// left of earlier versions, and what is live. The worst case: each record has a file of its own.
    pub(super) fn reclaim(&mut self, table: u8, first: &[u8], last: &[u8]) {
        if first > last {
            return;
        }
        let ahead = self.ahead.iter_mut().map(|(_, tables)| tables);
        for tables in ahead.chain([&mut self.safe.1, &mut self.live]) {
            // A version from before the table was there has none.
            if let Some(content) = tables.get_mut(usize::from(table)) {
                remove_range(content, Bound::Included(first), Bound::Included(last));
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.safe = (self.version, self.live.clone());
        self.ahead.clear();
        self.unflushed = 0;
    }

    /// A copy that is safe.
    pub(super) fn picture(&self) -> Stored {
        let mut copy = self.clone();
        copy.opened_by = None;
        copy.flush();
        copy
    }

    /// The process is gone. Tells how many batches are lost.
    pub(super) fn crash(&mut self) -> u64 {
        self.opened_by = None;
        let lost = self.unflushed;
        if self.purpose == DatabasePurpose::State {
            self.live = self.safe.1.clone();
            self.unflushed = 0;
        }
        lost
    }

    /// The power is gone. Tells how many batches are lost.
    pub(super) fn power_cut(&mut self, random: &mut StdRng) -> u64 {
        let kept = match random.random_range(0..3) {
            0 => 0,
            _ => random.random_range(0..=self.ahead.len()),
        };
        let lost = (self.ahead.len() - kept) as u64;
        if kept > 0 {
            self.safe = self.ahead[kept - 1].clone();
        }
        self.ahead.clear();
        self.live = self.safe.1.clone();
        lost
    }

    pub(super) fn durable(&self, table: u8, key: &[u8]) -> Option<Bytes> {
        self.safe.1.get(usize::from(table)).and_then(|content| content.get(key)).cloned()
    }

    /// Flips one bit. Tells whether there was one.
    pub(super) fn rot(&mut self, random: &mut StdRng) -> bool {
        let table = random.random_range(0..self.live.len());
        let content = &mut self.live[table];
        if content.is_empty() {
            return false;
        }
        let chosen = random.random_range(0..content.len());
        let Some((key, value)) = content.iter().nth(chosen).map(|(key, value)| (key.clone(), value.clone()))
        else {
            return false;
        };
        match self.purpose {
            DatabasePurpose::State => drop(self.rotten.insert((table as u8, key.to_vec()))),
            DatabasePurpose::Log => {
                let mut flipped = value.to_vec();
                if flipped.is_empty() {
                    return false;
                }
                let bit = random.random_range(0..flipped.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
                content.insert(key, flipped.into());
                self.flush();
            }
        }
        true
    }
}
