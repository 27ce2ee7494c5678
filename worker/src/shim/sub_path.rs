//! Parts of volumes (`subPath`), found in a way that nobody can change between the look and the mount.
//!
//! Whoever shares the volume can swap a folder for a link to anywhere. So the kernel resolves the path in one step that never
//! leaves the volume (openat2), and what it found, not its name, is bound to a place of the shim's own, from which the
//! container gets it. See CVE-2017-1002101 and CVE-2021-25741.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::runtime::{Mount, SubPath};

/// Somebody else renamed something meanwhile: so often it is tried again.
const TRIES: u32 = 32;

/// The mounts of a container, with what its sub-paths were found to be. That is unbound with this, when the container has
/// mounts of its own.
#[derive(Debug)]
pub(crate) struct Volumes {
    pub(crate) mounts: Vec<Mount>,
    bound: Vec<PathBuf>,
}

impl Volumes {
    /// Finds the sub-paths and binds them below `dir`.
    pub(crate) fn find(mounts: &[Mount], dir: &Path) -> Result<Self, String> {
        let mut volumes = Self { mounts: Vec::with_capacity(mounts.len()), bound: Vec::new() };
        for (number, mount) in mounts.iter().enumerate() {
            let mut mount = mount.clone();
            if let Some(sub_path) = mount.sub_path.take() {
                let failed = |cause: String| {
                    let (path, target) = (sub_path.path.display(), mount.target.display());
                    format!("failed to prepare subPath \"{path}\" for the mount at {target}: {cause}")
                };
                let found = find(&mount.source, &sub_path).map_err(failed)?;
                mount.source = volumes.bind(&found, &dir.join(number.to_string())).map_err(failed)?;
            }
            volumes.mounts.push(mount);
        }
        Ok(volumes)
    }

    fn bind(&mut self, found: &OwnedFd, place: &Path) -> Result<PathBuf, String> {
        let made = |source: std::io::Error| format!("make {}: {source}", place.display());
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(made)?;
        }
        let kind = FileType::from_raw_mode(rustix::fs::fstat(found).map_err(|e| e.to_string())?.st_mode);
        match kind {
            FileType::Directory => std::fs::create_dir(place).map_err(made)?,
            _ => std::fs::File::create_new(place).map(drop).map_err(made)?,
        }
        let descriptor = format!("/proc/self/fd/{}", found.as_raw_fd());
        rustix::mount::mount_bind_recursive(descriptor, place)
            .map_err(|source| format!("bind it: {source}"))?;
        self.bound.push(place.to_owned());
        Ok(place.to_owned())
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for place in &self.bound {
            rustix::mount::unmount(place, UnmountFlags::DETACH).ok();
        }
    }
}

/// What is at a path below a volume.
fn find(volume: &Path, SubPath { path, make }: &SubPath) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base =
        rustix::fs::open(volume, flags, Mode::empty()).map_err(|e| format!("{}: {e}", volume.display()))?;
    match beneath(base.as_fd(), path, OFlags::PATH) {
        Err(Errno::NOENT) if *make => make_folders(base.as_fd(), path),
        found => found,
    }
    .map_err(|source| match source {
        Errno::XDEV | Errno::LOOP => "it leads out of its volume".to_owned(),
        source => source.to_string(),
    })
}

/// Resolves a path that must not leave the folder, by links or otherwise.
fn beneath(folder: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut found = open();
    for _ in 0..TRIES {
        match found {
            Err(Errno::AGAIN) => found = open(),
            _ => break,
        }
    }
    found
}

/// Makes the folders that are missing, each in one that was found before.
fn make_folders(base: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(base)?.st_mode & 0o2777);
    let mut so_far = PathBuf::new();
    let mut folder = beneath(base, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    for part in path.components() {
        so_far.push(part);
        let found = match beneath(base, &so_far, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                let name: &Path = part.as_ref();
                match rustix::fs::mkdirat(&folder, name, mode) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(source) => return Err(source),
                }
                let made =
                    beneath(folder.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
                // Past the umask.
                rustix::fs::fchmod(&made, mode)?;
                made
            }
            found => found?,
        };
        folder = found;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn at(volume: &Path, path: &str, make: bool) -> Result<u64, String> {
        let found = find(volume, &SubPath { path: path.into(), make })?;
        Ok(rustix::fs::fstat(found).unwrap().st_ino)
    }

    #[test]
    fn what_is_missing_is_made_with_the_volumes_mode() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2771)).unwrap();
        let made = at(dir.path(), "a/b", true).unwrap();
        for part in ["a", "a/b"] {
            assert_eq!(fs::metadata(dir.path().join(part)).unwrap().mode() & 0o7777, 0o2771);
        }
        assert_eq!(at(dir.path(), "a/b", true), Ok(made), "what is there is taken as it is");
        assert!(at(dir.path(), "c", false).unwrap_err().contains("No such file"));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(at(dir.path(), "file", true).is_ok(), "a file is a part, too");
        assert!(at(dir.path(), "file/x", true).unwrap_err().contains("Not a directory"));
    }

    #[test]
    fn no_way_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("inner")).unwrap();
        symlink(outside.path(), volume.join("absolute")).unwrap();
        symlink("..", volume.join("up")).unwrap();
        symlink("up/other", volume.join("inner/far")).unwrap();
        symlink("/proc/self/root", volume.join("magic")).unwrap();
        symlink("loop", volume.join("loop")).unwrap();
        symlink("inner", volume.join("near")).unwrap();
        for path in
            ["absolute", "absolute/new", "up", "up/new", "magic/etc", "loop", "..", "inner/../..", "/etc"]
        {
            let told = at(&volume, path, true).unwrap_err();
            assert_eq!(told, "it leads out of its volume", "{path}");
        }
        assert!(at(&volume, "inner/far", true).is_err(), "a link to nothing is not made into something");
        assert_eq!(
            at(&volume, "near/new", true),
            at(&volume, "inner/new", false),
            "a link that stays inside is followed"
        );
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
        assert!(left.is_empty() && !dir.path().join("new").exists() && !dir.path().join("other").exists());
    }

    /// The attack: somebody swaps a folder for a link to the outside all the time.
    #[test]
    fn who_swaps_a_folder_for_a_link_gains_nothing() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        fs::create_dir_all(outside.path().join("deep")).unwrap();
        fs::create_dir_all(volume.join("a/deep")).unwrap();
        symlink(outside.path(), volume.join("b")).unwrap();
        let theirs = [outside.path().to_owned(), outside.path().join("deep"), outside.path().join("new")];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let here = rustix::fs::open(volume, OFlags::PATH, Mode::empty()).unwrap();
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(&here, "a", &here, "b", rustix::fs::RenameFlags::EXCHANGE)
                        .unwrap();
                }
            });
            let mut found = 0;
            for round in 0..20_000 {
                let path = ["a", "a/deep", "a/new"][round % 3];
                if let Ok(inode) = at(volume, path, true) {
                    let stolen =
                        theirs.iter().filter_map(|path| fs::metadata(path).ok()).any(|it| it.ino() == inode);
                    assert!(!stolen, "{path} was found outside");
                    found += 1;
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(found > 0);
        });
        assert!(!outside.path().join("new").exists(), "nothing is made outside");
    }
}
