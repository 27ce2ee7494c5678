//! Why a data directory cannot be used, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

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
    /// Reads what RocksDB says about a directory that it did not open.
    pub(crate) fn database(directory: &Path, error: &rocksdb::Error) -> OpenError {
        let (directory, detail) = (directory.to_path_buf(), error.to_string());
        match error.kind() {
            rocksdb::ErrorKind::Corruption => OpenError::Corrupt { directory, detail },
            rocksdb::ErrorKind::IOError if detail.contains("lock") => OpenError::InUse { directory, detail },
            // A file that the manifest names and that is gone.
            rocksdb::ErrorKind::IOError if detail.contains("No such file") => {
                OpenError::Corrupt { directory, detail }
            }
            rocksdb::ErrorKind::NotSupported => OpenError::NewerFormat { directory, detail },
            _ => OpenError::Io { action: "opening", directory, detail },
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

/// Dresses a database's error for openraft, which only knows I/O errors.
pub(crate) fn database_io(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
