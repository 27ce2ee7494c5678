//! Gives all that is in a volume to the group of its pod (`fsGroup`), as the kubelet does before the pod's first container starts.
//!
//! Other pods may have the volume and move things in it meanwhile. So folders are entered and left as when a volume is measured, and
//! of what is in them nothing is changed by its name: a name may be a link by then.
//!
//! Source: pkg/volume/volume_linux.go, SetVolumeOwnership.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;

use crate::folder::{self, Id};

/// The group reads and writes.
const FILE: u32 = 0o660;
/// It enters folders, too, and what is made in them is the group's.
const FOLDER: u32 = 0o2770;

/// Whether a folder belongs to a group, which may write to it.
pub(super) fn is_given(folder: &Path, group: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).is_ok_and(|it| it.gid() == group && it.mode() & FOLDER == FOLDER)
}

/// Gives what is below a folder to a group, but not what else is mounted there. What goes meanwhile needs nothing. Blocking.
pub(super) fn give_below(root: &Path, group: u32) -> Result<(), String> {
    let failed = |cause: String| format!("give what is in {} to group {group}: {cause}", root.display());
    let told = |source: Errno| failed(source.to_string());
    let mut at = folder::open(root).map_err(told)?;
    let top = folder::id(&at).map_err(told)?;
    let group = Gid::from_raw(group);
    let mut stack = vec![(top, give_in(&at, group, top.0).map_err(told)?)];
    while let Some((_, pending)) = stack.last_mut() {
        if let Some(name) = pending.pop() {
            let entered = folder::enter(&at, &name).and_then(|inner| Ok((folder::id(&inner)?, inner)));
            match entered {
                Ok((id, inner)) if id.0 == top.0 => {
                    stack.push((id, give_in(&inner, group, top.0).map_err(told)?));
                    at = inner;
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(source) => return Err(told(source)),
            }
            continue;
        }
        stack.pop();
        if let Some((above, _)) = stack.last() {
            at = back(&at, *above).ok_or_else(|| failed("somebody moves folders in it".to_owned()))?;
        }
    }
    Ok(())
}

fn back(at: &OwnedFd, above: Id) -> Option<OwnedFd> {
    folder::back(at, above).ok().flatten()
}

/// Gives what is in a folder, and answers the folders in it.
fn give_in(at: &OwnedFd, group: Gid, device: u64) -> Result<Vec<CString>, Errno> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(at)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match give(at, name, group, device) {
            Ok(true) => folders.push(name.to_owned()),
            Ok(false) | Err(Errno::NOENT) => {}
            Err(source) => return Err(source),
        }
    }
    Ok(folders)
}

/// Gives one of them. Answers whether it is a folder of this device.
fn give(at: &OwnedFd, name: &CStr, group: Gid, device: u64) -> Result<bool, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let it = rustix::fs::openat(at, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&it)?;
    if stat.st_dev != device {
        return Ok(false);
    }
    rustix::fs::chownat(&it, c"", None, Some(group), AtFlags::EMPTY_PATH)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink {
        return Ok(false);
    }
    let is_folder = kind == FileType::Directory;
    // The bits of other users are as before: to give a program away takes them from it.
    let mode = (stat.st_mode & 0o7777) | if is_folder { FOLDER } else { FILE };
    // By what it is, and not by its name.
    rustix::fs::chmod(format!("/proc/self/fd/{}", it.as_raw_fd()), Mode::from_raw_mode(mode))?;
    Ok(is_folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn all_of_it_is_the_groups_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root can give files to a group");
        }
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (deep, file) = (dir.path().join("a/b"), dir.path().join("a/b/file"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(&file, "").unwrap();
        set(&file, 0o4755);
        let secret = outside.path().join("secret");
        fs::write(&secret, "").unwrap();
        set(&secret, 0o600);
        symlink(&secret, dir.path().join("a/link")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        give_below(dir.path(), 4711).unwrap();
        let has = |path: &Path| {
            let it = fs::symlink_metadata(path).unwrap();
            (it.gid(), it.mode() & 0o7777)
        };
        assert_eq!(has(&deep), (4711, 0o2775));
        assert_eq!(has(&file), (4711, 0o4775));
        assert_eq!(has(&dir.path().join("a/link")).0, 4711);
        assert_eq!(has(&secret), (0, 0o600), "links lead nowhere");
        assert_eq!(has(outside.path()).0, 0);
        assert!(!is_given(dir.path(), 4711) && is_given(&deep, 4711));

        let deepest = folder::make_deep(dir.path(), 1500);
        give_below(dir.path(), 4712).unwrap();
        assert_eq!(rustix::fs::fstat(&deepest).unwrap().st_gid, 4712);
        crate::remove::remove_dir_all(dir.path()).unwrap();
        assert!(give_below(&dir.path().join("none"), 1).unwrap_err().contains("to group 1: "));
    }
}
