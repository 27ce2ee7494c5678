//! What containers run: the images that this worker holds.
//!
//! ```text
//! archive file -> archive (spool, verify) -> manifest (which layers) -.
//! registry     -> registry (fetch, verify) -> blobs -> pull ---------> unpack (upon the layers below) -> store
//! ```
//!
//! Each layer is unpacked once, however many images have it (`layers`); every container of an image mounts its layers, which
//! are never written to, below its own writable one, and holds the image against removal (`usage`). Where no layers can be
//! mounted, without root for one, an image is unpacked to one directory. Nothing here trusts an archive or a registry:
//! digests are compared, every path is resolved beneath the image's root, sizes and file counts are bounded. A load that
//! fails leaves nothing behind; a pull that fails leaves what the next one goes on with (`blobs`).

mod archive;
mod blobs;
mod budget;
mod collect;
mod config;
mod entries;
mod index;
#[cfg(test)]
mod layered_as_flat;
mod layers;
#[cfg(test)]
mod layers_in_use;
mod leftovers;
mod manifest;
mod name;
pub(crate) mod overlay;
mod pull;
mod registry;
mod root;
mod rootdir;
mod store;
mod unpack;
mod unpacking;
mod usage;
mod user;

use std::io::ErrorKind;
use std::path::Path;

use rustix::io::Errno;

pub use budget::Limits;
pub use collect::Collected;
pub use config::ImageConfig;
pub use leftovers::Taken;
pub use name::normalise;
pub use pull::{Pulled, Puller};
pub(crate) use registry::Reference;
pub use registry::{
    Credential, Patience, Progress, Registries, RegistriesFile, RegistryError, RegistrySettings,
};
pub use root::{Root, Stack};
pub use store::{Image, LoadedImage, Store};
pub(crate) use usage::Hold;
pub use user::Identity;

/// Why an image could not be loaded or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of the store or the archive could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The disk of the images is full.
    #[error(
        "{what}: the disk of the images is full: remove some (kontiki image prune --all), or give it more room; what has come \
         is gone on with"
    )]
    DiskFull {
        /// What was being done.
        what: String,
    },
    /// The archive is neither an OCI archive nor a docker-archive, or contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// A blob is not what its digest says.
    #[error("{what} has digest {actual}, not {expected} as the manifest says: the archive is corrupt")]
    DigestMismatch {
        /// The blob.
        what: String,
        /// What the manifest says.
        expected: String,
        /// What was computed.
        actual: String,
    },
    /// The archive tries to reach outside the image.
    #[error("entry \"{path}\": {cause}")]
    Hostile {
        /// The entry's path in the archive.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The image is bigger than the store allows.
    #[error("image exceeds the limit of {limit} {unit}: raise the store's limits or make the image smaller")]
    TooBig {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The image has no layer for this machine.
    #[error("image has no manifest for linux/{0}")]
    WrongPlatform(String),
    /// The image names a user that it does not have.
    #[error("user \"{0}\" is not in the image's /etc/passwd: set securityContext.runAsUser")]
    UnknownUser(String),
    /// A container runs on the image, or ran on it and may again.
    #[error(
        "image {0} is in use: delete the pods that use it first (a name of an image that has others can be removed at any time)"
    )]
    InUse(String),
}

impl ImageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { what },
            _ => Self::Io { what, source },
        }
    }

    /// Of an entry of a layer: it is the archive's fault, but for a disk that is full or broken.
    fn of_entry(path: &Path, cause: Errno) -> Self {
        let unpack = || format!("unpack {}", path.display());
        match cause {
            Errno::NOSPC | Errno::DQUOT | Errno::IO => Self::io(unpack())(cause.into()),
            _ => Self::Hostile { path: path.display().to_string(), cause: cause.to_string() },
        }
    }

    /// Whether a second try with the same bytes may do better: the image is not to blame.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::DiskFull { .. })
    }
}
