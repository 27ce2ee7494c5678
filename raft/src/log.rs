//! The log: entries, votes and the commit position in `raft.db`. One writer thread stores everything in the order in which it was
//! asked, with one fdatasync for all that waits; the newest entries stay in memory (`tail`) and serve replication and
//! folding. Not for what entries mean.

mod database;
mod reader;
mod tail;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kontiki_hooks::{Defect, Mark, planted, reached};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Database, Disk, Form};
use crate::envelope::IdentityV1;
use crate::error::OpenError;
use crate::space::Space;
use crate::types::{Entry, LogId, Types, Vote};
pub(crate) use database::look;
use tail::Tail;
use writer::Task;

/// How many tasks may wait for the writer; the consensus waits when it is full.
const QUEUE: usize = 4096;

/// Limits of the log's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    /// The newest entries kept in memory, in bytes.
    pub(crate) tail_bytes: usize,
    /// RocksDB's write buffer.
    pub(crate) write_buffer_bytes: usize,
}

/// What the log has done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) largest_batch: AtomicU64,
}

/// What the handle, the readers and the writer share.
pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    db: Arc<dyn Database>,
    tail: RwLock<Tail>,
    vote: RwLock<Option<Vote>>,
    committed: RwLock<Option<LogId>>,
    counters: Arc<Counters>,
    // Last: dropped when the database is closed.
    _open: OpenToken,
}

/// Held while a database is open; when the last is gone, the data directory may be opened again.
pub(crate) type OpenToken = mpsc::Sender<()>;

/// Up to which index the folded state is durable; the log must keep everything after it.
pub(crate) type DurableState = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What the log's database is.
pub(crate) fn form(limits: LogLimits) -> Form {
    database::form(limits)
}

/// The log as openraft drives it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Task>,
    durable_state: Option<DurableState>,
}

impl LogStore {
    /// Opens the log of this identity, or creates it unless it has `begun`; verifies every entry.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        identity: &IdentityV1,
        begun: bool,
        limits: LogLimits,
        space: Arc<Space>,
        open: OpenToken,
    ) -> Result<LogStore, OpenError> {
        let db = disk.open(directory, &database::form(limits));
        let db = db.map_err(|error| OpenError::database(directory, &error))?;
        database::check_identity(&*db, directory, identity, begun)?;
        let stored = database::load(&*db, directory, limits.tail_bytes)?;
        let shared = Arc::new(Shared {
            disk,
            db,
            tail: RwLock::new(stored.tail),
            vote: RwLock::new(stored.vote),
            committed: RwLock::new(stored.committed),
            counters: Arc::default(),
            _open: open,
        });
        let (queue, tasks) = mpsc::channel(QUEUE);
        writer::start(shared.clone(), tasks, space)
            .map_err(|error| OpenError::io("starting the writer of", directory, &error))?;
        Ok(LogStore { shared, queue, durable_state: None })
    }

    /// From now on, nothing is purged that the durable state does not hold.
    pub(crate) fn keep_behind(mut self, durable_state: DurableState) -> LogStore {
        self.durable_state = Some(durable_state);
        self
    }

    /// The last entry that is gone, since a snapshot has it.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.tail.read().purged()
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    async fn send(&self, task: Task) -> io::Result<()> {
        self.queue.send(task).await.map_err(|_| io::Error::other("the log's writer has stopped"))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = reader::LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = self.shared.tail.read();
        Ok(LogState { last_purged_log_id: tail.purged(), last_log_id: tail.last() })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        reader::LogReader::new(self.shared.clone())
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, stored) = oneshot::channel();
        self.send(Task::Vote(*vote, done)).await?;
        stored.await.map_err(|_| io::Error::other("the log's writer has stopped"))??;
        *self.shared.vote.write() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        *self.shared.committed.write() = committed;
        match committed {
            // Not waited for: a position that is too old is put right by the next leader.
            Some(committed) => self.send(Task::Committed(committed)).await,
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(*self.shared.committed.read())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let sequence = self.shared.tail.write().append(&entries);
        self.send(Task::Append { entries, sequence, callback }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let last = {
            let mut tail = self.shared.tail.write();
            let last = tail.last();
            tail.truncate_after(last_log_id);
            last
        };
        if last > last_log_id {
            reached(Mark::LogTruncated);
        }
        let end = last.filter(|_| planted(Defect::TruncateOffByOne)).map_or(u64::MAX, |last| last.index);
        self.send(Task::Truncate { from: last_log_id.map_or(0, |id| id.index + 1), end }).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let committed = *self.shared.committed.read();
        let ahead = committed.filter(|id| planted(Defect::PurgeAheadOfFlush) && *id > log_id);
        let log_id = ahead.unwrap_or(log_id);
        if let Some(durable) = self.durable_state.as_ref().filter(|_| ahead.is_none()) {
            let durable = durable();
            if durable < Some(log_id.index) {
                let text = format!(
                    "refusing to purge the log up to {log_id}: the state is durable up to {durable:?} only"
                );
                return Err(io::Error::other(text));
            }
        }
        let from = self.shared.tail.write().purge(log_id);
        self.send(Task::Purge { from, upto: log_id }).await
    }
}

impl Shared {
    fn count(&self, entries: u64, bytes: u64, synced: bool) {
        let Counters { syncs, batches, entries: all, bytes: all_bytes, largest_batch } = &*self.counters;
        syncs.fetch_add(u64::from(synced), Ordering::Relaxed);
        batches.fetch_add(1, Ordering::Relaxed);
        all.fetch_add(entries, Ordering::Relaxed);
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
        largest_batch.fetch_max(entries, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
