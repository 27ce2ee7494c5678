//! Wakes a reader when something was written in a folder, without asking again and again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;

/// Watches a folder of logs.
pub(super) struct Growth {
    events: AsyncFd<OwnedFd>,
}

impl Growth {
    /// From now on.
    pub(super) fn of(folder: &Path) -> io::Result<Growth> {
        let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&events, folder, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
        #[expect(deprecated, reason = "an owned descriptor is what the newer, unsafe constructor asks for")]
        let events = AsyncFd::new(events)?;
        Ok(Growth { events })
    }

    /// Returns when something was written since the last return. What it was does not matter: the reader looks.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        let mut any = false;
        loop {
            let mut ready = self.events.readable().await?;
            loop {
                match ready.try_io(|events| Ok(rustix::io::read(events, &mut buffer)?)) {
                    Ok(Ok(_)) => any = true,
                    Ok(Err(error)) => return Err(error),
                    Err(_would_block) if any => return Ok(()),
                    Err(_would_block) => break,
                }
            }
        }
    }
}
