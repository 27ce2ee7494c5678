//! Packed layers on their way from a registry: kept until they are unpacked, and taken up again where a pull ended.
//!
//! ```text
//! blobs/<hex digest>.<place>.part   what has come so far from one registry; locked by the one that fetches it
//! blobs/<hex digest>                whole, its digest compared; locked, together with others, by whoever unpacks it
//! ```
//!
//! Any number of processes may use one store: whoever finds a layer being fetched from the same registry waits for it. For
//! another registry nobody waits: it may be slow, or lie, on purpose. What nobody has locked is nobody's, and goes when room is
//! needed or after a while.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::archive::{Spooled, digest_text};
use super::usage::lock;

const PART: &str = "part";
/// Digits of the hash of a registry's name: who wants two of the same has only himself to wait for.
const PLACE_DIGITS: usize = 16;
const CHUNK: usize = 256 * 1024;

/// The packed layers on disk.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
}

/// How it stands with a layer.
#[derive(Debug)]
pub(super) enum Claimed {
    /// It is all here.
    Whole(Blob),
    /// It is to be fetched, by whoever has this.
    Part(Part),
    /// Somebody else fetches or removes it just now.
    Busy,
}

/// A whole layer. While it is held, it stays.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) spooled: Spooled,
    lock: File,
}

/// What is there of a layer, and the right to go on with it.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    whole: PathBuf,
    file: File,
    _lock: File,
    hasher: Sha256,
    bytes: u64,
    /// It has bytes that another pull left, which a machine that lost power may have spoiled.
    resumed: bool,
}

impl Blobs {
    pub(super) fn of(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Takes hold of a layer of so many bytes, which is to be had at this registry. Reads what is there of it. Blocking.
    pub(super) fn claim(&self, digest: &str, size: u64, registry: &str) -> io::Result<Claimed> {
        std::fs::create_dir_all(&self.dir)?;
        let whole = self.dir.join(digest.rsplit_once(':').map_or(digest, |(_, hex)| hex));
        match lock(&whole, FlockOperation::NonBlockingLockShared) {
            Ok(Some(lock)) => return Ok(Claimed::Whole(Blob::at(whole, digest, lock)?)),
            Ok(None) => return Ok(Claimed::Busy),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(source),
        }
        let place = digest_text(Sha256::new_with_prefix(registry));
        let place: String = place.chars().skip("sha256:".len()).take(PLACE_DIGITS).collect();
        let path = whole.with_extension(format!("{place}.{PART}"));
        File::options().create(true).append(true).open(&path)?;
        let held = match lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(held)) => held,
            Ok(None) => return Ok(Claimed::Busy),
            // It became whole, or was removed.
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Claimed::Busy),
            Err(source) => return Err(source),
        };
        if whole.exists() {
            // It became whole before this part was made.
            std::fs::remove_file(&path)?;
            return Ok(Claimed::Busy);
        }
        Part::resume(path, whole, held, size).map(Claimed::Part)
    }

    /// Removes what nobody has and that was not used within this time. Answers how many bytes that were.
    pub(super) fn clear(&self, within: Duration) -> u64 {
        let mut freed = 0_u64;
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if modified.elapsed().is_ok_and(|age| age < within) {
                continue;
            }
            if remove(&entry.path()) {
                freed = freed.saturating_add(metadata.len());
            }
        }
        freed
    }

    /// The bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }
}

/// Removes what nobody has locked. Says whether it went.
fn remove(path: &Path) -> bool {
    match lock(path, FlockOperation::NonBlockingLockExclusive) {
        // Still locked: nobody can begin with it meanwhile, and who waits for it sees that it is gone.
        Ok(Some(_lock)) => std::fs::remove_file(path).is_ok(),
        _ => false,
    }
}

impl Blob {
    fn at(path: PathBuf, digest: &str, lock: File) -> io::Result<Self> {
        let size = lock.metadata()?.len();
        // Others that look how long nobody has used it: now somebody does.
        lock.set_modified(SystemTime::now()).ok();
        Ok(Self { spooled: Spooled { path, size, digest: digest.to_owned() }, lock })
    }

    /// It is not needed any more: it goes with the last that has it.
    pub(super) fn discard(self) {
        drop(self.lock);
        remove(&self.spooled.path);
    }
}

impl Part {
    fn resume(path: PathBuf, whole: PathBuf, held: File, size: u64) -> io::Result<Self> {
        let mut file = File::options().read(true).write(true).open(&path)?;
        if file.metadata()?.len() > size {
            file.set_len(0)?;
        }
        let (mut hasher, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
        Ok(Self { path, whole, file, _lock: held, hasher, bytes, resumed: bytes > 0 })
    }

    /// How much is there.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether some of it is of an earlier pull.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The digest of what is there.
    pub(super) fn digest(&self) -> String {
        digest_text(self.hasher.clone())
    }

    pub(super) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Err(source) = self.file.write_all(piece) {
            // Some of it may have been written: the file must be what was hashed.
            self.file.set_len(self.bytes).ok();
            self.file.seek(SeekFrom::Start(self.bytes)).ok();
            return Err(source);
        }
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.hasher, self.bytes, self.resumed) = (Sha256::new(), 0, false);
        Ok(())
    }

    /// All is there, and its digest is this one: from now on others may have it, too.
    pub(super) fn finish(self) -> io::Result<Blob> {
        let digest = self.digest();
        self.file.sync_all()?;
        let whole = self.whole.clone();
        std::fs::rename(&self.path, &whole)?;
        if let Some(dir) = whole.parent() {
            File::open(dir)?.sync_all()?;
        }
        drop(self);
        let removed = || io::Error::other("a layer was removed just when it had come: pull again");
        let lock = lock(&whole, FlockOperation::NonBlockingLockShared)?.ok_or_else(removed)?;
        Blob::at(whole, &digest, lock)
    }

    /// It is of no use.
    pub(super) fn discard(self) {
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(dir.path().join("blobs"));
        (dir, blobs)
    }

    fn digest() -> String {
        digest_text(Sha256::new_with_prefix(b"hello"))
    }

    fn part(blobs: &Blobs) -> Part {
        match claim(blobs) {
            Claimed::Part(part) => part,
            other => panic!("{other:?}"),
        }
    }

    fn claim(blobs: &Blobs) -> Claimed {
        blobs.claim(&digest(), 5, "a.io").unwrap()
    }

    #[test]
    fn what_was_left_is_gone_on_with() {
        let (_dir, blobs) = blobs();
        let mut first = part(&blobs);
        first.add(b"hel").unwrap();
        assert!(!first.is_resumed());
        assert!(matches!(claim(&blobs), Claimed::Busy), "one fetches it");
        assert_eq!(blobs.clear(Duration::ZERO), 0, "and nobody takes it away meanwhile");
        drop(first);
        let mut second = part(&blobs);
        assert_eq!((second.bytes(), second.is_resumed()), (3, true));
        second.add(b"lo").unwrap();
        assert_eq!(second.digest(), digest());
        let blob = second.finish().unwrap();
        assert_eq!(std::fs::read(&blob.spooled.path).unwrap(), b"hello");
        assert_eq!((blob.spooled.size, &blob.spooled.digest), (5, &digest()));
    }

    #[test]
    fn what_is_whole_is_everybodys_and_goes_with_the_last() {
        let (_dir, blobs) = blobs();
        let mut first = part(&blobs);
        first.add(b"hello").unwrap();
        let one = first.finish().unwrap();
        let Claimed::Whole(two) = claim(&blobs) else { panic!("it is whole") };
        let path = one.spooled.path.clone();
        one.discard();
        assert!(path.exists());
        assert_eq!(blobs.clear(Duration::ZERO), 0);
        two.discard();
        assert!(!path.exists());
        assert_eq!(part(&blobs).bytes(), 0);
    }

    #[test]
    fn nobody_waits_for_another_registry() {
        let (_dir, blobs) = blobs();
        let slow = part(&blobs);
        let Claimed::Part(mut other) = blobs.claim(&digest(), 5, "b.io").unwrap() else { panic!("busy") };
        other.add(b"hello").unwrap();
        let one = other.finish().unwrap();
        assert!(matches!(claim(&blobs), Claimed::Whole(_)), "from whichever it came");
        drop(slow);
        one.discard();
    }

    #[test]
    fn what_is_longer_than_its_layer_is_none_of_it() {
        let (_dir, blobs) = blobs();
        let mut first = part(&blobs);
        first.add(b"hello, world").unwrap();
        drop(first);
        assert_eq!(part(&blobs).bytes(), 0);
    }

    #[test]
    fn what_nobody_has_goes_after_its_time() {
        let (_dir, blobs) = blobs();
        part(&blobs).add(b"hel").unwrap();
        assert_eq!(blobs.clear(Duration::from_secs(3600)), 0);
        assert_eq!((blobs.bytes(), blobs.clear(Duration::ZERO), blobs.bytes()), (3, 3, 0));
    }
}
