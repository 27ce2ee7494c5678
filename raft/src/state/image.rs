//! A checkpoint: an immutable picture of the state at one position, beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::database::{StateDb, StateLimits};
use super::directory::StateDirectory;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::types::SnapshotMeta;

/// A picture of the state. Its files go when nobody holds it any more, unless it is the current one, which also serves after a
/// restart.
pub(crate) struct Image {
    disk: Arc<dyn Disk>,
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
        let (disk, limits) = (directory.disk().clone(), directory.limits());
        Ok(Image { disk, path, limits, meta, current: AtomicBool::new(false) })
    }

    /// Opens one that an earlier run took.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, limits: StateLimits) -> Result<Image, OpenError> {
        let (last_log_id, last_membership) = StateDb::open_read_only(&**disk, path, limits)?.applied()?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        let disk = disk.clone();
        Ok(Image { disk, path: path.into(), limits, meta, current: AtomicBool::new(true) })
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The names of the tables, in the order of their numbers.
    pub(crate) fn table_names(&self) -> Vec<String> {
        self.limits.tables.iter().map(ToString::to_string).collect()
    }

    /// Where it is.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Opens its tables for reading.
    pub(crate) fn read(&self) -> io::Result<StateDb> {
        StateDb::open_read_only(&*self.disk, &self.path, self.limits).map_err(io::Error::other)
    }

    /// Whether its files stay when nobody holds it.
    pub(crate) fn set_current(&self, current: bool) {
        self.current.store(current, Ordering::Release);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.current.load(Ordering::Acquire) {
            let _ = self.disk.remove_dir(&self.path);
        }
    }
}
