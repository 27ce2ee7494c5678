//! Small files that only their owner can read, and that a crash leaves whole: the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Whether a file must survive the machine, or only the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Machine,
    Process,
}

/// Makes a folder for its owner alone, with what leads there.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file.
pub(crate) fn write(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    if durability == Durability::Machine {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    match (durability, path.parent()) {
        (Durability::Machine, Some(folder)) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// A file's content; none if it is not there.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
