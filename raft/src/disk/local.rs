//! The disk of this machine: RocksDB, the file system, and tokio's threads.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::rocks::{self, Rocks};
use super::{Database, Disk, DiskError, DiskErrorKind, Form, Job};

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory that only its owner may enter, and those above it, or narrows the one that is there to that: earlier builds left
/// it open.
fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & !0o077))
    {
        // Somebody else's directory, or a file system without modes: no reason not to serve.
        tracing::warn!(directory = %path.display(), %error, "others may read the state with all its secrets");
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

impl Disk for Local {
    fn open(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        // RocksDB's files are readable by all: its directory keeps them out.
        private_dir(path)
            .map_err(|error| DiskError { kind: DiskErrorKind::Failed, detail: error.to_string() })?;
        Ok(Arc::new(Rocks::open(path, form)?))
    }

    fn open_read_only(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        Ok(Arc::new(Rocks::open_read_only(path, form)?))
    }

    fn tables(&self, path: &Path, form: &Form) -> Result<Option<Vec<String>>, DiskError> {
        if !rocks::is_database(path) {
            return Ok(None);
        }
        rocks::tables(path, form).map(Some)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        private_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        sync_dir(from)?;
        fs::rename(from, to)?;
        sync_dir(parent(to))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, path: &Path, content: &str) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_dir(parent(path))
    }

    fn run(&self, job: Job) -> BoxFuture<'static, io::Result<()>> {
        tokio::task::spawn_blocking(job).map(|done| done.map_err(io::Error::other)).boxed()
    }

    fn start(&self, name: &str, task: BoxFuture<'static, ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(name.into());
        thread.spawn(move || runtime.block_on(task)).map(drop)
    }

    fn block(&self, job: Job) -> BoxFuture<'static, ()> {
        job();
        ready(()).boxed()
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        std::thread::sleep(time);
        ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tempfile::TempDir;

    use super::super::Purpose;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn opened(path: &Path) {
        let form =
            Form { tables: vec!["a"], purpose: Purpose::Log, write_buffer_bytes: 1 << 20, cache_bytes: 0 };
        drop(Local.open(path, &form).unwrap());
    }

    #[test]
    fn only_their_owner_may_enter_directories_and_databases() {
        let place = TempDir::new().unwrap();
        let directory = place.path().join("new/state");
        Local.create_dir(&directory).unwrap();
        assert_eq!((mode(&directory), mode(&place.path().join("new"))), (0o700, 0o700));
        let database = place.path().join("raft.db");
        opened(&database);
        assert_eq!(mode(&database), 0o700);
    }

    #[test]
    fn what_others_could_enter_is_narrowed() {
        let place = TempDir::new().unwrap();
        let (directory, database) = (place.path().join("state"), place.path().join("raft.db"));
        opened(&database);
        fs::create_dir(&directory).unwrap();
        for path in [&directory, &database] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        Local.create_dir(&directory).unwrap();
        opened(&database);
        assert_eq!((mode(&directory), mode(&database)), (0o700, 0o700));
    }
}
