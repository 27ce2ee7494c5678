//! What containers run: the images that this worker holds.
//!
//! ```text
//! archive file -> archive (spool, verify) -> manifest (which layers) -.
//! registry     -> registry (fetch, verify) -> pull ------------------> unpack (one root directory) -> store
//! ```
//!
//! An image is loaded once and unpacked once; every container of it mounts the same directory, read-only, below its
//! own writable layer, and holds it against removal (`usage`). Nothing here trusts an archive or a registry: digests
//! are compared, every path is resolved beneath the image's root, sizes and file counts are bounded, and a load that
//! fails leaves nothing behind.

mod archive;
mod budget;
mod collect;
mod config;
mod entries;
mod manifest;
mod name;
mod pull;
mod registry;
mod rootdir;
mod store;
mod unpack;
mod usage;
mod user;

pub use budget::Limits;
pub use config::ImageConfig;
pub use name::normalise;
pub use pull::{Pulled, Puller};
pub(crate) use registry::Reference;
pub use registry::{
    Credential, Patience, Progress, Registries, RegistriesFile, RegistryError, RegistrySettings,
};
pub(crate) use rootdir::beneath;
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
        move |source| Self::Io { what, source }
    }
}
