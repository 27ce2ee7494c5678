//! Removes folders with all that is in them, however deep that is.
//!
//! [`std::fs::remove_dir_all`] recurses with a file open at each level, so a container that nests its folders deeply enough
//! keeps its pod from being removed. This one has a few files open at any depth.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir};
use rustix::io::Errno;

use crate::folder::{self, Id};

/// Names that one level keeps. The more there are, the seldomer a folder with many others is read from its beginning again.
const PENDING_MAX: usize = 1024;

/// Names that all levels keep, about: a container chooses how many levels there are, and may not fill the memory.
const PENDING_SUM: usize = 65_536;

struct Level {
    id: Id,
    /// Folders in it that are not empty. The one that is being emptied is the last.
    pending: Vec<CString>,
    /// Whether there may be more than what is pending.
    more: bool,
}

/// Removes a folder and all that is in it, as [`std::fs::remove_dir_all`] does: links are not followed, one that is not there
/// is [`std::io::ErrorKind::NotFound`], and of a link only the link is removed. What is mounted in it is an error, and stays
/// as it is. Blocking.
pub(crate) fn remove_dir_all(root: &Path) -> std::io::Result<()> {
    match rustix::fs::unlinkat(CWD, root, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(Errno::NOTDIR) if std::fs::symlink_metadata(root)?.is_symlink() => {
            return std::fs::remove_file(root);
        }
        done => return Ok(done?),
    }
    empty(folder::open(root)?)?;
    Ok(rustix::fs::unlinkat(CWD, root, AtFlags::REMOVEDIR)?)
}

fn empty(root: OwnedFd) -> std::io::Result<()> {
    let mut at = root;
    let mut levels = vec![Level { id: folder::id(&at)?, pending: Vec::new(), more: true }];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if level.pending.is_empty() && level.more {
            (level.pending, level.more) = sweep(&at, (PENDING_SUM / depth).clamp(1, PENDING_MAX))?;
        }
        if let Some(name) = level.pending.last() {
            match folder::enter(&at, name) {
                Ok(inner) => {
                    levels.push(Level { id: folder::id(&inner)?, pending: Vec::new(), more: true });
                    at = inner;
                }
                // It was removed or replaced meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => drop(level.pending.pop()),
                Err(source) => return Err(source.into()),
            }
            continue;
        }
        levels.pop();
        let Some(above) = levels.last_mut() else { return Ok(()) };
        at = folder::back(&at, above.id)?
            .ok_or_else(|| std::io::Error::other("its folders are moved while they are removed"))?;
        if let Some(name) = above.pending.pop() {
            gone(rustix::fs::unlinkat(&at, &name, AtFlags::REMOVEDIR))?;
        }
    }
}

/// Removes what it can of a folder's content. Answers the folders in it that are not empty, so many at most, and whether there
/// may be more.
fn sweep(at: &OwnedFd, most: usize) -> Result<(Vec<CString>, bool), Errno> {
    let mut pending = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || !stays(at, name)? {
            continue;
        }
        pending.push(name.to_owned());
        if pending.len() >= most {
            return Ok((pending, true));
        }
    }
    Ok((pending, false))
}

/// Removes a file or an empty folder. Answers whether it is a folder that is not empty.
fn stays(at: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
    let first = match gone(rustix::fs::unlinkat(at, name, AtFlags::empty())) {
        // Of a folder; some filesystems say the latter.
        Err(source @ (Errno::ISDIR | Errno::PERM)) => source,
        done => return done.map(|()| false),
    };
    // What something is mounted on is refused here, before anything in it is touched.
    match gone(rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR)) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(true),
        // So it is a file that may not be removed.
        Err(Errno::NOTDIR) => Err(first),
        done => done.map(|()| false),
    }
}

/// What somebody else removed is removed.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// Not in the process of the other tests: the limit is for all of a process.
    #[test]
    fn no_depth_needs_many_open_files() {
        let limited = r#"ulimit -n 64 && exec "$0" "$@""#;
        let test = ["--exact", "remove::tests::a_deep_tree_is_removed", "--include-ignored"];
        let ran = Command::new("sh")
            .args(["-c", limited])
            .arg(std::env::current_exe().unwrap())
            .args(test)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "runs with few files in no_depth_needs_many_open_files"]
    fn a_deep_tree_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let last = folder::make_deep(&root, 3000);
        rustix::fs::symlinkat("/nowhere", &last, "link").unwrap();
        remove_dir_all(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "kept").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink(outside.path(), root.join("link")).unwrap();
        symlink(outside.path(), root.join("a/b/link")).unwrap();
        symlink(outside.path().join("file"), root.join("a/link")).unwrap();
        symlink("nowhere", root.join("a/b/broken")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        remove_dir_all(&root).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "kept");

        symlink(outside.path(), &root).unwrap();
        remove_dir_all(&root).unwrap();
        assert!(fs::symlink_metadata(&root).is_err(), "of a link, the link is removed");
        assert!(outside.path().join("file").exists());
    }

    #[test]
    fn what_is_mounted_in_it_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let mounted = root.join("a/mounted");
        fs::create_dir_all(&mounted).unwrap();
        if let Err(source) =
            rustix::mount::mount("tmpfs", &mounted, "tmpfs", rustix::mount::MountFlags::empty(), None)
        {
            return eprintln!("skipped: nothing can be mounted: {source}");
        }
        let written = fs::write(mounted.join("file"), "kept");
        let removed = remove_dir_all(&root);
        let kept = fs::read_to_string(mounted.join("file"));
        rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::DETACH).unwrap();
        written.unwrap();
        assert_eq!(removed.unwrap_err().kind(), ErrorKind::ResourceBusy);
        assert_eq!(kept.unwrap(), "kept");
        remove_dir_all(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn what_is_no_folder_is_said_as_by_the_standard_library() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remove_dir_all(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(remove_dir_all(&file).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert!(file.exists());
    }

    #[test]
    fn more_folders_than_are_remembered_are_all_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let deep = root.join("a/b");
        fs::create_dir_all(&deep).unwrap();
        for number in 0..4 * PENDING_MAX {
            let folder = deep.join(number.to_string());
            fs::create_dir(&folder).unwrap();
            // Each second one is not empty.
            if number % 2 == 0 {
                fs::write(folder.join("file"), "").unwrap();
            }
        }
        fs::write(deep.join("file"), "").unwrap();
        remove_dir_all(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn a_folder_is_read_in_parts_and_each_removes_what_it_can() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..10 {
            fs::create_dir_all(dir.path().join(format!("full-{number}/inner"))).unwrap();
            fs::create_dir(dir.path().join(format!("empty-{number}"))).unwrap();
        }
        let at = folder::open(dir.path()).unwrap();
        let (pending, more) = sweep(&at, 4).unwrap();
        assert_eq!((pending.len(), more), (4, true));
        let (pending, more) = sweep(&at, 100).unwrap();
        assert_eq!((pending.len(), more), (10, false));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 10, "the empty ones are gone");
    }
}
