//! Where an image's files are: in one directory, or in layers that lie upon each other.
//!
//! Layers are as the kernel's overlay reads them: a device 0:0 stands for what a layer took away, and the attribute
//! `trusted.overlay.opaque` for a directory of which nothing below counts (Documentation/filesystems/overlayfs.rst).
//! Containers see them mounted; what is looked up without a mount is found here by the same rules.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rootdir::{self, RootDir};

/// The directory in a layer's that has its files. Short, for the names of all layers of an image share a page of memory.
pub(super) const FILES: &str = "f";
const OPAQUE: &str = "trusted.overlay.opaque";
/// As the kernel's.
const LINKS_MAX: u32 = 40;

/// Where an image's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Root {
    /// All in this directory; the one above it is the image's own. An empty path is no image.
    Flat(PathBuf),
    /// In several, one upon the other.
    Layers(Stack),
}

/// Layers, one upon the other. Never written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The image's own directory, which those lock that use it.
    pub home: PathBuf,
    /// The directory of all layers.
    pub dir: PathBuf,
    /// Their names there, the lowest first.
    pub layers: Vec<String>,
}

/// Of a shim and an agent before there were layers.
impl From<PathBuf> for Root {
    fn from(rootfs: PathBuf) -> Self {
        Self::Flat(rootfs)
    }
}

/// Nothing of layers is said to them: they are not asked to run such an image.
impl From<Root> for PathBuf {
    fn from(root: Root) -> Self {
        match root {
            Root::Flat(rootfs) => rootfs,
            Root::Layers(_) => PathBuf::new(),
        }
    }
}

impl Root {
    /// There is no image.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Flat(rootfs) if rootfs.as_os_str().is_empty())
    }

    /// The image's own directory.
    pub fn home(&self) -> &Path {
        match self {
            Self::Flat(rootfs) => rootfs.parent().unwrap_or(rootfs),
            Self::Layers(stack) => &stack.home,
        }
    }

    /// Where a path leads in the image, if it is there: symbolic links mean the image's own files. Of a directory that
    /// several layers have it is the uppermost's.
    pub fn find(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Flat(rootfs) => rootdir::beneath(rootfs, path),
            Self::Layers(stack) => {
                let (layer, path) = stack.find(path)?;
                Some(stack.files(layer).join(path))
            }
        }
    }

    /// Opens a file of the image for reading.
    pub(super) fn open_file(&self, path: &Path) -> io::Result<File> {
        let open =
            |rootfs: &Path, path: &Path| RootDir::open(rootfs).map_err(io::Error::other)?.open_file(path);
        match self {
            Self::Flat(rootfs) => open(rootfs, path),
            Self::Layers(stack) => {
                let (layer, path) = stack.find(path).ok_or(io::ErrorKind::NotFound)?;
                open(&stack.files(layer), &path)
            }
        }
    }
}

/// What one layer says of a path.
enum Word {
    /// Nothing: those below it are asked.
    Nothing,
    /// There is none, whatever is below.
    Gone,
    /// This is it.
    Here(std::fs::Metadata),
}

impl Stack {
    /// As the kernel wants to be told of them by who is in their directory: the uppermost first.
    pub(crate) fn lowerdir(&self) -> String {
        lowerdir(&self.layers)
    }

    fn files(&self, layer: &str) -> PathBuf {
        self.dir.join(layer).join(FILES)
    }

    /// The layer that a path leads to, and where in that; no part of it is a link.
    fn find(&self, path: &Path) -> Option<(&str, PathBuf)> {
        let mut todo: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            let (layer, found) = self.look_up(&next)?;
            if !found.is_symlink() {
                if !found.is_dir() && !todo.is_empty() {
                    return None;
                }
                done = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            let target = std::fs::read_link(self.files(layer).join(&next)).ok()?;
            if target.is_absolute() {
                done = PathBuf::new();
            }
            for part in parts(&target).into_iter().rev() {
                todo.push_front(part);
            }
        }
        let (layer, _) = self.look_up(&done)?;
        Some((layer, done))
    }

    /// The uppermost layer that has a path, of which all but the last part are directories.
    fn look_up(&self, path: &Path) -> Option<(&str, std::fs::Metadata)> {
        for layer in self.layers.iter().rev() {
            match word(&self.files(layer), path) {
                Word::Nothing => {}
                Word::Gone => return None,
                Word::Here(found) => return Some((layer, found)),
            }
        }
        None
    }
}

/// The parts of a path that lead somewhere.
fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

fn word(files: &Path, path: &Path) -> Word {
    let mut at = files.to_owned();
    let mut rest = path.components();
    let mut hides = false;
    loop {
        let found = match std::fs::symlink_metadata(&at) {
            Ok(found) => found,
            Err(_) if hides => return Word::Gone,
            Err(_) => return Word::Nothing,
        };
        if found.file_type().is_char_device() && found.rdev() == 0 {
            return Word::Gone;
        }
        match rest.next() {
            None => return Word::Here(found),
            // Below a file, also if it is a link, this layer has nothing and lets nothing through.
            Some(_) if !found.is_dir() => return Word::Gone,
            Some(part) => {
                hides |= is_opaque(&at);
                at.push(part);
            }
        }
    }
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(dir, OPAQUE, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

/// Layers as the kernel wants to be told of them by who is in their directory: the uppermost first.
pub(super) fn lowerdir(layers: &[String]) -> String {
    let names: Vec<String> = layers.iter().rev().map(|layer| format!("{layer}/{FILES}")).collect();
    names.join(":")
}
