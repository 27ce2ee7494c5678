//! RocksDB as a database of this crate.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, Direction, Error,
    ErrorKind, FlushOptions, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{Batch, Change, Database, DiskError, DiskErrorKind, Durability, Form, Purpose, Scan};

pub(super) struct Rocks {
    db: DB,
    tables: Vec<&'static str>,
}

impl From<Error> for DiskError {
    fn from(error: Error) -> DiskError {
        failed(error)
    }
}

/// The file that makes a directory a database.
pub(super) fn is_database(path: &Path) -> bool {
    path.join("CURRENT").exists()
}

fn failed(error: Error) -> DiskError {
    let detail = error.to_string();
    DiskError { kind: meaning(error.kind(), &detail), detail }
}

fn meaning(kind: ErrorKind, detail: &str) -> DiskErrorKind {
    match kind {
        ErrorKind::Corruption => DiskErrorKind::Corrupt,
        // Of another process, or of this one. Opening the file for the lock fails in other words, and paths may say "lock", too.
        ErrorKind::IOError if detail.contains("While lock file") || detail.contains("lock hold by") => {
            DiskErrorKind::InUse
        }
        // A file that the manifest names and that is gone.
        ErrorKind::IOError if detail.contains("No such file") => DiskErrorKind::Corrupt,
        ErrorKind::NotSupported => DiskErrorKind::Newer,
        _ => DiskErrorKind::Failed,
    }
}

fn options(form: &Form) -> (Options, Options) {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(form.cache_bytes));
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    match form.purpose {
        Purpose::Log => {
            family.set_write_buffer_size(form.write_buffer_bytes);
            family.set_max_write_buffer_number(3);
            // A torn last record was never acknowledged and may go. Damage before it means that acknowledged entries are
            // lost: then the database must not open. The default mode would silently open without them.
            options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
            options.set_track_and_verify_wals_in_manifest(true);
            options.set_max_total_wal_size(4 * form.write_buffer_bytes as u64);
        }
        Purpose::State => {
            family.set_write_buffer_size((form.write_buffer_bytes / 2).max(1 << 16));
            // All tables are flushed at the same position, so that a crash leaves them at the same position.
            options.set_atomic_flush(true);
            options.set_db_write_buffer_size(form.write_buffer_bytes);
            // Nothing is looked up in it: it is scanned when it is opened, and that files overlap costs that scan little. A merge of the first
            // level rewrites all of the next one, which has the whole state.
            family.set_level_zero_file_num_compaction_trigger(12);
            family.set_level_zero_slowdown_writes_trigger(32);
            family.set_level_zero_stop_writes_trigger(48);
        }
    }
    (options, family)
}

/// The column families of a database.
pub(super) fn tables(path: &Path, form: &Form) -> Result<Vec<String>, DiskError> {
    let mut names = DB::list_cf(&options(form).0, path).map_err(failed)?;
    names.retain(|name| name != "default");
    Ok(names)
}

impl Rocks {
    pub(super) fn open(path: &Path, form: &Form) -> Result<Rocks, DiskError> {
        let (options, family) = options(form);
        let families = form.tables.iter().map(|name| ColumnFamilyDescriptor::new(*name, family.clone()));
        let db = DB::open_cf_descriptors(&options, path, families).map_err(failed)?;
        Ok(Rocks { db, tables: form.tables.clone() })
    }

    pub(super) fn open_read_only(path: &Path, form: &Form) -> Result<Rocks, DiskError> {
        let (mut options, _) = options(form);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let existing = DB::list_cf(&options, path).map_err(failed)?;
        let db = DB::open_cf_for_read_only(&options, path, existing, false).map_err(failed)?;
        Ok(Rocks { db, tables: form.tables.clone() })
    }

    fn family(&self, table: u8) -> Option<&ColumnFamily> {
        self.tables.get(usize::from(table)).and_then(|name| self.db.cf_handle(name))
    }

    fn existing(&self, table: u8) -> Result<&ColumnFamily, DiskError> {
        let missing =
            || DiskError { kind: DiskErrorKind::Failed, detail: format!("there is no table {table}") };
        self.family(table).ok_or_else(missing)
    }
}

impl Database for Rocks {
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(family) = self.family(table) else { return Ok(None) };
        self.db.get_cf(family, key).map_err(failed)
    }

    fn scan(&self, table: u8, from: &[u8], to: Option<&[u8]>) -> Scan<'_> {
        let Some(family) = self.family(table) else { return Box::new(std::iter::empty()) };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        // Seeks to the first key that is left: iterating from the start would wade through what was deleted.
        let pairs = self.db.iterator_cf_opt(family, options, IteratorMode::From(from, Direction::Forward));
        Box::new(pairs.map(|pair| pair.map_err(failed)))
    }

    fn write(&self, batch: Batch, how: Durability) -> Result<(), DiskError> {
        let mut operations = WriteBatch::default();
        for change in &batch.changes {
            let family = self.existing(change.table())?;
            match change {
                Change::Put { key, value, .. } => operations.put_cf(family, key, value),
                Change::Delete { key, .. } => operations.delete_cf(family, key),
                Change::DeleteRange { from, to, .. } => operations.delete_range_cf(family, from, to),
            }
        }
        let mut options = WriteOptions::default();
        match how {
            Durability::Synced => options.set_sync(true),
            Durability::Logged => {}
            Durability::Unlogged => options.disable_wal(true),
        }
        self.db.write_opt(operations, &options).map_err(failed)
    }

    fn flush(&self) -> Result<(), DiskError> {
        let families: Vec<&ColumnFamily> =
            (0..self.tables.len() as u8).filter_map(|table| self.family(table)).collect();
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_cfs_opt(&families, &wait).map_err(failed)
    }

    fn checkpoint(&self, into: &Path) -> Result<(), DiskError> {
        self.flush()?;
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(into)).map_err(failed)
    }

    fn reclaim(&self, table: u8, first: &[u8], last: &[u8]) -> Result<(), DiskError> {
        // Drops the files that have nothing outside of the range; its end belongs to it.
        self.db.delete_file_in_range_cf(self.existing(table)?, first, last).map_err(failed)
    }
}

#[cfg(test)]
pub(super) mod tests;
