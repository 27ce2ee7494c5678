//! The seam to whoever owns the replicated state: committed entries go out, records to store come back.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::disk::Batch;

/// What the log is folded into.
///
/// The implementor keeps the state in memory as it likes and gives the records that an entry changes; this crate
/// stores them, and hands all of them back after a restart or an installed snapshot.
pub trait Fold: Send + Sync + 'static {
    /// Rebuilds the memory from all stored records: at open, and after a snapshot was installed. It must forget what it held
    /// before.
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError>;

    /// Folds one committed entry: total, never reads a clock. Adds the records it changes to `writes`; they are stored with those of
    /// entries before and after it, in one batch with the position of the last entry they come from.
    ///
    /// After a crash, entries past the last flush are folded again, onto the records of that flush.
    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes);

    /// All entries up to `last` are folded: effects may be released. Their records need not be stored yet, as after a crash they are folded
    /// again. Also called for entries that carry nothing to fold (a new leader's first entry, membership).
    fn folded(&self, last: LogPosition);
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The term of the leader that wrote the entry.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// A committed entry as it is folded.
#[derive(Clone, Debug)]
pub struct CommittedEntry {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place in the log.
    pub index: u64,
    /// What was proposed.
    pub payload: Bytes,
}

/// One of the tables named in `Options::tables`, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u8);

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is kept.
    pub table: Table,
    /// Its key; records of one table come back in key order.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// The records that a fold changes: the last write of a key counts.
#[derive(Default)]
pub struct Writes {
    records: BTreeMap<(Table, Vec<u8>), Option<Value>>,
    bytes: usize,
}

/// What is stored under a key.
enum Value {
    Known(Vec<u8>),
    Later(Box<dyn FnOnce() -> Vec<u8> + Send + Sync>),
}

impl Writes {
    /// Stores a record, replacing the one of the same key.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.add(table, key.into(), value.len(), Some(Value::Known(value)));
    }

    /// The same, of a value that is worked out when it is stored: never if it is replaced before. It has about so many bytes.
    pub fn put_later(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        about: usize,
        value: impl FnOnce() -> Vec<u8> + Send + Sync + 'static,
    ) {
        self.add(table, key.into(), about, Some(Value::Later(Box::new(value))));
    }

    /// Forgets a record.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.add(table, key.into(), 0, None);
    }

    fn add(&mut self, table: Table, key: Vec<u8>, about: usize, value: Option<Value>) {
        self.bytes += key.len() + about;
        self.records.insert((table, key), value);
    }

    /// Adds what was written after this.
    pub(crate) fn add_all(&mut self, later: Writes) {
        self.bytes += later.bytes;
        self.records.extend(later.records);
    }

    /// About how many bytes were written, those of replaced records among them: a measure of what it took to come here, too.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As the database takes them.
    pub(crate) fn into_batch(self) -> Batch {
        let mut batch = Batch::default();
        for ((table, key), value) in self.records {
            match value {
                Some(Value::Known(value)) => batch.put(table.0, key, value),
                Some(Value::Later(value)) => batch.put(table.0, key, value()),
                None => batch.delete(table.0, key),
            }
        }
        batch
    }
}

impl std::fmt::Debug for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.records.keys()).finish()
    }
}

/// Stored records could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("reading stored records: {0}")]
pub struct StoreError(pub String);

/// The records do not make a state.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FoldError {
    /// They are broken.
    #[error("rebuilding the state from its records: {0}")]
    Records(String),
    /// They are as they should be, for a newer build than this one: why, in words.
    #[error("{0}")]
    Newer(String),
}

impl From<StoreError> for FoldError {
    fn from(error: StoreError) -> Self {
        FoldError::Records(error.to_string())
    }
}
