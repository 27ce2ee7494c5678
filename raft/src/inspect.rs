//! What a stopped node has stored, for people and tests: read without opening it for writing, so that nothing changes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use openraft::entry::RaftEntry;
use rocksdb::{DB, IteratorMode, Options};

use crate::envelope;
use crate::error::OpenError;
use crate::fold::{LogPosition, Record, Table};
use crate::types::{Entry, EntryPayload, LogId, term_of};

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

fn unreadable(path: &Path, error: rocksdb::Error) -> OpenError {
    OpenError::io("reading", path, &io::Error::other(error))
}

fn open(path: &Path) -> Result<DB, OpenError> {
    let failed = |error| unreadable(path, error);
    let options = Options::default();
    let families = DB::list_cf(&options, path).map_err(failed)?;
    DB::open_cf_for_read_only(&options, path, families, false).map_err(failed)
}

fn get(db: &DB, path: &Path, name: &str) -> Result<Option<bytes::Bytes>, OpenError> {
    let Some(meta) = db.cf_handle("meta") else { return Ok(None) };
    let value = db.get_cf(meta, name).map_err(|error| unreadable(path, error))?;
    Ok(value.map(Into::into))
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
    let path = data_dir.join("raft.db");
    let db = open(&path)?;
    let at = |name: &str| {
        let stored = get(&db, &path, name)?.map(envelope::open_position).transpose();
        let stored = stored.map_err(|error| OpenError::record(&path, name, &error))?;
        Ok::<_, OpenError>(stored.as_ref().map(position))
    };
    let (purged, committed) = (at("purged")?, at("committed")?);
    let mut entries = Vec::new();
    if let Some(log) = db.cf_handle("log") {
        for item in db.iterator_cf(log, IteratorMode::Start) {
            let (_, value) = item.map_err(|error| unreadable(&path, error))?;
            let opened = envelope::open_entry(value.into());
            entries.push(entry(&opened.map_err(|error| OpenError::record(&path, "a log entry", &error))?));
        }
    }
    Ok(StoredLog { purged, committed, entries })
}

/// Reads the folded state in a stopped node's data directory. `tables` are those of `Options::tables`.
pub fn stored_state(data_dir: &Path, tables: &[&str]) -> Result<StoredState, OpenError> {
    let root = data_dir.join("state");
    let pointer = fs::read_to_string(root.join("CURRENT"));
    let pointer = pointer.map_err(|error| OpenError::io("reading the pointer of", &root, &error))?;
    let path: PathBuf = root.join(pointer.trim());
    let db = open(&path)?;
    let applied = get(&db, &path, "applied")?.map(envelope::open_applied).transpose();
    let applied = applied.map_err(|error| OpenError::record(&path, "the applied position", &error))?;
    let applied = applied.and_then(|(last, _)| last.as_ref().map(position));
    let mut records = Vec::new();
    for (number, name) in (0..).zip(tables) {
        let Some(family) = db.cf_handle(name) else { continue };
        for item in db.iterator_cf(family, IteratorMode::Start) {
            let (key, value) = item.map_err(|error| unreadable(&path, error))?;
            records.push(Record { table: Table(number), key: key.into(), value: value.into() });
        }
    }
    Ok(StoredState { applied, records })
}
