//! Who uses an image, across processes: locks on its directory, which die with whoever holds them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::root::Root;

/// A claim lasts for a moment: either its image goes, or somebody only looked whether it is in use.
const CLAIM_TRIES: u32 = 100;
const CLAIM_PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether another one is through.
const TURN_PAUSE: Duration = Duration::from_millis(20);

/// While any process has a hold on an image, it is not removed.
#[derive(Debug)]
pub(crate) struct Hold(#[allow(dead_code, reason = "the lock is the open file's")] File);

impl Hold {
    /// Takes a hold on the image whose files are there, which is used now.
    pub(crate) fn of(root: &Root) -> Result<Self, String> {
        let home = root.home();
        let gone = |cause: String| format!("the image in {} is gone: {cause}", home.display());
        for _ in 0..CLAIM_TRIES {
            match lock(home, FlockOperation::NonBlockingLockShared) {
                Ok(Some(file)) => {
                    // Whose images these are may not be this process, and then they are not its to remove either.
                    file.set_modified(SystemTime::now()).ok();
                    return Ok(Self(file));
                }
                Ok(None) => std::thread::sleep(CLAIM_PAUSE),
                Err(source) => return Err(gone(source.to_string())),
            }
        }
        Err(gone("it is being removed".to_owned()))
    }
}

/// The only one to use an image: whoever removes it.
#[derive(Debug)]
pub(super) struct Claim(#[allow(dead_code, reason = "the lock is the open file's")] File);

impl Claim {
    /// Takes the claim, unless somebody has a hold on the image.
    pub(super) fn on(home: &Path) -> io::Result<Option<Self>> {
        Ok(lock(home, FlockOperation::NonBlockingLockExclusive)?.map(Self))
    }
}

/// The right to pull an image into a store, or to unpack a layer there. The file that it is bound to goes with it.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _file: File,
}

impl Turn {
    /// Takes the right, unless somebody has it.
    pub(super) fn try_take(path: PathBuf) -> io::Result<Option<Self>> {
        File::options().create(true).append(true).open(&path)?;
        match lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(file) => Ok(file.map(|file| Self { path, _file: file })),
            // Whoever had it took the file away in between.
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// Takes the right, once nobody else has it. Blocking.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        loop {
            if let Some(turn) = Self::try_take(path.to_owned())? {
                return Ok(turn);
            }
            std::thread::sleep(TURN_PAUSE);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Still locked: nobody can have it meanwhile, and who waits for it sees that the file is another one.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Locks what is at a path, if it is still there once it is locked.
pub(super) fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(source) => return Err(source.into()),
    }
    let (locked, there) = (file.metadata()?, std::fs::metadata(path)?);
    if (locked.dev(), locked.ino()) == (there.dev(), there.ino()) {
        return Ok(Some(file));
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "it was replaced"))
}
