//! A simulated disk, for `kontiki_raft`'s seam. Files and databases outlive the process that wrote them; a power cut takes what was not
//! synced, a crash what was only in the process' memory. Work on it takes time, and fails when it is told to.

mod database;
mod files;
mod mount;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

pub use database::Stored;
use files::File;
use mount::Mount;

/// A disk, with all that was ever written on it. Cheap to clone.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    platter: Mutex<Platter>,
    stuck: watch::Sender<bool>,
    tripped: watch::Sender<u64>,
}

struct Platter {
    files: BTreeMap<PathBuf, File>,
    faults: Faults,
    random: StdRng,
    /// Only the process that mounted it last may use it.
    incarnation: u64,
    trip_after: Option<u64>,
    counts: Counts,
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// No space: what would be written is refused.
    pub full: bool,
    /// Writes and syncs fail.
    pub error: bool,
    /// Each piece of work takes so much longer.
    pub slow: Duration,
}

/// What was done to a disk, to see that a fault bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Synced batches.
    pub synced: u64,
    /// Batches that a power cut or a crash took.
    pub lost: u64,
    /// Writes that were refused.
    pub refused: u64,
    /// Pieces of work that were slow or stuck.
    pub delayed: u64,
    /// Flipped bits.
    pub flipped: u64,
}

impl SimDisk {
    /// An empty one. Its delays and its losses come from the seed.
    pub fn new(seed: u64) -> SimDisk {
        let platter = Platter {
            files: BTreeMap::new(),
            faults: Faults::default(),
            random: StdRng::seed_from_u64(seed),
            incarnation: 0,
            trip_after: None,
            counts: Counts::default(),
        };
        let (stuck, tripped) = (watch::Sender::new(false), watch::Sender::new(0));
        SimDisk(Arc::new(Shared { platter: Mutex::new(platter), stuck, tripped }))
    }

    /// As a new process sees it; processes before it can do nothing more.
    pub fn mount(&self) -> Arc<dyn kontiki_raft::Disk> {
        let mut platter = self.0.platter.lock();
        platter.incarnation += 1;
        Arc::new(Mount { disk: self.clone(), incarnation: platter.incarnation })
    }

    /// The process is gone: what it held in memory only is lost.
    pub fn crash(&self) {
        let mut platter = self.0.platter.lock();
        platter.incarnation += 1;
        platter.trip_after = None;
        let Platter { files, counts, .. } = &mut *platter;
        for database in databases(files) {
            counts.lost += database.lock().crash();
        }
    }

    /// The power is gone: what was not synced is lost, or some of its beginning survives.
    pub fn power_cut(&self) {
        self.crash();
        let mut platter = self.0.platter.lock();
        let Platter { files, counts, random, .. } = &mut *platter;
        for database in databases(files) {
            counts.lost += database.lock().power_cut(random);
        }
    }

    /// After so many more changes on the disk, the process can do nothing more; [`SimDisk::tripped`] then tells.
    pub fn trip_after(&self, changes: u64) {
        self.0.platter.lock().trip_after = Some(changes);
    }

    /// How often [`SimDisk::trip_after`] came true.
    pub fn tripped(&self) -> watch::Receiver<u64> {
        self.0.tripped.subscribe()
    }

    /// Changes what is wrong with it.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.platter.lock().faults);
    }

    /// What is wrong with it.
    pub fn faults(&self) -> Faults {
        self.0.platter.lock().faults
    }

    /// Whether all work on it stands still.
    pub fn set_stuck(&self, stuck: bool) {
        self.0.stuck.send_replace(stuck);
    }

    /// Loses everything.
    pub fn wipe(&self) {
        let mut platter = self.0.platter.lock();
        platter.incarnation += 1;
        platter.files.clear();
    }

    /// Flips bits in what is stored. In a log a value changes, as when memory or a lying disk did it: our own checksum must find it. In a
    /// state the database itself finds it when it reads the record. Nothing may have it mounted.
    pub fn rot(&self, flips: u32) {
        let mut platter = self.0.platter.lock();
        let Platter { files, counts, random, .. } = &mut *platter;
        let all: Vec<_> = databases(files).filter(|database| !database.lock().is_empty()).collect();
        for _ in 0..flips {
            if all.is_empty() {
                return;
            }
            let chosen = &all[random.random_range(0..all.len())];
            counts.flipped += u64::from(chosen.lock().rot(random));
        }
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.0.platter.lock().counts
    }

    /// A value as it would be found after a power cut now.
    pub fn durable(&self, database: &Path, table: u8, key: &[u8]) -> Option<Bytes> {
        let platter = self.0.platter.lock();
        match platter.files.get(database) {
            Some(File::Database(stored)) => stored.lock().durable(table, key),
            _ => None,
        }
    }

    /// A small file.
    pub fn text(&self, path: &Path) -> Option<String> {
        match self.0.platter.lock().files.get(path) {
            Some(File::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }
}

fn databases(files: &BTreeMap<PathBuf, File>) -> impl Iterator<Item = Arc<Mutex<Stored>>> + '_ {
    files.values().filter_map(|file| match file {
        File::Database(stored) => Some(stored.clone()),
        _ => None,
    })
}
