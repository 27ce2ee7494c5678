//! A disk as one process has it mounted: `kontiki_raft`'s seam. When the process is gone, its mount does nothing any more.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kontiki_raft::{Batch, Database, Disk, DiskError, DiskErrorKind, Durability, Form, Job, Scan, spawn};
use parking_lot::Mutex;
use rand::Rng;

use super::files::{self, File};
use super::{Platter, SimDisk, Stored};

/// Work on the disk takes at least this long, and up to eight times as long.
const WORK: Duration = Duration::from_micros(150);
/// A sync takes at least this long, and up to eight times as long.
const SYNC: Duration = Duration::from_micros(400);

#[derive(Clone)]
pub(super) struct Mount {
    pub(super) disk: SimDisk,
    pub(super) incarnation: u64,
}

/// A database, and the version of it that is to be on the disk.
type Wanted = (Arc<Mutex<Stored>>, u64);

std::thread_local! {
    /// The versions that the running work of a log's writer wants synced.
    static WANTED: std::cell::RefCell<Option<Vec<Wanted>>> = const { std::cell::RefCell::new(None) };
}

fn failed(detail: impl Into<String>) -> DiskError {
    DiskError { kind: DiskErrorKind::Failed, detail: detail.into() }
}

fn gone() -> io::Error {
    io::Error::other("this process is gone")
}

impl Mount {
    fn alive(&self) -> bool {
        self.disk.0.platter.lock().incarnation == self.incarnation
    }

    /// Reads, if this process lives.
    fn read<T>(&self, work: impl FnOnce(&mut Platter) -> T) -> io::Result<T> {
        let mut platter = self.disk.0.platter.lock();
        if platter.incarnation != self.incarnation {
            return Err(gone());
        }
        Ok(work(&mut platter))
    }

    /// Changes something, if this process lives and the disk lets it.
    fn change<T>(&self, work: impl FnOnce(&mut Platter) -> T) -> io::Result<T> {
        let mut platter = self.disk.0.platter.lock();
        if platter.incarnation != self.incarnation {
            return Err(gone());
        }
        if let Some(left) = &mut platter.trip_after {
            if *left == 0 {
                platter.trip_after = None;
                platter.incarnation += 1;
                drop(platter);
                self.disk.0.tripped.send_modify(|times| *times += 1);
                return Err(gone());
            }
            *left -= 1;
        }
        if platter.faults.full {
            platter.counts.refused += 1;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "No space left on device"));
        }
        if platter.faults.error {
            platter.counts.refused += 1;
            return Err(io::Error::other("Input/output error"));
        }
        Ok(work(&mut platter))
    }

    /// How long something takes now.
    fn time(&self, least: Duration) -> Duration {
        let mut platter = self.disk.0.platter.lock();
        let slow = platter.faults.slow;
        platter.counts.delayed += u64::from(!slow.is_zero());
        slow + least * platter.random.random_range(1..=8)
    }

    async fn unstuck(&self) {
        let mut stuck = self.disk.0.stuck.subscribe();
        if *stuck.borrow() {
            self.disk.0.platter.lock().counts.delayed += 1;
        }
        let _ = stuck.wait_for(|stuck| !stuck).await;
    }

    fn stored(&self, path: &Path) -> Result<Option<Arc<Mutex<Stored>>>, DiskError> {
        let found = self.read(|platter| platter.files.get(path).cloned());
        match found.map_err(|error| failed(error.to_string()))? {
            Some(File::Database(stored)) => Ok(Some(stored)),
            _ => Ok(None),
        }
    }

    fn handle(&self, stored: Arc<Mutex<Stored>>, form: &Form) -> Arc<dyn Database> {
        let tables = form.tables.iter().map(|name| stored.lock().table(name)).collect();
        Arc::new(Open { mount: self.clone(), stored, tables })
    }
}

impl Disk for Mount {
    fn open(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        let stored = self.change(|platter| {
            files::create_dir(&mut platter.files, path.parent().unwrap_or(Path::new("/")));
            let names = form.tables.iter().map(ToString::to_string).collect();
            let fresh = || File::Database(Arc::new(Mutex::new(Stored::new(names, form.purpose))));
            match platter.files.entry(path.into()).or_insert_with(fresh) {
                File::Database(stored) => Some(stored.clone()),
                _ => None,
            }
        });
        let stored = stored.map_err(|error| failed(error.to_string()))?;
        let stored = stored.ok_or_else(|| failed("it is no database"))?;
        stored.lock().opened(self.incarnation, &form.tables);
        Ok(self.handle(stored, form))
    }

    fn open_read_only(&self, path: &Path, form: &Form) -> Result<Arc<dyn Database>, DiskError> {
        let stored = self.stored(path)?;
        let missing = || DiskError { kind: DiskErrorKind::Corrupt, detail: "No such file".into() };
        Ok(self.handle(stored.ok_or_else(missing)?, form))
    }

    fn tables(&self, path: &Path, _form: &Form) -> Result<Option<Vec<String>>, DiskError> {
        Ok(self.stored(path)?.map(|stored| stored.lock().names.clone()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.read(|platter| platter.files.contains_key(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // Directories that are there need no space.
        if self.exists(path)? {
            return Ok(());
        }
        self.change(|platter| files::create_dir(&mut platter.files, path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.read(|platter| files::list(&platter.files, path))?
    }

    fn rename_dir(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|platter| files::rename(&mut platter.files, from, to))?
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.read(|platter| files::remove(&mut platter.files, path))?
    }

    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        self.read(|platter| match platter.files.get(path) {
            Some(File::Text(text)) => Some(text.clone()),
            _ => None,
        })
    }

    fn replace(&self, path: &Path, content: &str) -> io::Result<()> {
        self.change(|platter| drop(platter.files.insert(path.into(), File::Text(content.into()))))
    }

    fn run(&self, job: Job) -> BoxFuture<'static, io::Result<()>> {
        let mount = self.clone();
        // Work that was begun goes on when nobody waits for it any more.
        let working = spawn(async move {
            tokio::time::sleep(mount.time(WORK)).await;
            mount.unstuck().await;
            if mount.alive() {
                job();
            }
        });
        Box::pin(async move { working.await.map_err(io::Error::other) })
    }

    fn start(&self, _name: &str, task: BoxFuture<'static, ()>) -> io::Result<()> {
        spawn(task);
        Ok(())
    }

    /// The log's writer: what it writes is on its way at once, and safe when the sync has come back.
    fn block(&self, job: Job) -> BoxFuture<'static, ()> {
        let mount = self.clone();
        Box::pin(async move {
            mount.unstuck().await;
            WANTED.set(Some(Vec::new()));
            job();
            let wanted = WANTED.take().unwrap_or_default();
            if wanted.is_empty() {
                return;
            }
            tokio::time::sleep(mount.time(SYNC)).await;
            mount.unstuck().await;
            if !mount.alive() {
                return std::future::pending().await;
            }
            mount.disk.0.platter.lock().counts.synced += wanted.len() as u64;
            for (stored, version) in wanted {
                stored.lock().synced(version);
            }
        })
    }

    fn pause(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A database that a process has open.
struct Open {
    mount: Mount,
    stored: Arc<Mutex<Stored>>,
    /// The number of each of the process' tables here; none: it is not there.
    tables: Vec<Option<u8>>,
}

impl Open {
    fn alive(&self) -> Result<(), DiskError> {
        if self.mount.alive() { Ok(()) } else { Err(failed("this process is gone")) }
    }

    fn here(&self, table: u8) -> Option<u8> {
        self.tables.get(usize::from(table)).copied().flatten()
    }
}

impl Database for Open {
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.alive()?;
        match self.here(table) {
            Some(table) => self.stored.lock().get(table, key),
            None => Ok(None),
        }
    }

    fn scan(&self, table: u8, from: &[u8], to: Option<&[u8]>) -> Scan<'_> {
        if let Err(error) = self.alive() {
            return Box::new(std::iter::once(Err(error)));
        }
        let Some(table) = self.here(table) else { return Box::new(std::iter::empty()) };
        let content = self.stored.lock().content(table);
        let mut next: Bound<Arc<[u8]>> = Bound::Included(from.into());
        let end: Bound<Arc<[u8]>> = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.into()));
        let ended = matches!((&next, &end), (Bound::Included(from), Bound::Excluded(to)) if from >= to);
        let pairs = std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let (key, value) = content.range((next.clone(), end.clone())).next()?;
            next = Bound::Excluded(key.clone());
            // The range behind the last key before the end would be upside down.
            let pair = (key.clone(), value.clone());
            Some(pair)
        });
        Box::new(pairs.map(move |(key, value)| {
            self.stored.lock().verify(table, &key)?;
            Ok((key.to_vec().into(), value.to_vec().into()))
        }))
    }

    fn write(&self, batch: Batch, how: Durability) -> Result<(), DiskError> {
        let tables: Vec<u8> = self.tables.iter().map(|table| table.unwrap_or(0)).collect();
        let write =
            |platter: &mut Platter| self.stored.lock().write(batch, &tables, how, &mut platter.random);
        // What is not written ahead goes into memory only.
        let version = match how {
            Durability::Unlogged => self.mount.read(write),
            _ => self.mount.change(write),
        };
        let Some(version) = version.map_err(|error| failed(error.to_string()))? else { return Ok(()) };
        let later = WANTED.with_borrow_mut(|wanted| match wanted {
            Some(wanted) => {
                wanted.push((self.stored.clone(), version));
                true
            }
            None => false,
        });
        if !later {
            self.stored.lock().synced(version);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        let flushed = self.mount.change(|_| self.stored.lock().flush());
        flushed.map_err(|error| failed(error.to_string()))
    }

    fn checkpoint(&self, into: &Path) -> Result<(), DiskError> {
        self.flush()?;
        let done = self.mount.change(|platter| {
            if platter.files.contains_key(into) {
                return Err(failed("Invalid argument: Directory exists"));
            }
            let picture = self.stored.lock().picture();
            platter.files.insert(into.into(), File::Database(Arc::new(Mutex::new(picture))));
            Ok(())
        });
        done.map_err(|error| failed(error.to_string()))?
    }

    fn reclaim(&self, table: u8, first: &[u8], last: &[u8]) -> Result<(), DiskError> {
        let Some(table) = self.here(table) else { return Ok(()) };
        let reclaimed = self.mount.read(|_| self.stored.lock().reclaim(table, first, last));
        reclaimed.map_err(|error| failed(error.to_string()))
    }
}
