//! Folders below which others may move things at any time: each is entered from the one above, never by its name from the top,
//! links are not followed, and the way back is checked.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// A folder's device and number.
pub(crate) type Id = (u64, u64);

/// Opens a folder to read it, by its path.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, flags(), Mode::empty())
}

/// Opens the folder of this name in another one.
pub(crate) fn enter(at: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, flags(), Mode::empty())
}

/// Opens the folder above, unless it is another one than it was.
pub(crate) fn back(at: &OwnedFd, above: Id) -> Result<Option<OwnedFd>, Errno> {
    let found = enter(at, c"..")?;
    Ok((id(&found)? == above).then_some(found))
}

pub(crate) fn id(folder: impl AsFd) -> Result<Id, Errno> {
    rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Makes folders within each other, deeper than any path can be long, and answers the last.
#[cfg(test)]
pub(crate) fn make_deep(root: &Path, levels: usize) -> OwnedFd {
    let mut at = open(root).unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..levels {
        let made = rustix::fs::mkdirat(&at, "deep", Mode::from_raw_mode(0o700));
        at = made.and_then(|()| enter(&at, c"deep")).unwrap_or_else(|error| panic!("{error}"));
    }
    at
}
