//! What starts and stops the containers of pods: one trait, so that the agent knows nothing else.
//!
//! Three sides stand behind it: [`ShimRuntime`], a shim process per pod in which containers run by libcontainer or as
//! plain host processes, [`CriRuntime`], which has a daemon such as containerd run them, and [`SimulatedRuntime`], which plays
//! containers in memory for simulations and tests.
//! Not for deciding: when a container starts, restarts or stops is the agent's choice.

pub(crate) mod capabilities;
mod command_line;
mod cri;
mod error;
mod estranged;
pub(crate) mod octets;
mod pod_network;
mod pods;
mod pull;
mod remains;
mod sealed;
mod shim_client;
mod shim_link;
mod shim_process;
mod shim_streams;
mod simulated;
mod spec;
mod streams;

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::image::Credential;

pub use cri::{CriConfig, CriRuntime, socket as cri_socket};
pub use error::RuntimeError;
pub use pull::PullError;
pub use shim_client::{ShimConfig, ShimRuntime};
pub use simulated::{SimulatedRuntime, Simulation, Witness};
pub use spec::{
    AdoptedPod, ContainerPhase, ContainerSpec, ContainerState, ContainerUsage, ExecOutput, Exit,
    ImageDefaults, ImageRef, LayerUsage, MemoryVolume, Mount, PodSandbox, PodUsage, Processes, RuntimeClass,
    RuntimeEvent, SeccompProfile, Started, SubPath, SyscallFilter,
};
pub use streams::{Descriptor, ProcessStreams, StdStreams, Terminal};

/// A byte stream into a pod's network.
pub trait PodStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PodStream for T {}

/// What starts and stops the containers of pods.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The images that this worker holds, by every name that resolves to them, sorted by name.
    fn images(&self) -> Vec<ImageRef>;

    /// The image that a name stands for on this worker now, or nothing: it was never loaded.
    fn resolve_image(&self, name: &str) -> Option<ImageRef>;

    /// What an image that this worker holds says about its process; nothing of one that it does not hold any more.
    fn image_defaults(&self, image: &ImageRef) -> ImageDefaults;

    /// Makes the worker hold what a name leads to in its registry now, and answers it. However many ask for one image at a
    /// time, it is pulled once; who drops the future waits no more, and with the last of them the pull ends. Nothing of it
    /// happens on the caller's threads.
    async fn pull_image(&self, name: &str, credentials: &[Credential]) -> Result<ImageRef, PullError>;

    /// Notes which images are in use, and removes others, the longest unused first and none that was used within
    /// `unused_for`, until so many bytes are free or none is left. Answers how many bytes are. Blocking.
    fn free_images(&self, bytes: u64, unused_for: Duration) -> Result<u64, String>;

    /// Starts the pod's shim: its sandbox (network, ipc and uts namespaces) is ready when this returns. Called again
    /// for a running pod it only stores the new [`PodSandbox::blob`]. A pod whose shim lives but cannot be spoken to is
    /// left alone: [`RuntimeError::Estranged`].
    async fn start_pod(&self, pod: PodSandbox) -> Result<(), RuntimeError>;

    /// Creates and starts a container of a started pod. Its log goes to [`ContainerSpec::log_path`] in CRI format
    /// (`<RFC3339Nano> stdout|stderr F|P <text>`). Starting the same name and attempt again while it runs answers the
    /// running container; a name that runs under another attempt is refused.
    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError>;

    /// Sends a signal to a container's first process; 9 (KILL) goes to every process of the container. Signalling a
    /// container that has already exited is no error. It reaches the containers of an estranged pod, too.
    async fn signal(&self, pod_uid: &str, container: &str, signal: i32) -> Result<(), RuntimeError>;

    /// Runs a command in a running container and waits for it (probes, hooks). Past the timeout it is killed and
    /// [`ExecOutput::timed_out`] is set. Output beyond a bound is dropped.
    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError>;

    /// The streams of a command that it starts in a running container.
    async fn run(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError>;

    /// The streams of a running container's own process: what it writes from now on, and its input if it has one. Who does
    /// not read fast enough is cut off, so that no container waits for him. Its terminal, and whether it has one, are the
    /// container's; `streams.tty` must say the same.
    async fn attach(
        &self,
        pod_uid: &str,
        container: &str,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError>;

    /// Dials a TCP port on the loopback of the pod's network (probes, port-forward).
    async fn connect(
        &self,
        pod_uid: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Box<dyn PodStream>, RuntimeError>;

    /// Kills what is left, ends the shim, removes sandbox, cgroup, root filesystems and the pod's directory; logs stay.
    /// Idempotent: an unknown pod is already removed. An estranged pod is ended by its processes.
    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError>;

    /// After an agent restart: every pod whose shim still lives, or whose shim left a final state on disk, with all
    /// container states. An exit told here is not told again as an event.
    async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError>;

    /// What the containers of its pods use now, as far as the machine counts it: of plain processes it does not. Blocking.
    fn usage(&self) -> Vec<PodUsage>;

    /// What its containers have written to layers that are not in the folders of their pods. Blocking.
    fn layers(&self) -> Vec<LayerUsage> {
        Vec::new()
    }

    /// Container exits and pod (shim) deaths, also of adopted pods. The first call gets the receiver; a later one gets
    /// a receiver that is already closed.
    fn events(&self) -> mpsc::Receiver<RuntimeEvent>;

    /// Whether containers are more than plain processes of the machine, as far as their pod does not ask for just that.
    fn isolates(&self) -> bool {
        true
    }

    /// Whether it confines containers by the name of a profile ([`ContainerSpec::seccomp`]) rather than by filters that are made for it.
    fn makes_filters(&self) -> bool {
        false
    }

    /// Who runs the containers, such as `containerd://1.7.0`, if that is not this build.
    fn version(&self) -> Option<String> {
        None
    }

    /// Whether anybody in its containers could read the files of their volumes.
    fn shows_volumes(&self) -> bool {
        false
    }
}
