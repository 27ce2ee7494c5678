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

/// A volume of a pod that is in memory. It is mounted where only the pod sees it, and goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryVolume {
    /// An empty folder of the worker.
    pub path: PathBuf,
    /// What it holds at most.
    pub bytes: u64,
    /// The folder's mode.
    pub mode: u32,
    /// The folder's group, if not root's.
    pub group: Option<u32>,
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
    /// Its volumes that are in memory.
    #[serde(default)]
    pub memory_volumes: Vec<MemoryVolume>,
    /// The hosts file; if empty, one with the host name is made.
    #[serde(default)]
    pub hosts: String,
    /// The resolver's configuration; if none, the machine's.
    #[serde(default)]
    pub resolver: Option<String>,
    /// The handler of its RuntimeClass, none for the usual one. Of interest to whoever starts it only.
    #[serde(skip)]
    pub handler: String,
    /// One of its containers is privileged. Of interest to whoever starts it only.
    #[serde(skip)]
    pub privileged: bool,
    /// Kernel settings of its namespaces, by their names with dots.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
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

/// A part of a volume that a container sees instead of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubPath {
    /// Below the volume. Links on the way are followed as long as they stay in it.
    pub path: PathBuf,
    /// What is not there is made, as folders with the volume's mode.
    pub make: bool,
}

/// A program of the kernel's that decides about system calls: its instructions (`struct sock_filter`), as this machine
/// has them in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallFilter(#[serde(with = "octets")] pub Vec<u8>);

impl SyscallFilter {
    /// What one instruction takes.
    pub const INSTRUCTION_BYTES: usize = 8;
}

/// The same by name, for runtimes that make filters themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeccompProfile {
    /// No such bounds.
    #[default]
    Unconfined,
    /// The runtime's own.
    RuntimeDefault,
    /// A file of the machine.
    Localhost(PathBuf),
}

/// A directory or file of the worker that a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the worker.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: PathBuf,
    /// The container cannot write to it.
    pub read_only: bool,
    /// What of it the container sees, if not all. It is looked up when the container starts, so that nobody who shares
    /// the volume can change what is found.
    #[serde(default)]
    pub sub_path: Option<SubPath>,
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
    /// It has an input, which whoever attaches may write to; without, its input ends at once.
    pub stdin: bool,
    /// The first who attaches ends that input when he leaves.
    pub stdin_once: bool,
    /// Its input and outputs are a terminal.
    pub tty: bool,
    /// Groups of its process beside those of its user (`supplementalGroups`, `fsGroup`).
    pub groups: Vec<u32>,
    /// Its process has no groups of the image's making (`supplementalGroupsPolicy: Strict`).
    pub only_these_groups: bool,
    /// What decides about its system calls, in the order in which they are installed; nothing for no such bounds.
    pub syscall_filters: Vec<SyscallFilter>,
    /// What these filters are to be made of, where the runtime makes them ([`super::Runtime::makes_filters`]). Never said to a shim.
    #[serde(skip)]
    pub seccomp: SeccompProfile,
    /// The container of the pod whose processes it sees as they see themselves, rather than only its own. That one must run, and takes it
    /// along when it ends.
    pub process_target: Option<String>,
}

impl ContainerSpec {
    /// It has bounds of which shims of earlier builds know nothing, and which they must not pass over.
    pub(crate) fn is_confined(&self) -> bool {
        !self.syscall_filters.is_empty() || self.mounts.iter().any(|mount| mount.sub_path.is_some())
    }
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

/// What the containers of a pod use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Those in which something runs, by name.
    pub containers: Vec<ContainerUsage>,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// The time that processors worked for it since it was made, in nanoseconds.
    pub cpu_ns: u64,
    /// Its working set: memory that the kernel cannot take back at once.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// What the writable layer of a container takes on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerUsage {
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}
