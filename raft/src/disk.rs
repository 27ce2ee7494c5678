//! What a node stores on: ordered tables that are written in batches, a few small files, and threads that may block for it. The product
//! has [`Local`]: RocksDB and the file system. A simulation has its own, and everything above this seam is the real code.

mod local;
mod rocks;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

pub use local::Local;
#[cfg(test)]
pub(crate) use rocks::tests::compact;

/// Work that may block.
pub type Job = Box<dyn FnOnce() + Send>;
/// A key and its value.
pub type Pair = (Box<[u8]>, Box<[u8]>);
/// Pairs in key order.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<Pair, DiskError>> + Send + 'a>;

/// A disk.
pub trait Disk: Send + Sync + 'static {
    /// Opens a database, or creates it with these tables. Only their owner may read its files.
    fn open(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError>;

    /// Opens one that never changes; it may have fewer tables than are named.
    fn open_read_only(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError>;

    /// The tables of the database at this place; none if there is no database.
    fn tables(&self, path: &Path, form: &Form) -> Result<Option<Vec<String>>, DiskError>;

    /// Whether a database, a file or a directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Creates a directory and those above it. Only its owner may enter it, also if it was there before: the state has the
    /// cluster's secrets in it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Renames a directory; when this returns, it and its content have their place for good.
    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// A small file's content; none if it is absent.
    fn read(&self, path: &Path) -> io::Result<Option<String>>;

    /// Replaces a small file at once and for good: a crash leaves the old content or the new.
    fn replace(&self, path: &Path, content: &str) -> io::Result<()>;

    /// Runs work that may block, aside.
    fn run(&self, job: Job) -> BoxFuture<'static, io::Result<()>>;

    /// Gives a task a thread of its own. It may call [`Disk::block`].
    fn start(&self, name: &str, task: BoxFuture<'static, ()>) -> io::Result<()>;

    /// Runs work that may block, within a task that has a thread of its own.
    fn block(&self, job: Job) -> BoxFuture<'static, ()>;

    /// Waits, within a task that has a thread of its own.
    fn pause(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// An open database. What is written is read at once by whoever reads next.
pub trait Database: Send + Sync {
    /// A value.
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;

    /// What a table holds from this key on, up to but without that one. A table that is not there is empty.
    fn scan(&self, table: u8, from: &[u8], to: Option<&[u8]>) -> Scan<'_>;

    /// Writes all of a batch or nothing of it.
    fn write(&self, batch: Batch, how: Durability) -> Result<(), DiskError>;

    /// Makes all that was written durable, all tables at the same position.
    fn flush(&self) -> Result<(), DiskError>;

    /// Flushes, and makes a picture of all of it at another place, which stays when this database goes on.
    fn checkpoint(&self, into: &Path) -> Result<(), DiskError>;

    /// Gives space of a deleted range back at once, if it is cheap. Both ends belong to the range, other than in
    /// [`Batch::delete_range`]. What was stored there is gone for good, also if a power cut takes the deletion: sync that before.
    fn reclaim(&self, table: u8, first: &[u8], last: &[u8]) -> Result<(), DiskError>;
}

/// What a database is to be.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its tables, by number.
    pub tables: Vec<&'static str>,
    /// What it is for.
    pub purpose: Purpose,
    /// What is written before it goes into files.
    pub write_buffer_bytes: usize,
    /// What of it is kept in memory for reading.
    pub cache_bytes: usize,
}

/// What a database is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Written ahead, and synced where it is asked for: a lost end is a lost end, damage before it is refused.
    Log,
    /// Not written ahead: a crash leaves the last flush, of all tables at the same position.
    State,
}

/// What becomes of a batch in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk before it returns, with everything before it.
    Synced,
    /// In order behind what was written before; it survives the process, a power cut may take it.
    Logged,
    /// Lost in any crash, unless a flush came after it.
    Unlogged,
}

/// Changes that are made together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
    bytes: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stores a value.
    Put {
        /// Where.
        table: u8,
        /// Its key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Forgets a key.
    Delete {
        /// Where.
        table: u8,
        /// Which.
        key: Vec<u8>,
    },
    /// Forgets all keys from one up to, but without, another.
    DeleteRange {
        /// Where.
        table: u8,
        /// From.
        from: Vec<u8>,
        /// To.
        to: Vec<u8>,
    },
}

impl Change {
    /// The table that it changes.
    pub fn table(&self) -> u8 {
        match self {
            Change::Put { table, .. } | Change::Delete { table, .. } | Change::DeleteRange { table, .. } => {
                *table
            }
        }
    }
}

impl Batch {
    /// Stores a value.
    pub fn put(&mut self, table: u8, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.changes.push(Change::Put { table, key, value });
    }

    /// Forgets a key.
    pub fn delete(&mut self, table: u8, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.changes.push(Change::Delete { table, key });
    }

    /// Forgets a range.
    pub fn delete_range(&mut self, table: u8, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        self.bytes += from.len() + to.len();
        self.changes.push(Change::DeleteRange { table, from, to });
    }

    /// The keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Why a database did not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct DiskError {
    /// What that means.
    pub kind: DiskErrorKind,
    /// In words.
    pub detail: String,
}

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// What is stored does not verify, or part of it is gone.
    Corrupt,
    /// Another process has it open.
    InUse,
    /// Written by a newer build.
    Newer,
    /// Reading or writing failed.
    Failed,
}

impl From<DiskError> for io::Error {
    /// For the consensus, which only knows I/O errors.
    fn from(error: DiskError) -> io::Error {
        let kind = match error.kind {
            DiskErrorKind::Corrupt => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Runs work on the disk, aside, and brings back what came of it.
pub(crate) async fn aside<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let slot = Arc::new(Mutex::new(None));
    let filled = slot.clone();
    disk.run(Box::new(move || *filled.lock() = Some(work()))).await?;
    let done = slot.lock().take();
    done.ok_or_else(|| io::Error::other("work on the disk was cut short"))
}

/// The same within a task that has a thread of its own.
pub(crate) async fn here<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let slot = Arc::new(Mutex::new(None));
    let filled = slot.clone();
    disk.block(Box::new(move || *filled.lock() = Some(work()))).await;
    slot.lock().take()
}

impl Debug for dyn Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a disk")
    }
}
