//! What the switch does to links, and what it has done: the proof that a fault bit.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use super::Port;

/// One direction between two hosts.
pub type Link = (Port, Port);

/// What is wrong with links. All zero: nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Every frame comes so much later.
    pub delay: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// Of a thousand frames so many are lost.
    pub loss: u32,
    /// So many come twice.
    pub duplicate: u32,
    /// So many are overtaken by others.
    pub reorder: u32,
    /// So many have a bit flipped.
    pub corrupt: u32,
    /// Bytes in a second; none: as many as come.
    pub rate: Option<u64>,
}

/// Trouble on some links, with what it did so far.
pub(super) struct Troubled {
    pub(super) links: BTreeSet<Link>,
    pub(super) trouble: Trouble,
    /// When the link is free again, if it has a rate.
    pub(super) free: Mutex<BTreeMap<Link, Instant>>,
    pub(super) done: AtomicU64,
}

/// All troubles, by the number under which they were made.
#[derive(Default)]
pub struct Links {
    all: RwLock<BTreeMap<u64, Arc<Troubled>>>,
    next: AtomicU64,
    ended: AtomicBool,
}

impl Links {
    /// From now on these links are in trouble. Answers the number to heal it by.
    pub fn trouble(&self, links: impl IntoIterator<Item = Link>, trouble: Trouble) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let links = links.into_iter().collect();
        let troubled = Troubled { links, trouble, free: Mutex::default(), done: AtomicU64::new(0) };
        self.all.write().insert(number, Arc::new(troubled));
        number
    }

    /// Heals it. Answers how many frames it has hit.
    pub fn heal(&self, number: u64) -> u64 {
        self.all.write().remove(&number).map_or(0, |troubled| troubled.done.load(Ordering::Relaxed))
    }

    pub(super) fn on(&self, link: Link) -> Vec<Arc<Troubled>> {
        self.all.read().values().filter(|troubled| troubled.links.contains(&link)).cloned().collect()
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
