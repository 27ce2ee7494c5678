//! The files and directories of a simulated disk. Each change is whole and for good when it returns: the seam asks for no less.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Stored;

/// What stands at a path.
#[derive(Clone)]
pub(super) enum File {
    Directory,
    Text(String),
    Database(Arc<Mutex<Stored>>),
}

pub(super) fn create_dir(files: &mut BTreeMap<PathBuf, File>, path: &Path) {
    for part in path.ancestors() {
        files.entry(part.into()).or_insert(File::Directory);
    }
}

pub(super) fn list(files: &BTreeMap<PathBuf, File>, path: &Path) -> io::Result<Vec<PathBuf>> {
    if !files.contains_key(path) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display())));
    }
    Ok(files.keys().filter(|file| file.parent() == Some(path)).cloned().collect())
}

fn below(files: &BTreeMap<PathBuf, File>, path: &Path) -> Vec<PathBuf> {
    files.keys().filter(|file| file.starts_with(path)).cloned().collect()
}

pub(super) fn rename(files: &mut BTreeMap<PathBuf, File>, from: &Path, to: &Path) -> io::Result<()> {
    let moved = below(files, from);
    if moved.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", from.display())));
    }
    if files.contains_key(to) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there", to.display())));
    }
    for path in moved {
        let Some(file) = files.remove(&path) else { continue };
        let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
        let target = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
        files.insert(target, file);
    }
    Ok(())
}

pub(super) fn remove(files: &mut BTreeMap<PathBuf, File>, path: &Path) -> io::Result<()> {
    let gone = below(files, path);
    if gone.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display())));
    }
    for path in gone {
        files.remove(&path);
    }
    Ok(())
}
