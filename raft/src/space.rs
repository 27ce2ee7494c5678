//! How much room the data directory's file system has, and what that allows. A database that runs into a full disk does
//! not recover by itself, so this crate stops writing before: first it refuses proposals and gives the leadership away, then, when
//! the others' entries eat the rest, it stops writing until there is room again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;

/// How often the free space is read.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often a stopped writer looks again.
const RETRY: Duration = Duration::from_millis(100);

/// Reads the free bytes of the file system that holds a path. A seam for tests; the real one asks the file system.
pub type Probe = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Asks the file system.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Too little for any further entry: writing waits.
    None,
    /// Below the reserve: proposals are refused, and this controller does not lead.
    Low,
    /// Enough.
    Ample,
}

/// The watched file system.
pub(crate) struct Space {
    directory: PathBuf,
    reserve: u64,
    probe: Probe,
    room: watch::Sender<Room>,
    /// The node ends: nobody waits for room any more.
    ending: CancellationToken,
}

impl Space {
    pub(crate) fn new(directory: &Path, reserve: u64, probe: Probe) -> Arc<Space> {
        let (room, ending) = (watch::Sender::new(Room::Ample), CancellationToken::new());
        let space = Space { directory: directory.into(), reserve, probe, room, ending };
        space.refresh();
        Arc::new(space)
    }

    /// Without limits, for stores that are tested alone.
    #[cfg(test)]
    pub(crate) fn endless() -> Arc<Space> {
        Space::new(Path::new("/"), 0, Arc::new(|_| Ok(u64::MAX)))
    }

    pub(crate) fn room(&self) -> Room {
        *self.room.borrow()
    }

    /// To be told when it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Room> {
        self.room.subscribe()
    }

    /// Reads the free space and tells who watches. A little more than the reserve is needed to leave `Low`, so that the
    /// state does not flutter.
    pub(crate) fn refresh(&self) -> Room {
        let free = match (self.probe)(&self.directory) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(directory = %self.directory.display(), %error, "reading the free space failed");
                return self.room();
            }
        };
        let before = self.room();
        let enough = if before == Room::Ample { self.reserve } else { self.reserve / 4 * 5 };
        let room = match free {
            free if free < self.reserve / 2 => Room::None,
            free if free < enough => Room::Low,
            _ => Room::Ample,
        };
        if room != before {
            let (directory, reserve) = (self.directory.display(), self.reserve);
            match room {
                Room::Ample => tracing::info!(%directory, free, "there is room on the disk again"),
                Room::Low => tracing::error!(%directory, free, reserve,
                    "the disk is nearly full: this controller gives up leading and accepts no proposals; free some space"),
                Room::None => tracing::error!(%directory, free, reserve,
                    "the disk is full: this controller stores nothing more until space is freed; nothing is lost"),
            }
            self.room.send_replace(room);
        }
        room
    }

    /// Keeps reading the free space.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh();
        }
    }

    /// The node ends: who waits for room gives up, now and later.
    pub(crate) fn end(&self) {
        self.ending.cancel();
    }

    /// For the thread that writes: waits until something may be written. False if the node ends before, or `stop` says that waiting is
    /// pointless.
    pub(crate) async fn room_or_end(&self, disk: &dyn Disk, stop: impl Fn() -> bool) -> bool {
        while self.room() == Room::None && self.refresh() == Room::None {
            if self.ending.is_cancelled() || stop() {
                return false;
            }
            disk.pause(RETRY).await;
        }
        true
    }

    /// Waits until something may be written; fails if the node ends before.
    pub(crate) async fn until_room(&self) -> io::Result<()> {
        while self.room() == Room::None && self.refresh() == Room::None {
            if self.ending.is_cancelled() {
                return Err(io::Error::other("this controller ends, and its disk is full"));
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }
}
