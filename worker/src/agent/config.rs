//! What an agent is told when it is started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::clock::Clock;
use super::images::ImageLimits;
use super::pressure::{Bounds, Places};
use super::reserved::Reserved;
use crate::pod::names::ClusterNames;
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
    /// Where in memory that lies which no disk may have, see [`super::memory::open`]; if nowhere, it is in the data directory, too.
    pub memory: Option<PathBuf>,
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
    /// What of it is for pods, and when there is too little.
    pub limits: Limits,
    /// How names of the cluster are found.
    pub names: ClusterNames,
    /// Confine containers that do not ask for a seccomp profile by the runtime's own.
    pub seccomp_default: bool,
    /// Its containers end with its process: what it is given is not written down for the next one.
    pub transient: bool,
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

/// What of a worker is for pods, and when it is under pressure.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// What is not for pods.
    pub reserved: Reserved,
    /// How it is watched; if not, it is never under pressure, nothing that it uses is measured, and its images are told when a
    /// session begins.
    pub watch: Option<Watch>,
}

/// How a worker is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// When it is under pressure, and what it does then.
    pub bounds: Bounds,
    /// Where its files are.
    pub places: Places,
    /// How often it is looked at.
    pub period: Duration,
    /// When its images are removed.
    pub images: ImageLimits,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// More is reserved than there is.
    #[error("{what} has a reservation of {reserved} but a capacity of {capacity}: reserve less")]
    Reserved {
        /// cpu, memory or ephemeral-storage.
        what: &'static str,
        /// In thousandths of processors, or bytes.
        reserved: i64,
        /// The same.
        capacity: i64,
    },
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
