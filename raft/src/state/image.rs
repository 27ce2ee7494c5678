//! A checkpoint: an immutable picture of the state at one position, hard-linked beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::database::{StateDb, StateLimits};
use super::directory::StateDirectory;
use crate::error::OpenError;
use crate::types::SnapshotMeta;

/// A picture of the state. Its files go when nobody holds it any more, unless it is the current one, which also serves after a
/// restart.
pub(crate) struct Image {
    path: PathBuf,
    limits: StateLimits,
    meta: SnapshotMeta,
    current: AtomicBool,
}

impl Image {
    /// Takes a picture. The caller sees to it that nothing is folded meanwhile.
    pub(crate) fn take(
        database: &StateDb,
        directory: &StateDirectory,
        meta: SnapshotMeta,
    ) -> io::Result<Image> {
        let path = directory.new_snapshot(&meta);
        database.write_position(meta.last_log_id.as_ref(), &meta.last_membership)?;
        database.checkpoint(&path)?;
        Ok(Image { path, limits: directory.limits(), meta, current: AtomicBool::new(false) })
    }

    /// Opens one that an earlier run took.
    pub(crate) fn open(path: &Path, limits: StateLimits) -> Result<Image, OpenError> {
        let (last_log_id, last_membership) = StateDb::open_read_only(path, limits)?.applied()?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        Ok(Image { path: path.into(), limits, meta, current: AtomicBool::new(true) })
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The names of the tables, in the order of their numbers.
    pub(crate) fn table_names(&self) -> Vec<String> {
        self.limits.tables.iter().map(ToString::to_string).collect()
    }

    /// Opens its tables for reading.
    pub(crate) fn read(&self) -> io::Result<StateDb> {
        StateDb::open_read_only(&self.path, self.limits).map_err(io::Error::other)
    }

    /// Whether its files stay when nobody holds it.
    pub(crate) fn set_current(&self, current: bool) {
        self.current.store(current, Ordering::Release);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.current.load(Ordering::Acquire) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
