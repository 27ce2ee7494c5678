//! Private keys on disk: only their owner can read them, and a crash leaves the old file or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::Error;

/// Keys and certificates are a few kilobytes; anything bigger is not one of ours.
const MAX_FILE: u64 = 256 * 1024;

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |source| Error::File { action, path: path.to_owned(), source }
}

/// Makes a folder that only its owner can enter; one that exists must already be so.
pub(crate) fn create_folder(dir: &Path) -> Result<(), Error> {
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(failed("create folder", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => check_folder(dir),
        outcome => outcome.map_err(failed("create folder", dir)),
    }
}

/// Refuses a folder that others can enter.
pub(crate) fn check_folder(dir: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(dir).map_err(failed("read folder", dir))?;
    check_mode(dir, metadata.permissions().mode(), 0o700)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.new"));
    // A file left by a crash is removed and not opened: it might have other permissions or another owner.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("remove", &temporary)(e)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("create", &temporary))?;
    file.write_all(text.as_bytes()).map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, &path).map_err(failed("put in place", &path))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed("sync folder", dir))
}

/// Reads a file, and refuses it if others could have.
pub(crate) fn read_private(path: &Path) -> Result<String, Error> {
    let file = File::open(path).map_err(failed("open", path))?;
    let metadata = file.metadata().map_err(failed("read", path))?;
    check_mode(path, metadata.permissions().mode(), 0o600)?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed("read", path))?;
    Ok(text)
}

fn check_mode(path: &Path, mode: u32, wanted: u32) -> Result<(), Error> {
    let mode = mode & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::TooOpen { path: path.to_owned(), mode, wanted })
}
