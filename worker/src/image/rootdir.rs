//! A directory that paths cannot leave: the kernel resolves every one beneath it (`openat2` with `RESOLVE_IN_ROOT`),
//! so that a symbolic link to `/etc` or `../..` in an image means the image's own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::ImageError;

const DIR_DEPTH_MAX: usize = 256;
/// How often a path is resolved anew, if something was renamed or mounted anywhere meanwhile and the kernel cannot tell whether it left the
/// root (`openat2(2)`, EAGAIN).
const TRIES: u32 = 32;

/// A directory that paths cannot leave.
#[derive(Debug)]
pub(crate) struct RootDir {
    fd: OwnedFd,
}

impl RootDir {
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| ImageError::io(format!("open {}", path.display()))(source.into()))?;
        Ok(Self { fd })
    }

    /// Opens a file for reading, symbolic links resolved beneath the root.
    pub(crate) fn open_file(&self, path: &Path) -> std::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(File::from(self.resolve(path, flags)?))
    }

    /// Opens the directory at a path, making what is missing of it.
    pub(super) fn open_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.resolve(path, flags) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut done = PathBuf::new();
        let mut parent = self.resolve(Path::new("."), flags)?;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            done.push(name);
            parent = match self.resolve(&done, flags) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    self.resolve(&done, flags)?
                }
                other => other?,
            };
        }
        Ok(parent)
    }

    /// Opens the directory at a path if it is there.
    pub(super) fn existing_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = || rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve);
        let mut found = open();
        for _ in 0..TRIES {
            match found {
                Err(Errno::AGAIN) => found = open(),
                _ => break,
            }
        }
        found
    }
}

/// Where a path leads beneath a directory, symbolic links resolved, if it is there.
pub(crate) fn beneath(root: &Path, path: &Path) -> Option<PathBuf> {
    let root = RootDir::open(root).ok()?;
    let fd = root.resolve(path, OFlags::PATH | OFlags::CLOEXEC).ok()?;
    std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).ok()
}

/// Removes whatever has this name in the directory, following no link. `keep` says which descendants stay (by their
/// path below the directory); a directory that keeps one stays too. Answers whether all is gone.
pub(super) fn remove(
    parent: impl AsFd,
    name: &OsStr,
    path: &Path,
    keep: &dyn Fn(&Path) -> bool,
    depth: usize,
) -> Result<bool, Errno> {
    if keep(path) && depth > 0 && !is_dir(&parent, name) {
        return Ok(false);
    }
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(source) => return Err(source),
    }
    if depth >= DIR_DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    let mut all_gone = true;
    for child in children(&dir)? {
        all_gone &= remove(&dir, &child, &path.join(&child), keep, depth + 1)?;
    }
    if !all_gone || (depth > 0 && keep(path)) {
        return Ok(false);
    }
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// The names in a directory that is open for reading.
pub(super) fn children(dir: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Whether this name is a directory, and not a link to one.
pub(super) fn is_dir(parent: impl AsFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
