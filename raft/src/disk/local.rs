//! The disk of this machine: RocksDB, the file system, and tokio's threads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::rocks::{self, Rocks};
use super::{Database, Disk, DiskError, Form, Job};

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

impl Disk for Local {
    fn open(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
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
        fs::create_dir_all(path)
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
