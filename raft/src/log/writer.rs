//! The one thread that writes the log. It takes all that waits, makes it one batch with one fdatasync, and answers in order. An
//! error ends it for good: after a failed fdatasync nobody knows what the disk holds, so the process must go down. So does an end of
//! the node while the disk is full: what waits then is refused and not written.

use std::io;
use std::sync::Arc;

use kontiki_hooks::{Defect, planted};
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::{Shared, database};
use crate::disk::{self, Database, Durability, here};
use crate::envelope;
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
        end: u64,
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
    operations: disk::Batch,
    waiting: Vec<Waiting>,
    entries: u64,
    tasks: usize,
    /// The first and the last entry that goes.
    purged: Option<(u64, u64)>,
    truncated: bool,
}

impl Batch {
    fn add(&mut self, task: Task) {
        let (log, meta) = (database::LOG, database::META);
        self.tasks += 1;
        match task {
            Task::Append { entries, sequence, callback } => {
                for entry in &entries {
                    let index = openraft::entry::RaftEntry::index(entry);
                    self.operations.put(log, database::key(index), envelope::seal_entry(entry));
                }
                self.entries += entries.len() as u64;
                self.waiting.push(Waiting::Append(sequence, callback));
            }
            Task::Vote(vote, done) => {
                self.operations.put(meta, database::VOTE, envelope::seal_vote(&vote));
                self.waiting.push(Waiting::Vote(done));
            }
            Task::Committed(id) => {
                self.operations.put(meta, database::COMMITTED, envelope::seal_position(&id));
            }
            Task::Truncate { from, end } => {
                self.operations.delete_range(log, database::key(from), database::key(end));
                self.truncated = true;
            }
            Task::Purge { from, upto } => {
                // The position first: a log that starts later than it says would be a hole.
                self.operations.put(meta, database::PURGED, envelope::seal_position(&upto));
                self.operations.delete_range(log, database::key(from), database::key(upto.index + 1));
                self.purged = Some((self.purged.map_or(from, |(first, _)| first), upto.index));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.tasks >= BATCH_TASKS || self.operations.bytes() >= BATCH_BYTES
    }

    /// Whether it must be on the disk before anything follows from it. Who waits is answered then. Files of purged entries are dropped
    /// for good: without the purge itself, the log would have a hole after a power cut. And a snapshot that replaced conflicting
    /// entries is durable at once: they must not come back behind it.
    fn needs_sync(&self) -> bool {
        self.truncated || self.purged.is_some() || self.waiting.iter().any(needs_sync)
    }
}

pub(super) fn start(
    shared: Arc<Shared>,
    mut tasks: mpsc::Receiver<Task>,
    space: Arc<Space>,
) -> io::Result<()> {
    let disk = shared.disk.clone();
    let run = async move {
        while let Some(task) = tasks.recv().await {
            let mut batch = Batch::default();
            batch.add(task);
            while !batch.is_full() {
                match tasks.try_recv() {
                    Ok(task) => batch.add(task),
                    Err(_) => break,
                }
            }
            if batch.entries > 0 && !space.room_or_end(&*shared.disk, || tasks.is_closed()).await {
                answer(&shared, batch.waiting, Some("this controller ends, and its disk is full"));
                break;
            }
            if !write(&shared, batch).await {
                break;
            }
        }
    };
    // It ends when the last handle of the log is gone and all is written.
    disk.start("raft-log", Box::pin(run))
}

/// Writes the batch and answers. False when the log cannot be trusted any more.
async fn write(shared: &Arc<Shared>, batch: Batch) -> bool {
    let synced = batch.needs_sync();
    let Batch { operations, waiting, entries, purged, .. } = batch;
    let bytes = operations.bytes() as u64;
    let how = if synced { Durability::Synced } else { Durability::Logged };
    let db = shared.db.clone();
    let result = here(&shared.disk, move || db.write(operations, how)).await;
    let failed = match result {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.to_string()),
        None => Some("it was cut short".into()),
    };
    let failed = failed.filter(|_| !planted(Defect::FsyncErrorIgnored));
    if let Some(error) = &failed {
        tracing::error!(%error, "writing the log failed: this controller stops; nothing that was acknowledged is lost");
    }
    shared.count(entries, bytes, synced);
    answer(shared, waiting, failed.as_deref());
    if failed.is_none()
        && let Some((first, last)) = purged
    {
        let db = shared.db.clone();
        here(&shared.disk, move || drop_files(&*db, first, last)).await;
    }
    failed.is_none()
}

/// Tells all who wait that it is written, or why it is not.
fn answer(shared: &Shared, waiting: Vec<Waiting>, failed: Option<&str>) {
    let outcome = || match failed {
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
}

/// Whether it is answered only when it is on the disk: all of them.
fn needs_sync(waiting: &Waiting) -> bool {
    match waiting {
        Waiting::Append(..) => !planted(Defect::AckBeforeFsync),
        Waiting::Vote(..) => !planted(Defect::VoteNotSynced),
    }
}

/// Gives whole files of purged entries back at once; the rest goes with the next compaction.
fn drop_files(db: &dyn Database, first: u64, last: u64) {
    if first > last {
        return;
    }
    // The last one belongs to it, other than when a range is deleted: what follows it is live.
    if let Err(error) = db.reclaim(database::LOG, &database::key(first), &database::key(last)) {
        tracing::warn!(%error, "dropping the files of purged log entries failed; compaction will do it");
    }
}
