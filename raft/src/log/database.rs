//! `raft.db`: its column families, its options, and what is verified when it is opened.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction,
    IteratorMode, Options, ReadOptions, WriteOptions,
};

use super::LogLimits;
use super::tail::Tail;
use crate::envelope::{self, IdentityV1};
use crate::error::{OpenError, database_io};
use crate::types::{Entry, LogId, Vote};

const LOG: &str = "log";
const META: &str = "meta";

pub(super) const VOTE: &[u8] = b"vote";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const PURGED: &[u8] = b"purged";
const IDENTITY: &[u8] = b"identity";

/// What a log holds when it is opened.
pub(super) struct Stored {
    pub(super) tail: Tail,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

pub(super) fn open(directory: &Path, limits: LogLimits) -> Result<DB, OpenError> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(1 << 20));
    let mut family = Options::default();
    family.set_write_buffer_size(limits.write_buffer_bytes);
    family.set_max_write_buffer_number(3);
    family.set_block_based_table_factory(&table);
    family.set_compression_type(rocksdb::DBCompressionType::Lz4);

    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn last record was never acknowledged and may go. Damage before it means that acknowledged entries are lost:
    // then the database must not open. The default mode would silently open without them.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_max_total_wal_size(4 * limits.write_buffer_bytes as u64);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    let families = [LOG, META].map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
    DB::open_cf_descriptors(&options, directory, families)
        .map_err(|error| OpenError::database(directory, &error))
}

pub(super) fn log_family(db: &DB) -> &ColumnFamily {
    db.cf_handle(LOG).expect("opened with this column family")
}

pub(super) fn meta_family(db: &DB) -> &ColumnFamily {
    db.cf_handle(META).expect("opened with this column family")
}

pub(super) fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn describe(identity: &IdentityV1) -> String {
    format!("controller {} of cluster {:?}", identity.node_id, identity.cluster_id)
}

/// Marks a new directory, and refuses one that is marked otherwise, or no more.
pub(super) fn check_identity(
    db: &DB,
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
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        return db
            .put_cf_opt(meta_family(db), IDENTITY, envelope::seal_identity(wanted), &synced)
            .map_err(|error| OpenError::database(directory, &error));
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

fn meta(db: &DB, directory: &Path, name: &[u8]) -> Result<Option<Bytes>, OpenError> {
    let value = db.get_cf(meta_family(db), name).map_err(|error| OpenError::database(directory, &error))?;
    Ok(value.map(Bytes::from))
}

/// Reads the bounds and verifies every entry between them, keeping the newest in memory.
pub(super) fn load(db: &DB, directory: &Path, tail_bytes: usize) -> Result<Stored, OpenError> {
    let position = |name, what| {
        let stored = meta(db, directory, name)?;
        let opened = stored.map(envelope::open_position).transpose();
        opened.map_err(|error| OpenError::record(directory, what, &error))
    };
    let purged = position(PURGED, "the purge position")?;
    let committed = position(COMMITTED, "the commit position")?;
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

fn iterate(db: &DB, range: Range<u64>) -> rocksdb::DBIterator<'_> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(true);
    options.set_iterate_upper_bound(key(range.end));
    // Seeks to the first key that is left: iterating from the start would wade through what was purged.
    let start = key(range.start);
    db.iterator_cf_opt(log_family(db), options, IteratorMode::From(&start, Direction::Forward))
}

/// Entries from the start of the range until one is missing or `budget` bytes are read.
pub(super) fn read(db: &DB, range: Range<u64>, mut budget: usize) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (next, item) in (range.start..).zip(iterate(db, range)) {
        let (stored_key, value) = item.map_err(database_io)?;
        if *stored_key != key(next) || (value.len() > budget && !entries.is_empty()) {
            break;
        }
        budget = budget.saturating_sub(value.len());
        entries.push(envelope::open_entry(value.into())?);
    }
    Ok(entries)
}
