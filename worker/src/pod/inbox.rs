//! What a pod's driver is told. Nothing here can grow: of each thing only the newest is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::access::PodTokens;
use super::kept::Assignment;
use super::tenant::Eviction;
use crate::probe;
use crate::runtime::{Exit, ImageRef, PullError};
use crate::volume::MountError;

/// The inbox.
#[derive(Default)]
pub struct Inbox {
    news: Mutex<News>,
    notify: Notify,
}

/// What has happened since the driver looked.
#[derive(Default)]
pub struct News {
    /// It was assigned anew.
    pub assignment: Option<Assignment>,
    /// It exists no more: kill and forget.
    pub remove: bool,
    /// No controller was reached for longer than the lease.
    pub lease_lost: bool,
    /// It is to give back its room.
    pub evicted: Option<Eviction>,
    /// Its sandbox died.
    pub lost: bool,
    /// Containers that ended: which attempt, and how.
    pub exits: BTreeMap<String, (u32, Exit)>,
    /// What probes found, and of which attempt.
    pub probes: BTreeMap<(String, probe::Kind), (u32, bool)>,
    /// Containers whose preStop hook is over.
    pub hooks_over: BTreeSet<String>,
    /// Containers whose postStart hook failed, and which attempt.
    pub hooks_failed: BTreeMap<String, u32>,
    /// Containers whose image was pulled, or could not be: which image, and how it went.
    pub pulls: BTreeMap<String, (String, Result<ImageRef, PullError>)>,
    /// The tokens of its account are new, or cannot be had.
    pub tokens: Option<Result<PodTokens, MountError>>,
}

impl Inbox {
    /// Tells the driver something.
    pub fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    /// Takes what is there.
    pub fn take(&self) -> News {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when there may be something.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}
