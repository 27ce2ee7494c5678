//! The folded state on disk: the tables of `state-<n>`, how far they are folded, and snapshots of them.
//!
//! ```text
//! state/CURRENT             which directory counts: replaced by an atomic rename
//! state/state-<n>/          the tables (a database that is not written ahead: what is lost since its last flush is folded again from the log)
//! state/incoming-<n>/       a snapshot on its way in
//! state/snapshots/<...>/    the last checkpoint: what a follower that fell behind is sent
//! ```
//! Not for what records mean; the fold knows.

mod database;
mod directory;
mod image;
mod install;
mod transfer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, StreamExt};
use kontiki_hooks::{Mark, reached};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk::{Disk, aside};
use crate::error::OpenError;
use crate::fold::{CommittedEntry, Fold, FoldError, LogPosition, Writes};
use crate::log::OpenToken;
use crate::space::Space;
use crate::types::{EntryPayload, LogId, Snapshot, SnapshotMeta, StoredMembership, Types, term_of};
pub(crate) use database::{StateDb, StateLimits};
pub(crate) use directory::StateDirectory;
pub(crate) use image::Image;
pub(crate) use install::{Incoming, Received};
pub(crate) use transfer::{CHUNK_FORMAT, Chunk, Chunks, TableNames, decode_meta, encode_meta};

/// Records are held back until there are this many bytes of them: what changes often, or is soon deleted, is so stored once or never. What
/// a crash takes with them is folded again from the log, as is what the database had not flushed.
const HELD_BYTES: usize = 8 << 20;
/// Effects of so many entries are released together.
const RELEASED_ENTRIES: usize = 1024;

/// A snapshot's content: one of our own, or one that was received.
pub(crate) enum SnapshotData {
    Stored(Arc<Image>),
    Received(Received),
}

/// What the rest of the node sees of the state while openraft owns the state machine.
pub(crate) struct Progress {
    /// The last folded entry.
    pub(crate) applied: watch::Sender<Option<LogPosition>>,
    /// One more than the last index that would survive a crash without the log; 0: none.
    durable: AtomicU64,
    /// The last snapshot.
    image: Mutex<Option<Arc<Image>>>,
}

impl Progress {
    /// Up to which index the state is durable.
    pub(crate) fn durable(&self) -> Option<u64> {
        self.durable.load(Ordering::Acquire).checked_sub(1)
    }

    fn set_image(&self, image: Arc<Image>) {
        image.set_current(true);
        if let Some(old) = self.image.lock().replace(image) {
            old.set_current(false);
        }
    }

    fn made_durable(&self, applied: Option<&LogId>) {
        self.durable.fetch_max(applied.map_or(0, |id| id.index + 1), Ordering::AcqRel);
    }
}

/// The state as openraft drives it.
pub(crate) struct StateMachine {
    disk: Arc<dyn Disk>,
    directory: Arc<StateDirectory>,
    database: Arc<StateDb>,
    fold: Arc<dyn Fold>,
    space: Arc<Space>,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Records up to `applied` that are not stored yet.
    held: Writes,
    /// Why records that were held back are lost: nothing may be stored after them.
    lost: Option<String>,
    progress: Arc<Progress>,
    // Last: dropped when the database is closed.
    _open: OpenToken,
}

fn position(id: &LogId) -> LogPosition {
    LogPosition { term: term_of(id), index: id.index }
}

impl StateMachine {
    /// Opens or creates the state and loads the fold from it.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        limits: StateLimits,
        space: Arc<Space>,
        fold: Arc<dyn Fold>,
        open: OpenToken,
    ) -> Result<StateMachine, OpenError> {
        let directory = Arc::new(StateDirectory::open(disk.clone(), root, limits, space.clone())?);
        let current = directory.current()?;
        let database = Arc::new(StateDb::open(&*disk, &current, limits)?);
        let (applied, membership) = database.applied()?;
        let loaded = fold.load(&mut database.records());
        loaded.map_err(|error| match error {
            FoldError::Records(_) => OpenError::Corrupt { directory: current, detail: error.to_string() },
            FoldError::Newer(detail) => OpenError::NewerFormat { directory: current, detail },
        })?;
        let image = directory.last_image(applied.as_ref())?;
        let progress = Progress {
            applied: watch::Sender::new(applied.as_ref().map(position)),
            durable: AtomicU64::new(applied.map_or(0, |id| id.index + 1)),
            image: Mutex::new(image.map(Arc::new)),
        };
        let progress = Arc::new(progress);
        Ok(StateMachine {
            disk,
            directory,
            database,
            fold,
            space,
            applied,
            membership,
            held: Writes::default(),
            lost: None,
            progress,
            _open: open,
        })
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    pub(crate) fn directory(&self) -> Arc<StateDirectory> {
        self.directory.clone()
    }

    /// Makes everything that is folded durable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.store()?;
        self.database.flush()?;
        self.progress.made_durable(self.applied.as_ref());
        Ok(())
    }

    /// Stores what is held back.
    fn store(&mut self) -> io::Result<()> {
        if let Some(why) = &self.lost {
            return Err(io::Error::other(why.clone()));
        }
        let Some(applied) = &self.applied else { return Ok(()) };
        let stored = self.database.write(std::mem::take(&mut self.held), applied, &self.membership);
        self.lost = stored.as_ref().err().map(|error| format!("storing records of the state: {error}"));
        stored
    }

    async fn release(&mut self, folded: &mut Folded) -> io::Result<()> {
        let Some(last) = folded.last.take() else { return Ok(()) };
        if let Some(membership) = folded.membership.take() {
            self.membership = membership;
        }
        self.space.until_room().await?;
        // Together: what is stored under a position must be of entries up to it, also where folding is cut off.
        self.applied = Some(last);
        self.held.add_all(std::mem::take(&mut folded.writes));
        if self.held.bytes() >= HELD_BYTES {
            self.store()?;
        }
        folded.entries = 0;
        self.fold.folded(position(&last));
        self.progress.applied.send_replace(Some(position(&last)));
        for responder in folded.responders.drain(..) {
            responder.send(());
        }
        Ok(())
    }
}

/// Folded entries whose effects are not released yet.
#[derive(Default)]
struct Folded {
    writes: Writes,
    responders: Vec<ApplyResponder<Types>>,
    membership: Option<StoredMembership>,
    last: Option<LogId>,
    entries: usize,
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        let mut folded = Folded::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let id = entry.log_id;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(payload) => {
                    let entry = CommittedEntry { term: term_of(&id), index: id.index, payload: payload.0 };
                    self.fold.fold(&entry, &mut folded.writes);
                }
                EntryPayload::Membership(membership) => {
                    folded.membership = Some(StoredMembership::new(Some(id), membership));
                }
            }
            folded.last = Some(id);
            folded.entries += 1;
            folded.responders.extend(responder);
            if folded.entries >= RELEASED_ENTRIES || folded.writes.bytes() >= HELD_BYTES {
                self.release(&mut folded).await?;
            }
        }
        self.release(&mut folded).await
    }

    /// Takes the checkpoint here, where no entry is folded meanwhile: later, the data would be newer than its position.
    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        let (database, directory, taken) = (self.database.clone(), self.directory.clone(), meta.clone());
        let checkpoint = match self.store() {
            Ok(()) => aside(&self.disk, move || Image::take(&database, &directory, taken)).await,
            Err(error) => Err(error),
        };
        let image = checkpoint.and_then(|image| image).map(Arc::new);
        if image.is_ok() {
            // A checkpoint starts with a flush.
            self.progress.made_durable(self.applied.as_ref());
        }
        Builder { image: Some(image), progress: self.progress.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let (directory, wanted) = (self.directory.clone(), meta.clone());
        let install = move || install::install(&directory, &wanted, snapshot);
        let (database, image) = aside(&self.disk, install).await??;
        let database = Arc::new(database);
        let old = std::mem::replace(&mut self.database, database.clone());
        // Of the state that is replaced.
        (self.held, self.lost) = (Writes::default(), None);
        (self.applied, self.membership) = (meta.last_log_id, meta.last_membership.clone());
        self.progress.made_durable(self.applied.as_ref());
        self.progress.set_image(Arc::new(image));
        let fold = self.fold.clone();
        let directory = self.directory.clone();
        let load = move || {
            old.discard(&directory);
            fold.load(&mut database.records())
        };
        aside(&self.disk, load).await?.map_err(io::Error::other)?;
        if let Some(last) = &meta.last_log_id {
            self.fold.folded(position(last));
        }
        self.progress.applied.send_replace(meta.last_log_id.as_ref().map(position));
        reached(Mark::SnapshotInstalled);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let image = self.progress.image.lock().clone();
        Ok(image.map(|image| Snapshot { meta: image.meta().clone(), snapshot: SnapshotData::Stored(image) }))
    }
}

/// Hands over the checkpoint that was taken when it was made.
pub(crate) struct Builder {
    image: Option<io::Result<Arc<Image>>>,
    progress: Arc<Progress>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let image =
            self.image.take().unwrap_or_else(|| Err(io::Error::other("the snapshot was built already")))?;
        self.progress.set_image(image.clone());
        Ok(Snapshot { meta: image.meta().clone(), snapshot: SnapshotData::Stored(image) })
    }
}

#[cfg(test)]
mod tests;
