//! The values that cross the seam between agent and runtime. Most of them cross to the shim, too, which may be of an
//! older or a newer build: a field that is added needs a default (see `shim/protocol.rs`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::octets;

/// How the containers of a pod run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeClass {
    /// Linux containers: namespaces, cgroups, an image as root filesystem.
    #[default]
    Container,
    /// Plain processes of the machine (`runtimeClassName: host`), for workers without root.
    Host,
}

/// Whose processes a container sees, and can signal as far as its user may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Processes {
    /// Its own.
    #[default]
    Container,
    /// Those of all containers of its pod (`shareProcessNamespace`).
    Pod,
    /// Those of the machine (`hostPID`).
    Machine,
}

/// What all containers of a pod share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandbox {
    /// The pod's uid; names its directory and cgroup.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The host name that its containers see.
    pub hostname: String,
    /// How its containers run.
    pub class: RuntimeClass,
    /// Use the machine's network rather than one of its own.
    pub host_network: bool,
    /// Use the machine's System V IPC, message queues and shared memory rather than one's own (`hostIPC`).
    #[serde(default)]
    pub host_ipc: bool,
    /// Whose processes its containers see.
    #[serde(default)]
    pub processes: Processes,
    /// Opaque state of the agent (what it was assigned), kept on disk by the shim and given back by `adopt`.
    #[serde(with = "octets")]
    pub blob: Vec<u8>,
}

/// An image as it was resolved when the container was decided: the name for people, the digest for the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageRef {
    /// The normalised name, such as `docker.io/library/web:1`.
    pub name: String,
    /// The digest of the image's manifest, such as `sha256:...`.
    pub digest: String,
    /// The bytes that its layers take, unpacked.
    pub size_bytes: u64,
}

/// What an image says about its process, as far as an agent decides by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty stands for root.
    pub user: String,
    /// The signal that asks it to stop, such as `SIGQUIT`; empty stands for TERM.
    pub stop_signal: String,
}

/// A directory or file of the worker that a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the worker.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: PathBuf,
    /// The container cannot write to it.
    pub read_only: bool,
}

/// One start of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The container's name in its pod.
    pub name: String,
    /// How often it was started before.
    pub attempt: u32,
    /// The image to run.
    pub image: ImageRef,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Added to the image's environment; a later value wins.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// What of the worker the container sees.
    pub mounts: Vec<Mount>,
    /// The CPU time that it may use, in thousandths of a core.
    pub cpu_milli_limit: Option<u64>,
    /// Its share of CPU time when the machine is busy, in thousandths of a core.
    pub cpu_milli_request: Option<u64>,
    /// The memory that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// The processes that it may have at a time.
    pub pids_limit: Option<u64>,
    /// How soon the kernel kills it when the machine has no memory left, from -1000 (never) to 1000; 0 if not set.
    pub oom_score_adj: Option<i32>,
    /// Replaces the image's user.
    pub user: Option<u32>,
    /// Replaces that user's first group.
    pub group: Option<u32>,
    /// All capabilities, no masked paths.
    pub privileged: bool,
    /// The root filesystem cannot be written to.
    pub read_only_root: bool,
    /// Capabilities added to the default set, such as `NET_ADMIN`.
    pub add_capabilities: Vec<String>,
    /// Capabilities taken from the default set; `ALL` takes every one.
    pub drop_capabilities: Vec<String>,
    /// Processes may not gain privileges by setuid files.
    pub no_new_privileges: bool,
    /// Where its output goes, in CRI format.
    pub log_path: PathBuf,
    /// The file in which it may leave a message about its end; empty stands for `/dev/termination-log`.
    pub termination_message_path: String,
    /// Without such a message, take the end of the log if it failed (`FallbackToLogsOnError`).
    pub termination_message_from_log: bool,
}

/// A container that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `kontiki://<id>`, unique to this attempt.
    pub container_id: String,
    /// Its first process, as the worker sees it.
    pub pid: i32,
    /// When it was started, in milliseconds since 1970.
    pub started_at_ms: i64,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// When it was started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub finished_at_ms: i64,
    /// Its termination message, at most 4096 bytes.
    pub message: String,
}

impl Exit {
    /// The word for `state.terminated.reason`.
    pub fn reason(&self) -> &'static str {
        match (self.oom_killed, self.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        }
    }
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerPhase {
    /// It runs.
    Running,
    /// It ended.
    Exited(Exit),
}

/// One attempt of one container, as the runtime knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The container's name in its pod.
    pub name: String,
    /// Which start of it this is.
    pub attempt: u32,
    /// The image that it runs.
    pub image: ImageRef,
    /// What was answered when it started.
    pub started: Started,
    /// Where it is in its life.
    pub phase: ContainerPhase,
}

/// A pod that was found after an agent restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedPod {
    /// What it was started with, including the agent's blob.
    pub sandbox: PodSandbox,
    /// Its shim lives. If not, no container of it runs any more and `remove_pod` is all that can be done.
    pub alive: bool,
    /// Why its shim cannot be spoken to although it lives, if so: all that can be done is to signal its containers
    /// and to remove it.
    pub estranged: Option<String>,
    /// The current and the previous attempt of each container, ordered by name and attempt.
    pub containers: Vec<ContainerState>,
}

/// What a command in a container answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    /// Its exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// What it wrote to standard output, up to a bound.
    #[serde(with = "octets")]
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, up to a bound.
    #[serde(with = "octets")]
    pub stderr: Vec<u8>,
    /// It was killed because its time was over.
    pub timed_out: bool,
}

/// What a runtime tells unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeEvent {
    /// A container ended. Told at least once: compare the attempt.
    Exited {
        /// The pod.
        pod_uid: String,
        /// The container's name.
        container: String,
        /// Which start of it ended.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// The pod's shim died, and its containers with it.
    PodLost {
        /// The pod.
        pod_uid: String,
    },
}
