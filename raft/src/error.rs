//! Why a data directory cannot be used, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{DiskError, DiskErrorKind};

/// Why a node could not be opened. The process must not go on with this data directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory belongs to another cluster or to another controller.
    #[error(
        "{directory} belongs to {found}, but this controller is {wanted}: start it with its own data directory, or with an \
         empty one to join anew"
    )]
    ForeignIdentity {
        /// The data directory.
        directory: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// Written by a build that this one does not understand.
    #[error("{directory} was written by a newer build ({detail}): start that build again, or a newer one")]
    NewerFormat {
        /// The data directory.
        directory: PathBuf,
        /// What is not understood.
        detail: String,
    },
    /// Stored data does not verify.
    #[error(
        "{directory} is corrupt: {detail}; do not repair it: while the other controllers have a quorum, move the whole data \
         directory away and let this controller join again with a new token and --replace, else restore a backup"
    )]
    Corrupt {
        /// The damaged directory.
        directory: PathBuf,
        /// What does not verify.
        detail: String,
    },
    /// A controller has run here, and what it promised the others is gone.
    #[error(
        "the log {directory} is gone: without it this controller does not know how it voted and must not take part; put it \
         back, or move the whole data directory away and let this controller join again with a new token and --replace"
    )]
    Lost {
        /// The log's directory.
        directory: PathBuf,
    },
    /// Another process has it open.
    #[error("{directory} is in use by another process: stop that one first ({detail})")]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// Reading or writing failed.
    #[error("{action} {directory}: {detail}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which directory.
        directory: PathBuf,
        /// What happened.
        detail: String,
    },
    /// The timings or limits contradict each other.
    #[error("settings of the consensus: {0}")]
    Settings(String),
    /// The consensus did not start on this data.
    #[error("starting the consensus on {directory}: {detail}")]
    Start {
        /// The data directory.
        directory: PathBuf,
        /// What happened.
        detail: String,
    },
}

impl OpenError {
    /// Reads what the database says about a directory that it did not open.
    pub(crate) fn database(directory: &Path, error: &(impl Into<DiskError> + Clone)) -> OpenError {
        let error: DiskError = error.clone().into();
        let (directory, detail) = (directory.to_path_buf(), error.detail);
        match error.kind {
            DiskErrorKind::Corrupt => OpenError::Corrupt { directory, detail },
            DiskErrorKind::InUse => OpenError::InUse { directory, detail },
            DiskErrorKind::Newer => OpenError::NewerFormat { directory, detail },
            DiskErrorKind::Failed => OpenError::Io { action: "opening", directory, detail },
        }
    }

    /// Reads what an envelope says that did not open.
    pub(crate) fn record(directory: &Path, what: &str, error: &crate::envelope::EnvelopeError) -> OpenError {
        let (directory, detail) = (directory.to_path_buf(), format!("{what}: {error}"));
        match error {
            crate::envelope::EnvelopeError::Newer { .. } => OpenError::NewerFormat { directory, detail },
            _ => OpenError::Corrupt { directory, detail },
        }
    }

    /// Whether it is for want of space. The database tells it in words only.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, OpenError::Io { detail, .. } if detail.contains("No space left on device"))
    }

    pub(crate) fn io(action: &'static str, directory: &Path, error: &io::Error) -> OpenError {
        let (directory, detail) = (directory.to_path_buf(), error.to_string());
        match error.kind() {
            io::ErrorKind::InvalidData => {
                OpenError::Corrupt { directory, detail: format!("{action}: {detail}") }
            }
            _ => OpenError::Io { action, directory, detail },
        }
    }
}
