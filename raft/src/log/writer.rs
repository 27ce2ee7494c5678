//! The one thread that writes the log. It takes all that waits, makes it one batch with one fdatasync, and answers in order. An
//! error ends it for good: after a failed fdatasync nobody knows what the disk holds, so the process must go down.

use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use super::{Shared, database};
use crate::envelope;
use crate::error::database_io;
use crate::space::Space;
use crate::types::{Entry, LogId, Types, Vote};

/// A batch takes no further task beyond this.
const BATCH_BYTES: usize = 8 << 20;
/// And no more tasks than this.
const BATCH_TASKS: usize = 4096;

/// What the writer is asked for.
pub(super) enum Task {
    Append {
        entries: Vec<Entry>,
        sequence: u64,
        callback: IOFlushed<Types>,
    },
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    /// Needs no fdatasync of its own.
    Committed(LogId),
    Truncate {
        from: u64,
    },
    Purge {
        from: u64,
        upto: LogId,
    },
}

/// Who is told when a batch is on disk.
enum Waiting {
    Append(u64, IOFlushed<Types>),
    Vote(oneshot::Sender<io::Result<()>>),
}

#[derive(Default)]
struct Batch {
    operations: WriteBatch,
    waiting: Vec<Waiting>,
    entries: u64,
    tasks: usize,
    purged: Option<(u64, u64)>,
}

impl Batch {
    fn add(&mut self, shared: &Shared, task: Task) {
        let (log, meta) = (database::log_family(&shared.db), database::meta_family(&shared.db));
        self.tasks += 1;
        match task {
            Task::Append { entries, sequence, callback } => {
                for entry in &entries {
                    let index = openraft::entry::RaftEntry::index(entry);
                    self.operations.put_cf(log, database::key(index), envelope::seal_entry(entry));
                }
                self.entries += entries.len() as u64;
                self.waiting.push(Waiting::Append(sequence, callback));
            }
            Task::Vote(vote, done) => {
                self.operations.put_cf(meta, database::VOTE, envelope::seal_vote(&vote));
                self.waiting.push(Waiting::Vote(done));
            }
            Task::Committed(id) => {
                self.operations.put_cf(meta, database::COMMITTED, envelope::seal_position(&id));
            }
            Task::Truncate { from } => {
                self.operations.delete_range_cf(log, database::key(from), database::key(u64::MAX));
            }
            Task::Purge { from, upto } => {
                // The position first: a log that starts later than it says would be a hole.
                self.operations.put_cf(meta, database::PURGED, envelope::seal_position(&upto));
                self.operations.delete_range_cf(log, database::key(from), database::key(upto.index + 1));
                self.purged = Some((self.purged.map_or(from, |(first, _)| first), upto.index + 1));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.tasks >= BATCH_TASKS || self.operations.size_in_bytes() >= BATCH_BYTES
    }
}

pub(super) fn start(
    shared: Arc<Shared>,
    mut tasks: mpsc::Receiver<Task>,
    space: Arc<Space>,
) -> io::Result<()> {
    let run = move || {
        while let Some(task) = tasks.blocking_recv() {
            let mut batch = Batch::default();
            batch.add(&shared, task);
            while !batch.is_full() {
                match tasks.try_recv() {
                    Ok(task) => batch.add(&shared, task),
                    Err(_) => break,
                }
            }
            if batch.entries > 0 {
                space.block_until_room(|| tasks.is_closed());
            }
            if !write(&shared, batch) {
                break;
            }
        }
    };
    // It ends when the last handle of the log is gone and all is written.
    std::thread::Builder::new().name("raft-log".into()).spawn(run).map(drop)
}

/// Writes the batch and answers. False when the log cannot be trusted any more.
fn write(shared: &Shared, batch: Batch) -> bool {
    let Batch { operations, waiting, entries, purged, .. } = batch;
    let bytes = operations.size_in_bytes() as u64;
    let synced = !waiting.is_empty();
    let mut options = WriteOptions::default();
    options.set_sync(synced);
    let result = shared.db.write_opt(operations, &options);
    let failed = result.as_ref().err().map(ToString::to_string);
    if let Err(error) = &result {
        tracing::error!(%error, "writing the log failed: this controller stops; nothing that was acknowledged is lost");
    }
    shared.count(entries, bytes, synced);
    let outcome = || match &failed {
        None => Ok(()),
        Some(text) => Err(io::Error::other(format!("writing the log failed: {text}"))),
    };
    for waiting in waiting {
        match waiting {
            Waiting::Append(sequence, callback) => {
                if failed.is_none() {
                    shared.tail.write().written(sequence);
                }
                callback.io_completed(outcome());
            }
            Waiting::Vote(done) => {
                let _ = done.send(outcome());
            }
        }
    }
    if failed.is_none()
        && let Some((from, end)) = purged
    {
        drop_files(shared, from, end);
    }
    failed.is_none()
}

/// Gives whole files of purged entries back at once; the rest goes with the next compaction.
fn drop_files(shared: &Shared, from: u64, end: u64) {
    let family = database::log_family(&shared.db);
    if let Err(error) = shared.db.delete_file_in_range_cf(family, database::key(from), database::key(end)) {
        let error = database_io(error);
        tracing::warn!(%error, "dropping the files of purged log entries failed; compaction will do it");
    }
}
