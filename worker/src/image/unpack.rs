//! Applies an image's layers, one upon the other, to one directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::ImageError;
use super::archive::{Spooled, decompress, digest_text};
use super::budget::{Budget, Limits};
use super::entries::Pace;
use super::rootdir::{RootDir, children, is_dir, remove};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Attributes that a layer may set; the overlay's own would let an image hide or redirect files of the worker.
const ATTRIBUTE_ALLOWED: &[&str] = &["security.capability"];
const ATTRIBUTE_PREFIX_ALLOWED: &str = "user.";

/// The root directory of an image while its layers are applied.
pub(super) struct Unpacker {
    root: RootDir,
    budget: Budget,
    limits: Limits,
    as_root: bool,
    /// The last parent opened: archives list a directory's files together.
    parent: Option<(PathBuf, OwnedFd)>,
    /// The digests of the paths that the current layer made; its whiteouts hide only what lies below.
    made: HashSet<[u8; 32]>,
    /// What lies below is not written to: a file that gets one more name is copied.
    copies: bool,
    /// The inodes of files that lie in this layer, its own and copies. Not their paths: one path can lead to many files, for a
    /// link in it is soon another one. A copy has the number of what was copied only if that had no other name.
    own: HashSet<u64>,
}

impl Unpacker {
    /// Unpacks to this directory, out of this budget.
    pub(super) fn new(rootfs: &Path, limits: Limits, budget: Budget) -> Result<Self, ImageError> {
        Ok(Self {
            root: RootDir::open(rootfs)?,
            budget,
            limits,
            as_root: rustix::process::geteuid().is_root(),
            parent: None,
            made: HashSet::new(),
            copies: false,
            own: HashSet::new(),
        })
    }

    /// The same, where other layers lie below that are not written to.
    pub(super) fn upon(rootfs: &Path, limits: Limits, budget: Budget) -> Result<Self, ImageError> {
        Ok(Self { copies: true, ..Self::new(rootfs, limits, budget)? })
    }

    /// What is left of the budget.
    pub(super) fn budget(&self) -> Budget {
        self.budget
    }

    /// Applies one layer and compares its uncompressed digest.
    pub(super) fn apply(&mut self, layer: &Spooled, diff_id: &str) -> Result<(), ImageError> {
        self.made.clear();
        let unreadable =
            |source: std::io::Error| ImageError::Malformed(format!("layer {}: {source}", layer.digest));
        let file = File::open(&layer.path).map_err(ImageError::io("read a spooled layer"))?;
        let reader = decompress(file, self.limits.bytes).map_err(unreadable)?;
        let mut hashing = Hashing { inner: reader, hasher: Sha256::new() };
        let pace = Pace::default();
        let mut tar = tar::Archive::new(pace.of(&mut hashing));
        let mut entries = tar.entries().map_err(unreadable)?;
        while let Some(mut entry) = pace.next(&mut entries).map_err(unreadable)? {
            let path = entry.path().map_err(unreadable)?.into_owned();
            self.apply_entry(&mut entry, &path)?;
            pace.skip(entry).map_err(unreadable)?;
        }
        // The digest covers the padding behind the last entry too.
        std::io::copy(&mut hashing, &mut std::io::sink()).map_err(unreadable)?;
        let actual = digest_text(hashing.hasher);
        if actual != diff_id {
            let (what, expected) = (format!("layer {}", layer.digest), diff_id.to_owned());
            return Err(ImageError::DigestMismatch { what, expected, actual });
        }
        Ok(())
    }

    fn apply_entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, raw: &Path) -> Result<(), ImageError> {
        self.budget.take_inode()?;
        let path = relative(raw)?;
        let failed = |cause: Errno| ImageError::of_entry(raw, cause);
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: only its mode and owner matter.
            let root = self.root.existing_dir(Path::new(".")).map_err(failed)?;
            return self.set_metadata(entry, &root, OsStr::new("."), true).map_err(failed);
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.white_out(&parent_path, &name, raw);
        }
        let parent = self.parent_dir(&parent_path).map_err(failed)?;
        let kind = entry.header().entry_type();
        let made = if kind.is_dir() {
            if !is_dir(&parent, &name) {
                self.clear(&parent, &name, &path).map_err(failed)?;
                rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(0o755)).map_err(failed)?;
            }
            true
        } else if kind.is_file() || kind == tar::EntryType::GNUSparse {
            self.clear(&parent, &name, &path).map_err(failed)?;
            self.write_file(entry, &parent, &name, raw)?;
            true
        } else if kind.is_symlink() {
            let target = link_target(entry, raw)?;
            self.clear(&parent, &name, &path).map_err(failed)?;
            rustix::fs::symlinkat(&target, &parent, &name).map_err(failed)?;
            true
        } else if kind.is_hard_link() {
            let target = relative(&link_target(entry, raw)?)?;
            self.pay_for_copy(&target)?;
            self.hard_link(&target, &parent, &name, &path).map_err(failed)?;
            self.made.insert(digest_of(&path));
            self.restore(parent, parent_path);
            return Ok(());
        } else if kind.is_fifo() {
            self.clear(&parent, &name, &path).map_err(failed)?;
            rustix::fs::mknodat(&parent, &name, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
                .map_err(failed)?;
            true
        } else {
            // Devices are the runtime's to give, and a 0:0 device would be a whiteout to the overlay.
            false
        };
        if made {
            let is_link = kind.is_symlink();
            self.set_metadata(entry, &parent, &name, !is_link).map_err(failed)?;
            self.made.insert(digest_of(&path));
        }
        self.restore(parent, parent_path);
        Ok(())
    }

    fn parent_dir(&mut self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.parent.take() {
            Some((known, fd)) if known == path => Ok(fd),
            _ => self.root.open_dir(path),
        }
    }

    fn restore(&mut self, parent: OwnedFd, path: PathBuf) {
        self.parent = Some((path, parent));
    }

    /// Makes room for an entry that replaces what is there.
    fn clear(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Errno> {
        remove(parent, name, path, &|_| false, 0).map(drop)
    }

    fn white_out(&mut self, parent_path: &Path, name: &OsStr, raw: &Path) -> Result<(), ImageError> {
        let hostile =
            |cause: &str| ImageError::Hostile { path: raw.display().to_string(), cause: cause.to_owned() };
        let failed = |cause: Errno| ImageError::of_entry(raw, cause);
        // What a removed directory was must not be written to by a cached handle.
        self.parent = None;
        let parent = match self.root.existing_dir(parent_path) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(source) => return Err(failed(source)),
        };
        let made = &self.made;
        let keep = |path: &Path| made.contains(&digest_of(path));
        if name.as_bytes() == OPAQUE {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(&parent, ".", flags, Mode::empty()).map_err(failed)?;
            for child in children(&dir).map_err(failed)? {
                remove(&dir, &child, &parent_path.join(&child), &keep, 1).map_err(failed)?;
            }
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
        if hidden.as_bytes().starts_with(WHITEOUT) {
            return Ok(()); // Housekeeping of another storage driver.
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(hostile("whiteout of nothing"));
        }
        remove(&parent, hidden, &parent_path.join(hidden), &keep, 1).map(drop).map_err(failed)
    }

    fn write_file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        raw: &Path,
    ) -> Result<(), ImageError> {
        self.budget.take_bytes(entry.size())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let what = format!("unpack {}", raw.display());
        let mut file = File::from(fd.map_err(|source| ImageError::io(what.clone())(source.into()))?);
        let written = std::io::copy(entry, &mut file).map_err(ImageError::io(what))?;
        if written != entry.size() {
            return Err(ImageError::Malformed(format!("{} is cut off", raw.display())));
        }
        if self.copies {
            self.own.insert(file.metadata().map_err(ImageError::io("unpack a file"))?.ino());
        }
        Ok(())
    }

    /// A few bytes of an archive must not make copies without end of what lies below.
    fn pay_for_copy(&mut self, target: &Path) -> Result<(), ImageError> {
        if !self.copies {
            return Ok(());
        }
        let parent = self.root.existing_dir(target.parent().unwrap_or(Path::new("")));
        let (Ok(parent), Some(name)) = (parent, target.file_name()) else { return Ok(()) };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !self.own.contains(&stat.st_ino) => {
                self.budget.take_bytes(u64::try_from(stat.st_size).unwrap_or(0))
            }
            // It lies here, or there is none.
            _ => Ok(()),
        }
    }

    fn hard_link(&mut self, target: &Path, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Errno> {
        if target == path {
            return Ok(());
        }
        let target_name = target.file_name().ok_or(Errno::INVAL)?;
        let target_parent = self.root.existing_dir(target.parent().unwrap_or(Path::new("")))?;
        self.clear(parent, name, path)?;
        rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())?;
        if self.copies {
            self.own.insert(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino);
        }
        Ok(())
    }

    fn set_metadata<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        has_mode: bool,
    ) -> Result<(), Errno> {
        let (uid, gid) = (id(entry.header().uid()), id(entry.header().gid()));
        let mode = entry.header().mode().unwrap_or(0o755) & 0o7777;
        let seconds = i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0);
        if self.as_root {
            rustix::fs::chownat(
                parent,
                name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        if has_mode {
            // Without root the worker owns everything, and must be able to use and remove it.
            let owner = if entry.header().entry_type().is_dir() { 0o700 } else { 0o600 };
            let mode = if self.as_root { mode } else { (mode & 0o0777) | owner };
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
            self.set_attributes(entry, parent, name)?;
        }
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn set_attributes<R: Read>(
        &self,
        entry: &mut tar::Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), Errno> {
        if !self.as_root {
            return Ok(());
        }
        let Ok(Some(extensions)) = entry.pax_extensions() else { return Ok(()) };
        let mut file = None;
        for extension in extensions.flatten() {
            let Some(attribute) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."))
            else {
                continue;
            };
            if !ATTRIBUTE_ALLOWED.contains(&attribute) && !attribute.starts_with(ATTRIBUTE_PREFIX_ALLOWED) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if file.is_none() {
                file = Some(rustix::fs::openat(parent, name, flags, Mode::empty())?);
            }
            let Some(fd) = &file else { continue };
            match rustix::fs::fsetxattr(fd, attribute, extension.value_bytes(), XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(source) => return Err(source),
            }
        }
        Ok(())
    }
}

/// What stands for a path in memory: an image may have millions of them, each as long as a path can be.
fn digest_of(path: &Path) -> [u8; 32] {
    Sha256::digest(path.as_os_str().as_bytes()).into()
}

/// The path below the root, without `./`, `/` in front; one that climbs is refused.
fn relative(path: &Path) -> Result<PathBuf, ImageError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let cause = "climbs out of the image with \"..\"".to_owned();
                return Err(ImageError::Hostile { path: path.display().to_string(), cause });
            }
        }
    }
    Ok(clean)
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, raw: &Path) -> Result<PathBuf, ImageError> {
    let malformed = || ImageError::Malformed(format!("link {} has no target", raw.display()));
    let target: OsString = match entry.link_name() {
        Ok(Some(target)) => target.into_owned().into_os_string(),
        _ => return Err(malformed()),
    };
    if target.is_empty() {
        return Err(malformed());
    }
    Ok(PathBuf::from(target))
}

fn id(field: std::io::Result<u64>) -> u32 {
    field.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
