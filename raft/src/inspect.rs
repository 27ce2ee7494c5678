//! What a stopped node has stored, for people and tests: read without opening it for writing, so that nothing changes.

use std::path::Path;
use std::{fs, io};

use openraft::entry::RaftEntry;

use crate::disk::Local;
use crate::error::OpenError;
use crate::fold::{LogPosition, Record, StoreError};
use crate::log::look;
use crate::state::{StateDb, StateLimits};
use crate::types::{Entry, EntryPayload, LogId, term_of};

/// Everything is read once, in order.
const MEMORY: usize = 1 << 20;

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Its place.
    pub position: LogPosition,
    /// What the consensus uses it for: `normal`, `membership` or `blank`.
    pub kind: &'static str,
    /// What was proposed; empty for the consensus' own entries.
    pub payload: bytes::Bytes,
}

/// A log.
#[derive(Clone, Debug)]
pub struct StoredLog {
    /// Everything up to here was purged.
    pub purged: Option<LogPosition>,
    /// Everything up to here is known to be on a majority. What follows may be, too.
    pub committed: Option<LogPosition>,
    /// The entries, in order.
    pub entries: Vec<StoredEntry>,
}

/// The folded state.
#[derive(Clone, Debug)]
pub struct StoredState {
    /// How far it is folded on the disk.
    pub applied: Option<LogPosition>,
    /// Its records, table by table, in key order.
    pub records: Vec<Record>,
}

fn position(id: &LogId) -> LogPosition {
    LogPosition { term: term_of(id), index: id.index }
}

fn entry(entry: &Entry) -> StoredEntry {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Normal(payload) => ("normal", payload.0.clone()),
        EntryPayload::Membership(_) => ("membership", bytes::Bytes::new()),
        EntryPayload::Blank => ("blank", bytes::Bytes::new()),
    };
    StoredEntry { position: position(&entry.log_id()), kind, payload }
}

/// Reads the log in a stopped node's data directory.
pub fn stored_log(data_dir: &Path) -> Result<StoredLog, OpenError> {
    let log = look(&Local, &data_dir.join("raft.db"))?;
    let at = |id: &Option<LogId>| id.as_ref().map(position);
    Ok(StoredLog {
        purged: at(&log.purged),
        committed: at(&log.committed),
        entries: log.entries.iter().map(entry).collect(),
    })
}

/// Reads the folded state in a stopped node's data directory. `tables` are those of `Options::tables`.
pub fn stored_state(data_dir: &Path, tables: &'static [&'static str]) -> Result<StoredState, OpenError> {
    let root = data_dir.join("state");
    let pointer = fs::read_to_string(root.join("CURRENT"));
    let pointer = pointer.map_err(|error| OpenError::io("reading the pointer of", &root, &error))?;
    let path = root.join(pointer.trim());
    let limits = StateLimits { tables, write_buffer_bytes: MEMORY, cache_bytes: MEMORY };
    let state = StateDb::open_read_only(&Local, &path, limits)?;
    let (applied, _) = state.applied()?;
    let records = state.records().collect::<Result<_, _>>();
    let unreadable = |error: StoreError| OpenError::io("reading", &path, &io::Error::other(error));
    Ok(StoredState { applied: applied.as_ref().map(position), records: records.map_err(unreadable)? })
}
