//! What a pod's directory holds, and what of it a later agent reads when the shim is gone.
//!
//! ```text
//! setup.json   written by the agent before the shim starts: the sandbox and the bounds
//! blob         the agent's opaque state, replaced on request
//! state.json   the shim's: its pid and every container, replaced whole at each change
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::runtime::{ContainerPhase, ContainerState, Exit, PodSandbox};

pub(crate) const SETUP: &str = "setup.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const BLOB: &str = "blob";
pub(crate) const SOCKET: &str = "shim.sock";
pub(crate) const LOCK: &str = "shim.lock";
pub(crate) const LOG: &str = "shim.log";
pub(crate) const BUNDLES: &str = "bundle";
const FORMAT: u32 = 1;
const DOCUMENT_MAX: u64 = 16 << 20;

/// What the agent hands to a new shim.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) format: u32,
    pub(crate) sandbox: PodSandbox,
    /// Under this path in every cgroup hierarchy the pod's cgroups are made.
    pub(crate) cgroup_parent: String,
    pub(crate) log_bytes_max: u64,
    /// The processes that the pod may have at a time.
    #[serde(default)]
    pub(crate) pids_limit: Option<u64>,
}

impl Setup {
    pub(crate) fn new(
        sandbox: PodSandbox,
        cgroup_parent: String,
        log_bytes_max: u64,
        pids_limit: Option<u64>,
    ) -> Self {
        Self { format: FORMAT, sandbox, cgroup_parent, log_bytes_max, pids_limit }
    }

    /// Reads setup and blob.
    pub(crate) fn read(dir: &Path) -> Result<Self, String> {
        let mut setup: Self = read_json(&dir.join(SETUP))?;
        if setup.format != FORMAT {
            return Err(format!("{} has format {}, not {FORMAT}", dir.join(SETUP).display(), setup.format));
        }
        setup.sandbox.blob = std::fs::read(dir.join(BLOB)).unwrap_or_default();
        Ok(setup)
    }

    /// Writes setup and blob.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), String> {
        replace(&dir.join(BLOB), &self.sandbox.blob)?;
        let mut setup = self.clone();
        setup.sandbox.blob = Vec::new();
        write_json(&dir.join(SETUP), &setup)
    }

    /// The pod's cgroup below each hierarchy's root.
    pub(crate) fn pod_cgroup(&self) -> PathBuf {
        Path::new(&self.cgroup_parent).join(&self.sandbox.uid)
    }
}

/// A container as the shim knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) state: ContainerState,
    /// An agent has acknowledged the exit.
    pub(crate) told: bool,
}

/// The pod as the shim knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PodState {
    pub(crate) format: u32,
    pub(crate) shim_pid: i32,
    #[serde(with = "super::protocol::v1::sandbox")]
    pub(crate) sandbox: PodSandbox,
    pub(crate) containers: Vec<Record>,
}

impl PodState {
    pub(crate) fn new(sandbox: PodSandbox) -> Self {
        let shim_pid = rustix::process::getpid().as_raw_nonzero().get();
        Self { format: FORMAT, shim_pid, sandbox, containers: Vec::new() }
    }

    /// The last state that a shim left, with the blob.
    pub(crate) fn read(dir: &Path) -> Result<Self, String> {
        let state = Self::read_any(dir)?;
        if state.format != FORMAT {
            return Err(format!("{} has format {}, not {FORMAT}", dir.join(STATE).display(), state.format));
        }
        Ok(state)
    }

    /// The same of whatever format, as far as it has these fields: what can be known of a shim that is not understood.
    pub(crate) fn read_any(dir: &Path) -> Result<Self, String> {
        let mut state: Self = read_json(&dir.join(STATE))?;
        state.sandbox.blob = std::fs::read(dir.join(BLOB)).unwrap_or_default();
        Ok(state)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), String> {
        let sandbox = PodSandbox { blob: Vec::new(), ..self.sandbox.clone() };
        let state = Self { sandbox, containers: self.containers.clone(), ..*self };
        write_json(&dir.join(STATE), &state)
    }

    pub(crate) fn running(&self, container: &str) -> Option<&ContainerState> {
        let mut states = self.containers.iter().map(|record| &record.state);
        states.find(|state| state.name == container && state.phase == ContainerPhase::Running)
    }

    /// Adds a started container; of earlier attempts only the last is kept.
    pub(crate) fn started(&mut self, state: ContainerState) {
        let latest = self
            .containers
            .iter()
            .filter(|record| record.state.name == state.name)
            .map(|record| record.state.attempt)
            .max();
        self.containers
            .retain(|record| record.state.name != state.name || Some(record.state.attempt) == latest);
        self.containers
            .retain(|record| record.state.name != state.name || record.state.attempt != state.attempt);
        self.containers.push(Record { state, told: false });
        self.containers
            .sort_by(|a, b| (&a.state.name, a.state.attempt).cmp(&(&b.state.name, b.state.attempt)));
    }

    pub(crate) fn exited(&mut self, container: &str, attempt: u32, exit: Exit) {
        if let Some(record) = self.find(container, attempt) {
            record.state.phase = ContainerPhase::Exited(exit);
        }
    }

    pub(crate) fn find(&mut self, container: &str, attempt: u32) -> Option<&mut Record> {
        self.containers
            .iter_mut()
            .find(|record| record.state.name == container && record.state.attempt == attempt)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let size = std::fs::metadata(path).map_err(|source| format!("read {}: {source}", path.display()))?.len();
    if size > DOCUMENT_MAX {
        return Err(format!("{} is too long", path.display()));
    }
    let bytes = std::fs::read(path).map_err(|source| format!("read {}: {source}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|source| format!("read {}: {source}", path.display()))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), String> {
    let bytes = serde_json::to_vec(value).map_err(|source| format!("write {}: {source}", path.display()))?;
    replace(path, &bytes)
}

/// Replaces a file whole, so that a reader never sees a half. Not synced: a machine that lost power has lost the
/// containers too.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let next = path.with_extension("new");
    let written = std::fs::File::create(&next)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&next, path));
    written.map_err(|source| format!("write {}: {source}", path.display()))
}
