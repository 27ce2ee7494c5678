//! How much of the disk a volume takes.
//!
//! Whoever writes to the volume can move its folders at any time. So each is entered from the one above, never by its name from
//! the top, links are not followed, and the way back is checked.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Files and folders that are looked at in one volume; a volume with more than that is counted as far as they go.
const ENTRIES_MAX: u64 = 2_000_000;
const BLOCK: u64 = 512;

struct Folder {
    /// Device and number.
    id: (u64, u64),
    /// Folders in it that are still to be entered.
    pending: Vec<CString>,
}

/// What the files below a folder take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// On disk.
    pub(crate) bytes: u64,
    /// Files and folders.
    pub(crate) entries: u64,
}

/// What the files below a folder take, each counted once. Blocking.
pub(crate) fn size(root: &Path) -> std::io::Result<Size> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty())?;
    let mut scan = Scan::default();
    let mut stack = vec![scan.folder(&at)?];
    let device = stack[0].id.0;
    while let Some(folder) = stack.last_mut() {
        if let Some(name) = folder.pending.pop() {
            match rustix::fs::openat(&at, name.as_c_str(), flags, Mode::empty()) {
                Ok(inner) => {
                    let next = scan.folder(&inner)?;
                    // What else is mounted there is not of this volume.
                    if next.id.0 == device {
                        stack.push(next);
                        at = inner;
                    }
                }
                // It was moved, removed or replaced meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(source) => return Err(source.into()),
            }
            continue;
        }
        stack.pop();
        let Some(above) = stack.last() else { break };
        at = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
        if id(at.as_fd())? != above.id {
            return Err(std::io::Error::other("its folders are moved while they are counted"));
        }
    }
    Ok(Size { bytes: scan.bytes, entries: scan.entries })
}

#[derive(Default)]
struct Scan {
    bytes: u64,
    entries: u64,
    /// Files with several names.
    linked: HashSet<u64>,
}

impl Scan {
    /// Counts a folder and the files in it.
    fn folder(&mut self, folder: &OwnedFd) -> std::io::Result<Folder> {
        let mut found = Folder { id: id(folder.as_fd())?, pending: Vec::new() };
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.entries >= ENTRIES_MAX {
                break;
            }
            self.entries += 1;
            let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if stat.st_nlink > 1
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
                && !self.linked.insert(stat.st_ino)
            {
                continue;
            }
            self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                found.pending.push(name.to_owned());
            }
        }
        Ok(found)
    }
}

fn id(folder: std::os::fd::BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_in_the_volume_counts_once_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("big"), vec![1; 4 << 20]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let empty = size(dir.path()).unwrap().bytes;
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        fs::write(dir.path().join("a/b/c/file"), vec![1; 1 << 20]).unwrap();
        fs::write(dir.path().join("file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.path().join("file"), dir.path().join("a/again")).unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink(outside.path().join("big"), dir.path().join("a/link")).unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        let used = size(dir.path()).unwrap().bytes - empty;
        assert!((2 << 20..(2 << 20) + 65_536).contains(&used), "{used}");
        assert!(size(&dir.path().join("none")).is_err());
    }

    #[test]
    fn no_depth_hides_anything() {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut at = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        // Deeper than any path can be long, and than files can be open.
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::from_raw_mode(0o700)).unwrap();
            at = rustix::fs::openat(&at, "deep", flags, Mode::empty()).unwrap();
        }
        let file =
            rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600))
                .unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &vec![1; 8 << 20]).unwrap();
        let found = size(dir.path()).unwrap();
        assert!(found.bytes >= 8 << 20 && found.entries == 3001);
    }
}
