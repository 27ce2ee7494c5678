//! One state directory: its tables, and how far they are folded, in the same batch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::StateDirectory;
use crate::disk::{Batch, Database, Disk, Durability, Form, Purpose};
use crate::envelope;
use crate::error::OpenError;
use crate::fold::{Record, StoreError, Table, Writes};
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

impl StateLimits {
    /// The fold's tables, and ours behind them.
    fn form(&self) -> Form {
        Form {
            tables: self.tables.iter().copied().chain([META]).collect(),
            purpose: Purpose::State,
            write_buffer_bytes: self.write_buffer_bytes,
            cache_bytes: self.cache_bytes,
        }
    }

    /// The number of our table.
    fn meta(&self) -> u8 {
        self.tables.len() as u8
    }
}

/// An open state directory.
pub(crate) struct StateDb {
    db: Arc<dyn Database>,
    path: PathBuf,
    limits: StateLimits,
}

impl StateDb {
    /// Opens or creates it.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, limits: StateLimits) -> Result<StateDb, OpenError> {
        let failed = |error| OpenError::database(path, &error);
        let form = limits.form();
        let existing = disk.tables(path, &form).map_err(failed)?.unwrap_or_default();
        if let Some(unknown) = existing.iter().find(|name| !form.tables.contains(&name.as_str())) {
            let detail = format!("it has a table {unknown:?} that this build does not know");
            return Err(OpenError::NewerFormat { directory: path.into(), detail });
        }
        let db = disk.open(path, &form).map_err(failed)?;
        Ok(StateDb { db, path: path.into(), limits })
    }

    /// Opens a checkpoint, which never changes.
    pub(crate) fn open_read_only(
        disk: &dyn Disk,
        path: &Path,
        limits: StateLimits,
    ) -> Result<StateDb, OpenError> {
        let db = disk.open_read_only(path, &limits.form());
        let db = db.map_err(|error| OpenError::database(path, &error))?;
        Ok(StateDb { db, path: path.into(), limits })
    }

    /// How far it is folded.
    pub(crate) fn applied(&self) -> Result<(Option<LogId>, StoredMembership), OpenError> {
        let stored = self.db.get(self.limits.meta(), APPLIED);
        let stored = stored.map_err(|error| OpenError::database(&self.path, &error))?;
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
        self.write_batch(writes.into_batch(), Some((Some(last), membership)))
    }

    /// Writes records of a snapshot; the position comes last.
    pub(crate) fn write_records(&self, records: Vec<Record>) -> io::Result<()> {
        let mut batch = Batch::default();
        for Record { table, key, value } in records {
            batch.put(table.0, key, value);
        }
        self.write_batch(batch, None)
    }

    /// Writes the position of a snapshot.
    pub(crate) fn write_position(
        &self,
        last: Option<&LogId>,
        membership: &StoredMembership,
    ) -> io::Result<()> {
        self.write_batch(Batch::default(), Some((last, membership)))
    }

    fn write_batch(
        &self,
        mut batch: Batch,
        position: Option<(Option<&LogId>, &StoredMembership)>,
    ) -> io::Result<()> {
        let meta = self.limits.meta();
        if let Some(change) = batch.changes.iter().find(|change| change.table() >= meta) {
            let text = format!("a record was written to the unknown table {}", change.table());
            return Err(io::Error::other(text));
        }
        if let Some((last, membership)) = position {
            batch.put(meta, APPLIED, envelope::seal_applied(last, membership));
        }
        Ok(self.db.write(batch, Durability::Unlogged)?)
    }

    /// Makes everything that was written durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        Ok(self.db.flush()?)
    }

    /// Flushes, and makes a picture of it in a new directory.
    pub(crate) fn checkpoint(&self, into: &Path) -> io::Result<()> {
        Ok(self.db.checkpoint(into)?)
    }

    /// All records, table by table, in key order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<Record, StoreError>> + Send + '_ {
        self.records_after(None)
    }

    /// The records that follow this one.
    pub(crate) fn records_after(
        &self,
        last: Option<(Table, Vec<u8>)>,
    ) -> impl Iterator<Item = Result<Record, StoreError>> + Send + '_ {
        let first = last.as_ref().map_or(0, |(table, _)| table.0);
        // A checkpoint of an older build may lack a table: then it is empty.
        (first..self.limits.tables.len() as u8).flat_map(move |table| {
            let from = match &last {
                // The least key that is greater.
                Some((Table(begun), key)) if *begun == table => [key.as_slice(), &[0]].concat(),
                _ => Vec::new(),
            };
            self.db.scan(table, &from, None).map(move |item| {
                let (key, value) =
                    item.map_err(|error| StoreError(format!("{}: {error}", self.path.display())))?;
                Ok(Record { table: Table(table), key: key.into(), value: value.into() })
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
