//! Why an image could not be fetched, in words that say what to do.

use crate::image::ImageError;

/// Why an image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What was asked for is no image name.
    #[error("couldn't parse image name \"{name}\": {cause}")]
    InvalidName {
        /// As it was written.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The registry could not be reached.
    #[error("registry {host}: {cause}")]
    Unreachable {
        /// The host and port.
        host: String,
        /// What failed.
        cause: String,
    },
    /// The connection to the registry broke.
    #[error("registry {host}: the connection broke: {cause}")]
    Broken {
        /// The host and port.
        host: String,
        /// How.
        cause: String,
    },
    /// The registry took too long.
    #[error("registry {host}: {what}: it hangs, or the network does")]
    TooSlow {
        /// The host and port.
        host: String,
        /// What did not happen, and in what time.
        what: String,
    },
    /// The registry wants to know who asks, or does not give it to that one.
    #[error(
        "registry {host}: not authorized to pull {what} ({detail}): check the name, or give credentials: a pod by imagePullSecrets, \
         kontiki image pull by --auth-file"
    )]
    Unauthorized {
        /// The host and port.
        host: String,
        /// The repository.
        what: String,
        /// What it said.
        detail: String,
    },
    /// The registry does not have it.
    #[error("registry {host}: {what}: not found: check the name and the tag")]
    NotFound {
        /// The host and port.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// An answer that is neither yes nor any of the above.
    #[error("registry {host}: {what}: unexpected status {status}{detail}")]
    Status {
        /// The host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said, if anything, with `: ` in front.
        detail: String,
        /// When it wants to be asked again, in seconds.
        retry_after: Option<u64>,
    },
    /// An answer that breaks the rules, or that is not safe to follow.
    #[error("registry {host}: {cause}")]
    Refused {
        /// The host and port.
        host: String,
        /// What is wrong.
        cause: String,
    },
    /// The registries file, or something that it names, cannot be used.
    #[error("{0}")]
    Config(String),
    /// The image itself is wrong, or cannot be stored.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl RegistryError {
    /// Whether a registry that was reached may do better if it is asked again soon.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// Whether a download that has begun may go on soon: its registry may be starting anew.
    pub(super) fn is_interruption(&self) -> bool {
        self.is_transient() || matches!(self, Self::Unreachable { .. })
    }
}
