//! What an agent is told when it is started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::clock::Clock;
use crate::runtime::RuntimeError;

/// What an agent is told when it is started.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The node's name.
    pub node: String,
    /// Its failure domain.
    pub zone: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Where everything of this worker lies.
    pub data_dir: PathBuf,
    /// Controllers to begin with (host:port); later ones are learned and remembered.
    pub controllers: Vec<String>,
    /// Where the node's service listens.
    pub listen: SocketAddr,
    /// The host or address under which others reach this worker.
    pub advertised: String,
    /// What it offers, where that is not what the machine has.
    pub capacity: Capacity,
    /// The version of this build.
    pub version: String,
    /// Tells the time.
    pub clock: Clock,
}

/// What a worker offers; what is not set is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// Processors, in thousandths.
    pub cpu_milli: Option<i64>,
    /// Memory.
    pub memory_bytes: Option<i64>,
    /// Pods; 110 if not set.
    pub max_pods: Option<i64>,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The port is not to be had.
    #[error("the node's service cannot listen: {0}")]
    Listen(std::io::Error),
    /// The data directory cannot be used.
    #[error("cannot use {path}: {cause}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        cause: std::io::Error,
    },
    /// The runtime does not say what runs here.
    #[error("cannot find out which pods run here: {0}")]
    Adopt(RuntimeError),
    /// A defect of this build.
    #[error("the session with the controllers failed: {0}")]
    Session(String),
}

impl AgentError {
    pub(crate) fn disk(path: PathBuf) -> impl FnOnce(std::io::Error) -> AgentError {
        move |cause| AgentError::Disk { path, cause }
    }
}
