//! The directories under `state/`, and the one pointer that says which of them counts. A crash at any moment leaves the old state
//! or the new one, never half of one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::database::StateLimits;
use super::image::Image;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::space::{Room, Space};
use crate::types::{LogId, SnapshotMeta};

const POINTER: &str = "CURRENT";
const STATE: &str = "state-";
const INCOMING: &str = "incoming-";
const SNAPSHOTS: &str = "snapshots";

/// Where states, snapshots and what is on its way in are kept.
pub(crate) struct StateDirectory {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    limits: StateLimits,
    space: Arc<Space>,
    counter: AtomicU64,
}

impl StateDirectory {
    /// Opens it and removes what a crash left half done.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        limits: StateLimits,
        space: Arc<Space>,
    ) -> Result<StateDirectory, OpenError> {
        let failed = |action| move |error: io::Error| OpenError::io(action, root, &error);
        disk.create_dir(&root.join(SNAPSHOTS)).map_err(failed("creating"))?;
        // It is there now. This narrows who may enter it.
        disk.create_dir(root).map_err(failed("creating"))?;
        let directory = StateDirectory { disk, root: root.into(), limits, space, counter: AtomicU64::new(0) };
        match directory.pointer().map_err(failed("reading the pointer of"))? {
            // It is written before the first state is: one without it is damaged, and must not be taken for rubbish.
            None if directory.has_states().map_err(failed("listing"))? => {
                let detail = format!("its pointer {POINTER} is missing");
                return Err(OpenError::Corrupt { directory: root.into(), detail });
            }
            None => directory.point_to(1).map_err(failed("writing the pointer of"))?,
            Some(current) => {
                let path = directory.numbered(current);
                if current > 1 && !directory.disk.exists(&path).map_err(failed("reading"))? {
                    let detail = format!("the current state {} is missing", path.display());
                    return Err(OpenError::Corrupt { directory: root.into(), detail });
                }
            }
        }
        directory.clean().map_err(failed("cleaning"))?;
        Ok(directory)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn limits(&self) -> StateLimits {
        self.limits
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.root.join(format!("{STATE}{number}"))
    }

    fn pointer(&self) -> io::Result<Option<u64>> {
        let Some(text) = self.disk.read(&self.root.join(POINTER))? else { return Ok(None) };
        let number = text.trim().strip_prefix(STATE).and_then(|number| number.parse().ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it says {text:?}"))),
        }
    }

    fn point_to(&self, number: u64) -> io::Result<()> {
        self.disk.replace(&self.root.join(POINTER), &format!("{STATE}{number}\n"))
    }

    fn has_states(&self) -> io::Result<bool> {
        let is_state =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STATE));
        Ok(self.disk.list(&self.root)?.iter().any(is_state))
    }

    /// The state that counts.
    pub(crate) fn current(&self) -> Result<PathBuf, OpenError> {
        let pointer =
            self.pointer().map_err(|error| OpenError::io("reading the pointer of", &self.root, &error))?;
        Ok(self.numbered(pointer.unwrap_or(1)))
    }

    fn clean(&self) -> io::Result<()> {
        let current = self.numbered(self.pointer()?.unwrap_or(1));
        for path in self.disk.list(&self.root)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stale = name.starts_with(INCOMING) || (name.starts_with(STATE) && path != current);
            if stale {
                tracing::info!(path = %path.display(), "removing what an interrupted snapshot left");
                self.disk.remove_dir(&path)?;
            }
        }
        Ok(())
    }

    /// Refuses more of a snapshot that comes in when the disk is nearly full: what is left is the log's.
    pub(super) fn room_for_snapshot(&self) -> io::Result<()> {
        match self.space.refresh() {
            Room::Ample => Ok(()),
            Room::Low | Room::None => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk of this controller has no room for a snapshot: free some space",
            )),
        }
    }

    /// A name for a snapshot that comes in.
    pub(crate) fn new_incoming(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{INCOMING}{number}"))
    }

    /// A name for a checkpoint of this position.
    pub(crate) fn new_snapshot(&self, meta: &SnapshotMeta) -> PathBuf {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(SNAPSHOTS).join(format!("{index:020}-{number}"));
            // An earlier run may have taken one at the same position.
            if !self.disk.exists(&path).unwrap_or(false) {
                return path;
            }
        }
    }

    /// Makes a complete, closed and synced directory the current state.
    pub(crate) fn adopt(&self, incoming: &Path) -> io::Result<PathBuf> {
        let next = self.pointer()?.unwrap_or(1) + 1;
        let path = self.numbered(next);
        self.disk.rename_dir(incoming, &path)?;
        self.point_to(next)?;
        Ok(path)
    }

    /// The newest usable snapshot that does not run ahead of the state; the others are removed.
    pub(crate) fn last_image(&self, applied: Option<&LogId>) -> Result<Option<Image>, OpenError> {
        let failed = |error: io::Error| OpenError::io("listing the snapshots of", &self.root, &error);
        let mut paths = self.disk.list(&self.root.join(SNAPSHOTS)).map_err(failed)?;
        paths.sort();
        let mut found: Option<Image> = None;
        while let Some(path) = paths.pop() {
            let usable = match &found {
                Some(_) => None,
                None => Image::open(&self.disk, &path, self.limits).ok(),
            };
            match usable {
                Some(image) if image.meta().last_log_id.as_ref() <= applied => found = Some(image),
                Some(image) => image.set_current(false),
                None => self.remove(&path),
            }
        }
        Ok(found)
    }

    /// Deletes a directory; a failure costs space, nothing else.
    pub(crate) fn remove(&self, path: &Path) {
        if let Err(error) = self.disk.remove_dir(path) {
            tracing::warn!(path = %path.display(), %error, "removing an old state failed; it is removed at the next start");
        }
    }
}
