//! `raft.db`: its tables, and what is verified when it is opened.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use openraft::entry::RaftEntry;

use super::LogLimits;
use super::tail::Tail;
use crate::disk::{Batch, Database, Disk, Durability, Form, Purpose, Scan};
use crate::envelope::{self, IdentityV1};
use crate::error::OpenError;
use crate::types::{Entry, LogId, Vote};

/// The table of the entries.
pub(super) const LOG: u8 = 0;
/// The table of what is beside them.
pub(super) const META: u8 = 1;

pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const PURGED: &[u8] = b"purged";
const IDENTITY: &[u8] = b"identity";

/// Who only reads writes nothing that would have to be buffered.
const READ_ONLY_BUFFER: usize = 64 << 10;

/// What a log holds when it is opened.
pub(super) struct Stored {
    pub(super) tail: Tail,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

/// What the database is.
pub(super) fn form(limits: LogLimits) -> Form {
    Form {
        tables: vec!["log", "meta"],
        purpose: Purpose::Log,
        write_buffer_bytes: limits.write_buffer_bytes,
        cache_bytes: 1 << 20,
    }
}

pub(super) fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn describe(identity: &IdentityV1) -> String {
    format!("controller {} of cluster {:?}", identity.node_id, identity.cluster_id)
}

/// Marks a new directory, and refuses one that is marked otherwise, or no more.
pub(super) fn check_identity(
    db: &dyn Database,
    directory: &Path,
    wanted: &IdentityV1,
    begun: bool,
) -> Result<(), OpenError> {
    let stored = meta(db, directory, IDENTITY)?;
    let Some(stored) = stored else {
        if begun {
            // Files of the database were removed, and its mark with them.
            return Err(OpenError::Lost { directory: directory.into() });
        }
        let mut mark = Batch::default();
        mark.put(META, IDENTITY, envelope::seal_identity(wanted));
        let marked = db.write(mark, Durability::Synced);
        return marked.map_err(|error| OpenError::database(directory, &error));
    };
    let found = envelope::open_identity(stored)
        .map_err(|error| OpenError::record(directory, "the identity", &error))?;
    if &found != wanted {
        return Err(OpenError::ForeignIdentity {
            directory: directory.into(),
            found: describe(&found),
            wanted: describe(wanted),
        });
    }
    Ok(())
}

fn position(
    db: &dyn Database,
    directory: &Path,
    name: &[u8],
    what: &str,
) -> Result<Option<LogId>, OpenError> {
    let opened = meta(db, directory, name)?.map(envelope::open_position).transpose();
    opened.map_err(|error| OpenError::record(directory, what, &error))
}

fn meta(db: &dyn Database, directory: &Path, name: &[u8]) -> Result<Option<Bytes>, OpenError> {
    let value = db.get(META, name).map_err(|error| OpenError::database(directory, &error))?;
    Ok(value.map(Bytes::from))
}

/// Reads the bounds and verifies every entry between them, keeping the newest in memory.
pub(super) fn load(db: &dyn Database, directory: &Path, tail_bytes: usize) -> Result<Stored, OpenError> {
    let purged = position(db, directory, PURGED, "the purge position")?;
    let committed = position(db, directory, COMMITTED, "the commit position")?;
    let vote = meta(db, directory, VOTE)?.map(envelope::open_vote).transpose();
    let vote = vote.map_err(|error| OpenError::record(directory, "the vote", &error))?;

    let mut tail = Tail::new(purged, tail_bytes);
    let first = purged.map_or(0, |id| id.index + 1);
    let corrupt = |detail| OpenError::Corrupt { directory: directory.into(), detail };
    for (next, item) in (first..).zip(iterate(db, first..u64::MAX)) {
        let (stored_key, value) = item.map_err(|error| OpenError::database(directory, &error))?;
        if *stored_key != key(next) {
            return Err(corrupt(format!("the log has a hole: entry {next} is missing")));
        }
        let entry = envelope::open_entry(value.into())
            .map_err(|error| OpenError::record(directory, &format!("log entry {next}"), &error))?;
        if entry.index() != next {
            return Err(corrupt(format!("log entry {next} claims to be entry {}", entry.index())));
        }
        if tail.last() > Some(entry.log_id()) {
            return Err(corrupt(format!("log entry {next} is of an older term than the one before it")));
        }
        tail.load(entry);
    }
    if committed.map(|id| id.index) > tail.last().map(|id| id.index) {
        // Entry and commit position are written in order, so an entry behind it was lost.
        return Err(corrupt(format!("the log ends before its commit position {committed:?}")));
    }
    Ok(Stored { tail, vote, committed })
}

/// A log that nobody has open, as it lies there.
pub(crate) struct Lying {
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) entries: Vec<Entry>,
}

/// Reads a log and changes nothing. By the same form as it is written: RocksDB crashes when it reads a manifest that tracks write-ahead
/// logs and is not told so (11.8, `DBImpl::Recover` with no place for the edit that forgets them).
pub(crate) fn look(disk: &dyn Disk, directory: &Path) -> Result<Lying, OpenError> {
    let limits = LogLimits { tail_bytes: 0, write_buffer_bytes: READ_ONLY_BUFFER };
    let failed = |error| OpenError::database(directory, &error);
    let db = disk.open_read_only(directory, &form(limits)).map_err(failed)?;
    let db = &*db;
    let purged = position(db, directory, PURGED, "the purge position")?;
    let committed = position(db, directory, COMMITTED, "the commit position")?;
    let entries = iterate(db, 0..u64::MAX).map(|item| {
        let (_, value) = item.map_err(failed)?;
        let opened = envelope::open_entry(value.into());
        opened.map_err(|error| OpenError::record(directory, "a log entry", &error))
    });
    Ok(Lying { purged, committed, entries: entries.collect::<Result<_, _>>()? })
}

fn iterate(db: &dyn Database, range: Range<u64>) -> Scan<'_> {
    db.scan(LOG, &key(range.start), Some(&key(range.end)))
}

/// Entries from the start of the range until one is missing or `budget` bytes are read.
pub(super) fn read(db: &dyn Database, range: Range<u64>, mut budget: usize) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (next, item) in (range.start..).zip(iterate(db, range)) {
        let (stored_key, value) = item?;
        if *stored_key != key(next) || (value.len() > budget && !entries.is_empty()) {
            break;
        }
        budget = budget.saturating_sub(value.len());
        entries.push(envelope::open_entry(value.into())?);
    }
    Ok(entries)
}
