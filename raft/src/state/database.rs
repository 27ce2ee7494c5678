//! One state directory: its tables, and how far they are folded, in the same batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::directory::StateDirectory;
use crate::envelope;
use crate::error::{OpenError, database_io};
use crate::fold::{Operation, Record, StoreError, Table, Writes};
use crate::types::{LogId, StoredMembership};

const META: &str = "meta";
const APPLIED: &[u8] = b"applied";

/// The tables and the memory of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateLimits {
    /// The tables, in the order of their numbers.
    pub(crate) tables: &'static [&'static str],
    /// What is written before it is flushed, all tables together.
    pub(crate) write_buffer_bytes: usize,
    /// Blocks of the tables kept in memory. Small: the fold has the state in memory.
    pub(crate) cache_bytes: usize,
}

/// An open state directory.
pub(crate) struct StateDb {
    db: DB,
    path: PathBuf,
    tables: &'static [&'static str],
}

fn options(limits: StateLimits) -> (Options, Options) {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(limits.cache_bytes));
    let mut family = Options::default();
    family.set_write_buffer_size((limits.write_buffer_bytes / 2).max(1 << 16));
    family.set_block_based_table_factory(&table);
    family.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // All tables are flushed at the same position, so that a crash leaves them at the same position.
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(limits.write_buffer_bytes);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    (options, family)
}

impl StateDb {
    /// Opens or creates it.
    pub(crate) fn open(path: &Path, limits: StateLimits) -> Result<StateDb, OpenError> {
        let (options, family) = options(limits);
        if path.join("CURRENT").exists() {
            let existing = DB::list_cf(&options, path).map_err(|error| OpenError::database(path, &error))?;
            let known =
                |name: &String| name == META || name == "default" || limits.tables.contains(&name.as_str());
            if let Some(unknown) = existing.iter().find(|name| !known(name)) {
                let detail = format!("it has a table {unknown:?} that this build does not know");
                return Err(OpenError::NewerFormat { directory: path.into(), detail });
            }
        }
        let names = limits.tables.iter().chain([&META]);
        let families = names.map(|name| ColumnFamilyDescriptor::new(*name, family.clone()));
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|error| OpenError::database(path, &error))?;
        Ok(StateDb { db, path: path.into(), tables: limits.tables })
    }

    /// Opens a checkpoint, which never changes.
    pub(crate) fn open_read_only(path: &Path, limits: StateLimits) -> Result<StateDb, OpenError> {
        let (mut options, _) = options(limits);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let existing = DB::list_cf(&options, path).map_err(|error| OpenError::database(path, &error))?;
        let db = DB::open_cf_for_read_only(&options, path, existing, false)
            .map_err(|error| OpenError::database(path, &error))?;
        Ok(StateDb { db, path: path.into(), tables: limits.tables })
    }

    fn family(&self, name: &str) -> Option<&ColumnFamily> {
        self.db.cf_handle(name)
    }

    fn meta(&self) -> &ColumnFamily {
        self.family(META).expect("opened with this column family")
    }

    fn table(&self, table: Table) -> Option<&ColumnFamily> {
        self.tables.get(usize::from(table.0)).and_then(|name| self.family(name))
    }

    /// How far it is folded.
    pub(crate) fn applied(&self) -> Result<(Option<LogId>, StoredMembership), OpenError> {
        let stored =
            self.db.get_cf(self.meta(), APPLIED).map_err(|error| OpenError::database(&self.path, &error))?;
        let Some(stored) = stored else { return Ok((None, StoredMembership::default())) };
        envelope::open_applied(stored.into())
            .map_err(|error| OpenError::record(&self.path, "the applied position", &error))
    }

    /// Writes the records and the position they bring the state to, together.
    pub(crate) fn write(
        &self,
        writes: Writes,
        last: &LogId,
        membership: &StoredMembership,
    ) -> io::Result<()> {
        self.write_batch(writes.operations, Some((Some(last), membership)))
    }

    /// Writes records of a snapshot; the position comes last.
    pub(crate) fn write_records(&self, records: Vec<Record>) -> io::Result<()> {
        self.write_batch(records.into_iter().map(Operation::Put).collect(), None)
    }

    /// Writes the position of a snapshot.
    pub(crate) fn write_position(
        &self,
        last: Option<&LogId>,
        membership: &StoredMembership,
    ) -> io::Result<()> {
        self.write_batch(Vec::new(), Some((last, membership)))
    }

    fn write_batch(
        &self,
        operations: Vec<Operation>,
        position: Option<(Option<&LogId>, &StoredMembership)>,
    ) -> io::Result<()> {
        let unknown =
            |table: Table| io::Error::other(format!("a record was written to the unknown table {}", table.0));
        let mut batch = WriteBatch::default();
        for operation in &operations {
            match operation {
                Operation::Put(Record { table, key, value }) => {
                    batch.put_cf(self.table(*table).ok_or_else(|| unknown(*table))?, key, value);
                }
                Operation::Delete(table, key) => {
                    batch.delete_cf(self.table(*table).ok_or_else(|| unknown(*table))?, key);
                }
            }
        }
        if let Some((last, membership)) = position {
            batch.put_cf(self.meta(), APPLIED, envelope::seal_applied(last, membership));
        }
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.db.write_opt(batch, &unlogged).map_err(database_io)
    }

    /// Makes everything that was written durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let families: Vec<&ColumnFamily> =
            self.tables.iter().chain([&META]).filter_map(|name| self.family(name)).collect();
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.db.flush_cfs_opt(&families, &wait).map_err(database_io)
    }

    /// Flushes, and hard-links the result into a new directory.
    pub(crate) fn checkpoint(&self, into: &Path) -> io::Result<()> {
        self.flush()?;
        let checkpoint = Checkpoint::new(&self.db).map_err(database_io)?;
        checkpoint.create_checkpoint(into).map_err(database_io)
    }

    /// All records, table by table, in key order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<Record, StoreError>> + Send + '_ {
        (0..self.tables.len() as u8).map(Table).flat_map(move |table| {
            // A checkpoint of an older build may lack a table.
            let records = self.table(table).map(|family| {
                let mut options = ReadOptions::default();
                options.fill_cache(false);
                options.set_verify_checksums(true);
                self.db.iterator_cf_opt(family, options, IteratorMode::Start)
            });
            records.into_iter().flatten().map(move |item| {
                let (key, value) =
                    item.map_err(|error| StoreError(format!("{}: {error}", self.path.display())))?;
                Ok(Record { table, key: key.into(), value: value.into() })
            })
        })
    }

    /// Closes it and deletes its files, unless somebody still reads it.
    pub(crate) fn discard(self: Arc<Self>, directory: &StateDirectory) {
        let path = self.path.clone();
        drop(self);
        directory.remove(&path);
    }
}
