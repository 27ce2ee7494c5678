//! How much of the disk a volume takes.
//!
//! Whoever writes to the volume can move its folders at any time. So each is entered from the one above, never by its name from
//! the top, links are not followed, and the way back is checked.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use crate::folder::{self, Id};

/// Files and folders that are looked at in one volume; a volume with more than that is counted as far as they go.
const ENTRIES_MAX: u64 = 2_000_000;

/// How often a volume is counted in which folders are moved so that others of them cannot be reached.
const TRIES: u32 = 4;

/// How often the way is sought from the top in one try: each time is as long as the tree is deep.
const SEARCHES_MAX: u32 = 64;

const BLOCK: u64 = 512;

struct Folder {
    name: CString,
    id: Id,
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

impl Size {
    /// Both together.
    pub(crate) fn and(self, other: Size) -> Size {
        Size {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
        }
    }
}

/// What the files below a folder take, each counted once; at least so much, if folders are moved all the time meanwhile.
/// Nobody who writes to it can make that an error: only a folder that cannot be opened itself is. Blocking.
pub(crate) fn size(root: &Path) -> std::io::Result<Size> {
    size_seen(root, &mut |_| {})
}

/// The same; `entered` hears the name of each folder below it once that is read.
fn size_seen(root: &Path, entered: &mut dyn FnMut(&CStr)) -> std::io::Result<Size> {
    let mut most = Size::default();
    for _ in 0..TRIES {
        let scan = walk(root, entered)?;
        most.bytes = most.bytes.max(scan.bytes);
        most.entries = most.entries.max(scan.entries);
        if !scan.partial {
            return Ok(Size { bytes: scan.bytes, entries: scan.entries });
        }
    }
    Ok(most)
}

fn walk(root: &Path, entered: &mut dyn FnMut(&CStr)) -> std::io::Result<Scan> {
    let mut at = folder::open(root)?;
    let mut scan = Scan::default();
    let top = folder::id(&at)?;
    let mut stack = vec![scan.folder(&at, CString::default(), top)];
    let mut searches = 0;
    while let Some(here) = stack.last_mut() {
        if let Some(name) = here.pending.pop() {
            if let Some((inner, next)) = scan.enter(&at, name, top.0) {
                entered(&next.name);
                stack.push(next);
                at = inner;
            }
            continue;
        }
        stack.pop();
        let Some(above) = stack.last() else { break };
        if let Ok(Some(back)) = folder::back(&at, above.id) {
            at = back;
            continue;
        }
        searches += 1;
        let found = if searches > SEARCHES_MAX { None } else { scan.search(root, &mut stack) };
        let Some(found) = found else {
            scan.partial = true;
            break;
        };
        at = found;
    }
    Ok(scan)
}

#[derive(Default)]
struct Scan {
    bytes: u64,
    entries: u64,
    /// Whether something was not reached.
    partial: bool,
    /// Files with several names.
    linked: HashSet<u64>,
    /// Folders that were read: one that is moved ahead is met again.
    folders: HashSet<u64>,
}

impl Scan {
    /// Enters a folder and counts what is in it, if it is there still, of this device, and was not counted elsewhere.
    fn enter(&mut self, at: &OwnedFd, name: CString, device: u64) -> Option<(OwnedFd, Folder)> {
        let opened = folder::enter(at, &name).and_then(|inner| Ok((folder::id(&inner)?, inner)));
        match opened {
            // What else is mounted there is not of this volume.
            Ok((id, inner)) if id.0 == device && self.folders.insert(id.1) => {
                let found = self.folder(&inner, name, id);
                Some((inner, found))
            }
            // It was moved, removed or replaced meanwhile; or this process may not look into it, and will not later.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => None,
            Err(_) => {
                self.partial = true;
                None
            }
        }
    }

    /// Counts the files in a folder, and the folders; none if it was removed meanwhile.
    fn folder(&mut self, folder: &OwnedFd, name: CString, id: Id) -> Folder {
        let mut pending = Vec::new();
        match self.read(folder, &mut pending) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => self.partial = true,
        }
        Folder { name, id, pending }
    }

    fn read(&mut self, folder: &OwnedFd, folders: &mut Vec<CString>) -> Result<(), Errno> {
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
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if stat.st_nlink > 1 && !is_folder && !self.linked.insert(stat.st_ino) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK);
            if is_folder {
                folders.push(name.to_owned());
            }
        }
        Ok(())
    }

    /// Opens the lowest of these folders to which their names still lead, for what is left to do there; those below it were
    /// moved away.
    fn search(&mut self, root: &Path, stack: &mut Vec<Folder>) -> Option<OwnedFd> {
        let mut at = folder::open(root).ok()?;
        if folder::id(&at).ok()? != stack.first()?.id {
            return None;
        }
        let mut depth = 1;
        for next in stack.iter().skip(1) {
            match folder::enter(&at, &next.name) {
                Ok(inner) if folder::id(&inner) == Ok(next.id) => at = inner,
                _ => break,
            }
            depth += 1;
        }
        self.partial |= stack.iter().skip(depth).any(|lost| !lost.pending.is_empty());
        stack.truncate(depth);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{Mode, OFlags};

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
        let at = folder::make_deep(dir.path(), 3000);
        let file =
            rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600))
                .unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &vec![1; 8 << 20]).unwrap();
        let found = size(dir.path()).unwrap();
        assert!(found.bytes >= 8 << 20 && found.entries == 3001);
        crate::remove::remove_dir_all(dir.path()).unwrap();
    }

    const BIG: usize = 8 << 20;

    /// A folder with as large a file beside a tree in which folders are moved.
    fn with_big_file() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("from/moved/inner")).unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        for beside in ["a", "z"] {
            fs::create_dir_all(dir.path().join(beside).join("below")).unwrap();
            fs::write(dir.path().join(beside).join("below/big"), vec![1; BIG / 2]).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_that_is_moved_while_it_is_counted_hides_no_other() {
        let dir = with_big_file();
        let (from, to) = (dir.path().join("from/moved"), dir.path().join("to/moved"));
        let mut moves = 0;
        // Each time it is found, so that the way back never leads where it led.
        let found = size_seen(dir.path(), &mut |name| {
            if name == c"inner" {
                moves += 1;
                let there = from.exists();
                let (from, to) = if there { (&from, &to) } else { (&to, &from) };
                fs::rename(from, to).unwrap();
            }
        });
        assert!(found.unwrap().bytes >= BIG as u64);
        assert_eq!(moves, 1, "all else was reached, so once is enough");
    }

    #[test]
    fn what_is_lost_with_folders_that_were_moved_is_counted_by_another_try() {
        let dir = with_big_file();
        let above = dir.path().join("above");
        for name in ["one", "two"] {
            fs::create_dir_all(above.join(name)).unwrap();
            fs::write(above.join(name).join("file"), vec![1; 1 << 20]).unwrap();
        }
        let mut moved = false;
        let found = size_seen(dir.path(), &mut |name| {
            let name = name.to_str().unwrap();
            if !moved && matches!(name, "one" | "two") {
                moved = true;
                fs::rename(above.join(name), dir.path().join("to").join(name)).unwrap();
                fs::rename(&above, dir.path().join("elsewhere")).unwrap();
            }
        });
        assert!(found.unwrap().bytes >= (BIG + (2 << 20)) as u64);
    }

    #[test]
    fn whoever_never_stops_moving_is_counted_as_far_as_it_goes() {
        let dir = with_big_file();
        let mut number = 0;
        let mut at = dir.path().join("from");
        fs::create_dir(at.join("beside")).unwrap();
        let found = size_seen(dir.path(), &mut |name| {
            if matches!(name.to_bytes(), b"moved" | b"beside") {
                number += 1;
                let (name, next) = (name.to_str().unwrap(), dir.path().join(format!("from-{number}")));
                fs::rename(&at, &next).unwrap();
                let away = dir.path().join(format!("away-{number}"));
                fs::rename(next.join(name), &away).unwrap();
                fs::create_dir(next.join(name)).unwrap();
                at = next;
            }
        });
        assert!(found.unwrap().bytes >= BIG as u64);
        assert_eq!(number, TRIES);
    }

    #[test]
    fn a_folder_that_vanishes_is_empty() {
        let dir = with_big_file();
        let found = size_seen(dir.path(), &mut |name| {
            // Its folder is known and not entered yet.
            if name == c"from" {
                fs::remove_dir_all(dir.path().join("from/moved")).unwrap();
            }
        });
        assert!(found.unwrap().bytes >= BIG as u64);

        let gone = dir.path().join("gone");
        fs::create_dir(&gone).unwrap();
        let open = folder::open(&gone).unwrap();
        fs::remove_dir(&gone).unwrap();
        let mut scan = Scan::default();
        let id = folder::id(&open).unwrap();
        let folder = scan.folder(&open, CString::default(), id);
        assert!(folder.pending.is_empty() && !scan.partial && scan.entries == 0);
        assert!(size(&gone).is_err());
    }
}
