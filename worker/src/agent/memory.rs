//! What of pods is secret and must not reach a disk: a file system in memory, which outlives the agent and not the machine.
//!
//! It lies outside of the data directory, so that this can be copied and removed like any other: below `/run/kontiki`, by
//! a name that is made of the data directory's. Those whose data directory is gone are taken away by whoever starts next.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::mount::{MountFlags, UnmountFlags};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

const ROOT: &str = "/run/kontiki";
/// Names the data directory that it belongs to.
const OWNER: &str = "owner";
/// More than secrets take, less than would harm the machine.
const SIZE: &str = "10%";

/// Where a worker keeps what is secret.
#[derive(Debug)]
pub struct Place {
    /// Its folder.
    pub path: PathBuf,
    /// While this is held, nobody takes it away.
    _lock: File,
}

/// Where this worker keeps what is secret; nothing if this process may not make that, so that it lies on the disk for its
/// owner alone, as plain processes' files do. Blocking.
pub fn open(data_dir: &Path) -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    sweep(Path::new(ROOT));
    match open_below(Path::new(ROOT), data_dir) {
        Ok(place) => Some(place),
        Err(error) => {
            warn!(%error, "secrets of pods are kept on the disk: no file system in memory can be made below {ROOT}");
            None
        }
    }
}

fn open_below(root: &Path, data_dir: &Path) -> io::Result<Place> {
    let data_dir = data_dir.canonicalize()?;
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = root.join(name);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    if !is_mounted(&path)? {
        mount(&path)?;
    }
    let mut owner = File::options().create(true).append(true).open(path.join(OWNER))?;
    // Who sweeps holds it for a moment.
    rustix::fs::flock(&owner, FlockOperation::LockShared)?;
    if owner.metadata()?.len() == 0 {
        owner.write_all(data_dir.as_os_str().as_encoded_bytes())?;
    }
    Ok(Place { path, _lock: owner })
}

fn mount(path: &Path) -> io::Result<()> {
    // Programs may be run from it, as from the volumes of the kubelet.
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let with = |options: String| -> io::Result<()> {
        let options = std::ffi::CString::new(options)?;
        Ok(rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str())?)
    };
    // Kernels before 6.4 cannot keep it out of the swap.
    with(format!("size={SIZE},mode=700,noswap")).or_else(|_| with(format!("size={SIZE},mode=700")))
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    let above = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(above)?.dev())
}

/// Takes those away whose worker is gone with its data.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(owner) = fs::read_to_string(path.join(OWNER)) else { continue };
        let Ok(file) = File::open(path.join(OWNER)) else { continue };
        let held = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        if owner.is_empty() || held || Path::new(&owner).exists() {
            continue;
        }
        info!(owner, "what was secret of a worker that is gone is taken away");
        let gone = rustix::mount::unmount(&path, UnmountFlags::DETACH).map_err(io::Error::from);
        if let Err(error) = gone.and_then(|()| fs::remove_dir(&path)) {
            warn!(path = %path.display(), %error, "it cannot be taken away");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_found_again_and_goes_with_its_worker() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: mounting needs root");
        }
        let (root, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = open_below(root.path(), data.path()).unwrap();
        let path = place.path.clone();
        assert!(is_mounted(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::write(path.join("secret"), "sesame").unwrap();
        drop(place);
        sweep(root.path());
        let place = open_below(root.path(), data.path()).unwrap();
        assert_eq!(place.path, path);
        assert_eq!(fs::read_to_string(path.join("secret")).unwrap(), "sesame", "a new agent finds it");
        let other = tempfile::tempdir().unwrap();
        let others = open_below(root.path(), other.path()).unwrap();
        assert_ne!(others.path, path);
        drop(data);
        sweep(root.path());
        assert!(path.exists(), "its worker lives");
        drop(place);
        sweep(root.path());
        assert!(!path.exists() && is_mounted(&others.path).unwrap());
        drop((other, others));
        sweep(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
