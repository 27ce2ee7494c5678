//! Containers by a daemon that speaks the container runtime interface of Kubernetes (CRI), such as containerd or CRI-O: the same
//! trait, for machines on which that daemon is there anyway.
//!
//! ```text
//!   CriRuntime -> daemon (one connection) -> the daemon's socket
//!      |- sandbox, container   what the agent wants, in the daemon's words
//!      |- labels               how it is found again: nothing without our label is touched
//!      |- watch                which containers ended: the daemon is asked, about twice a second
//!      |- images               which there are; pulled by the daemon, with the pod's credentials
//!      |- network              ports of pods, by the network that the daemon made
//!      `- stream, spdy         commands with streams, by the daemon's streaming server
//! ```
//!
//! Containers and their logs outlive both the agent and the daemon. A daemon that is not heard is waited for: nothing is taken for
//! dead because of it. What CRI does not know is refused: plain processes of the machine (`runtimeClassName: host`), signals other
//! than the image's own and KILL.
//! Source: k8s.io/cri-api, and the kubelet's pkg/kubelet/kuberuntime.

mod adopt;
mod container;
mod daemon;
mod images;
mod labels;
mod network;
mod sandbox;
mod spdy;
mod stream;
mod usage;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kontiki_proto::cri;
use kontiki_proto::cri::ContainerState as State;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

pub use self::daemon::socket;
use self::daemon::{CALL, Daemon, ask, error, in_full, is_gone, is_unheard, unheard};
use self::images::{ByDaemon, Images};
use self::network::Network;
use super::pods::{PodsDir, Turns};
use super::pull::Pulls;
use super::{
    AdoptedPod, ContainerSpec, ExecOutput, ImageDefaults, ImageRef, LayerUsage, PodSandbox, PodStream,
    PodUsage, ProcessStreams, PullError, Runtime, RuntimeClass, RuntimeError, RuntimeEvent, Started,
    StdStreams,
};
use crate::agent::layout::Layout;
use crate::image::Credential;
use crate::shim::cgroup::Cgroups;
use crate::shim::sub_path::Volumes;

/// Events that may wait for the agent.
const EVENTS_MAX: usize = 1024;
/// How long a daemon that is being started is waited for, and between two tries.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// A container that is asked to end has as long as any pod may have; the agent kills it sooner.
const ASKED_SECONDS: i64 = 7 * 24 * 3600;
/// What a command may take beyond its own time.
const EXEC_GRACE: Duration = Duration::from_secs(10);
/// What is kept of each of its outputs, as by shims.
const OUTPUT_MAX: usize = 256 * 1024;
/// What a pod may have unless the worker is told otherwise, as with shims.
const POD_PIDS_LIMIT: u64 = 4096;

/// Which daemon, and where pods live.
#[derive(Clone, Debug)]
pub struct CriConfig {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The worker's directory.
    pub data_dir: PathBuf,
    /// Under this path in every cgroup hierarchy the pods' cgroups are made, if the daemon manages cgroups by files.
    pub cgroup_parent: String,
    /// A log of this size is replaced by a new one; one older is kept.
    pub log_bytes_max: u64,
    /// The processes that a pod may have at a time, threads among them, where the machine can bound them.
    pub pod_pids_limit: Option<u64>,
}

impl CriConfig {
    /// The usual configuration.
    pub fn new(socket: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            data_dir: data_dir.into(),
            cgroup_parent: "/kontiki".to_owned(),
            log_bytes_max: 10 << 20,
            pod_pids_limit: Some(POD_PIDS_LIMIT),
        }
    }
}

/// The runtime of pods that a daemon runs.
pub struct CriRuntime {
    inner: Arc<Inner>,
    pulls: Pulls,
    receiver: Mutex<Option<mpsc::Receiver<RuntimeEvent>>>,
    _watch: [AbortOnDropHandle<()>; 2],
}

struct Inner {
    config: CriConfig,
    pods_dir: PodsDir,
    layout: Layout,
    /// The label of this worker.
    worker: String,
    daemon: Daemon,
    /// Such as `containerd` and `1.7.0`.
    name: String,
    version: String,
    images: Arc<Images>,
    /// It can leave away the groups of an image's making.
    strict_groups: bool,
    /// Those in which the daemon puts containers where it is told to; none if it has another way.
    cgroups: Cgroups,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    turns: Turns,
    events: mpsc::Sender<RuntimeEvent>,
    /// Something may have ended.
    look: Notify,
    /// Where calls are made from threads that wait.
    thread: Handle,
}

/// A pod whose sandbox runs.
struct Pod {
    /// What it was started with, without the agent's blob.
    sandbox: PodSandbox,
    /// The daemon's name for its sandbox.
    id: String,
    config: cri::PodSandboxConfig,
    network: Network,
    running: Mutex<BTreeMap<String, Running>>,
    /// It is being removed: what happens to it is no news.
    silenced: AtomicBool,
}

/// A container that runs, as far as it was seen.
#[derive(Clone, Debug)]
struct Running {
    id: String,
    attempt: u32,
    started: Started,
    /// It was seen that it was killed, and not yet by whom: containerd may tell only later that its memory ran out.
    killed: bool,
}

impl Running {
    fn new(id: String, attempt: u32, started: Started) -> Running {
        Running { id, attempt, started, killed: false }
    }
}

impl Pod {
    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, name: &str) -> Result<Running, RuntimeError> {
        self.running().get(name).cloned().ok_or_else(|| RuntimeError::ContainerUnknown {
            pod_uid: self.sandbox.uid.clone(),
            container: name.to_owned(),
        })
    }
}

impl CriRuntime {
    /// Connects to the daemon, which may be just starting; call `adopt` to find the pods that run. Within a tokio runtime, which must
    /// outlive this.
    pub async fn connect(config: CriConfig) -> Result<Self, String> {
        let told = |cause: String| format!("the container runtime at {}: {cause}", config.socket.display());
        let daemon = Daemon::at(&config.socket)?;
        let version = greeted(&daemon).await.map_err(told)?;
        let status = daemon.status().await.map_err(|status| told(in_full(&status)))?;
        for condition in status.status.iter().flat_map(|it| &it.conditions).filter(|it| !it.status) {
            let cri::RuntimeCondition { r#type, reason, message, .. } = condition;
            tracing::warn!("{} is not ready to run pods: {type}: {reason}: {message}", version.runtime_name);
        }
        let settings = watch::Settings::of(status.info.get("config"));
        let files = |source: std::io::Error| format!("{}: {source}", config.data_dir.display());
        let pods_dir = PodsDir::open(&config.data_dir).map_err(files)?;
        let data_dir = config.data_dir.canonicalize().map_err(files)?;
        let images = Arc::new(Images::new(daemon.clone(), settings.sandbox_image));
        images.refresh().await.map_err(|status| told(in_full(&status)))?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let inner = Arc::new(Inner {
            layout: Layout::new(&data_dir),
            worker: labels::worker(&data_dir),
            pods_dir,
            daemon,
            name: version.runtime_name,
            version: version.runtime_version,
            images: Arc::clone(&images),
            strict_groups: status.features.is_some_and(|it| it.supplemental_groups_policy),
            cgroups: if settings.systemd_cgroups {
                Cgroups::None
            } else {
                Cgroups::detect().unwrap_or_default()
            },
            pods: Mutex::default(),
            turns: Turns::default(),
            events,
            look: Notify::new(),
            thread: Handle::current(),
            config,
        });
        let watch = tokio::spawn(watch::run(Arc::clone(&inner)));
        let listen = tokio::spawn(watch::listen(Arc::clone(&inner)));
        Ok(Self {
            inner,
            pulls: Pulls::by(Arc::new(ByDaemon(images))),
            receiver: Mutex::new(Some(receiver)),
            _watch: [watch, listen].map(AbortOnDropHandle::new),
        })
    }

    /// The folder whose disk the daemon's images are on, if it tells.
    pub async fn image_place(&self) -> Option<PathBuf> {
        self.inner.images.place().await.map(PathBuf::from)
    }
}

/// The answer of a daemon that is there, sooner or later.
async fn greeted(daemon: &Daemon) -> Result<cri::VersionResponse, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = match daemon.version().await {
            Ok(version) => return Ok(version),
            Err(status) => status,
        };
        if status.code() == Code::Unimplemented && status.message().contains("unknown service") {
            return Err("it does not speak CRI v1: is its cri plugin disabled?".to_owned());
        }
        if Instant::now() >= until {
            return Err(format!("it does not answer: is it running? {}", in_full(&status)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Inner {
    fn pods(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pod(&self, pod_uid: &str) -> Result<Arc<Pod>, RuntimeError> {
        self.pods().get(pod_uid).cloned().ok_or_else(|| RuntimeError::PodUnknown(pod_uid.to_owned()))
    }

    fn cgroup(&self, pod_uid: &str) -> Option<PathBuf> {
        let parent = Path::new(&self.config.cgroup_parent);
        (self.cgroups != Cgroups::None).then(|| parent.join(pod_uid))
    }

    async fn sandboxes(&self, labels: HashMap<String, String>) -> Result<Vec<cri::PodSandbox>, Status> {
        let filter = cri::PodSandboxFilter { label_selector: labels, ..Default::default() };
        let request = ask(cri::ListPodSandboxRequest { filter: Some(filter) }, CALL);
        Ok(self.daemon.runtime().list_pod_sandbox(request).await?.into_inner().items)
    }

    async fn containers(&self, labels: HashMap<String, String>) -> Result<Vec<cri::Container>, Status> {
        let filter = cri::ContainerFilter { label_selector: labels, ..Default::default() };
        let request = ask(cri::ListContainersRequest { filter: Some(filter) }, CALL);
        Ok(self.daemon.runtime().list_containers(request).await?.into_inner().containers)
    }

    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, Status> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.daemon.runtime().container_status(ask(request, CALL)).await?.into_inner();
        answer.status.ok_or_else(|| Status::not_found(format!("container {id} has no status")))
    }

    async fn network(&self, id: &str, host_network: bool) -> Network {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        match self.daemon.runtime().pod_sandbox_status(ask(request, CALL)).await {
            Ok(status) => Network::of(host_network, status.into_inner().info.get("info")),
            Err(_) if host_network => Network::Machine,
            Err(status) => Network::Unknown(in_full(&status)),
        }
    }

    /// Stops and removes a sandbox with its containers. One that is not there is removed.
    async fn remove_sandbox(&self, id: &str) -> Result<(), Status> {
        let or_gone = |result: Result<(), Status>| match result {
            Err(status) if !is_gone(&status) => Err(status),
            _ => Ok(()),
        };
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        or_gone(self.daemon.runtime().stop_pod_sandbox(ask(request, CALL)).await.map(drop))?;
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        or_gone(self.daemon.runtime().remove_pod_sandbox(ask(request, CALL)).await.map(drop))
    }

    async fn remove_container(&self, id: &str) -> Result<(), Status> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        match self.daemon.runtime().remove_container(ask(request, CALL)).await {
            Err(status) if !is_gone(&status) => Err(status),
            _ => Ok(()),
        }
    }

    /// Whatever the daemon has of a pod.
    async fn remove_all(&self, pod_uid: &str) -> Result<(), Status> {
        let of_pod = || labels::of_pod(&self.worker, pod_uid);
        for sandbox in self.sandboxes(of_pod()).await? {
            self.remove_sandbox(&sandbox.id).await?;
        }
        // Those whose sandbox somebody else removed.
        for container in self.containers(of_pod()).await? {
            self.remove_container(&container.id).await?;
        }
        Ok(())
    }

    async fn start_pod(&self, pod: PodSandbox) -> Result<(), RuntimeError> {
        let uid = pod.uid.clone();
        let dir = self.pods_dir.of(&uid)?;
        if pod.class == RuntimeClass::Host {
            return Err(RuntimeError::Invalid(format!(
                "runtimeClassName \"host\" needs a worker with the built-in runtime: this one's containers are run by {}",
                self.name
            )));
        }
        let turn = self.turns.of(&uid);
        let _turn = turn.lock().await;
        let failed = |cause: String| RuntimeError::CreateFailed(cause);
        if let Ok(known) = self.pod(&uid) {
            let sandbox = PodSandbox { blob: pod.blob, ..known.sandbox.clone() };
            let stored = tokio::task::spawn_blocking(move || sandbox::write_record(&dir, &sandbox)).await;
            return stored.map_err(|failure| failed(failure.to_string()))?.map_err(failed);
        }
        // What was begun and never heard of, as when the daemon was cut off.
        self.remove_all(&uid).await.map_err(|status| unheard(&status))?;
        let (cgroups, cgroup, pids) = (self.cgroups.clone(), self.cgroup(&uid), self.config.pod_pids_limit);
        let cgroup_parent =
            cgroup.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let config = sandbox::config(&pod, &self.worker, &self.layout, cgroup_parent);
        let owned = pod.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            sandbox::prepare(&dir, &owned)?;
            let Some(cgroup) = cgroup else { return Ok(()) };
            cgroups.make(&cgroup)?;
            if let Some(Err(cause)) = pids.map(|pids| cgroups.limit_pids(&cgroup, pids)) {
                tracing::warn!(pod = owned.uid, "the number of the pod's processes is not limited: {cause}");
            }
            Ok(())
        });
        prepared.await.map_err(|failure| failed(failure.to_string()))?.map_err(failed)?;
        let runtime_handler = pod.handler.clone();
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler };
        let ran = self.daemon.runtime().run_pod_sandbox(ask(request, CALL)).await;
        let id = match ran {
            Ok(answer) => answer.into_inner().pod_sandbox_id,
            Err(status) if is_unheard(&status) => return Err(unheard(&status)),
            Err(status) => return Err(failed(in_full(&status))),
        };
        let network = self.network(&id, pod.host_network).await;
        let sandbox = PodSandbox { blob: Vec::new(), ..pod };
        let (running, silenced) = (Mutex::default(), AtomicBool::new(false));
        self.pods().insert(uid, Arc::new(Pod { sandbox, id, config, network, running, silenced }));
        Ok(())
    }

    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        let pod = self.pod(pod_uid)?;
        let turn = self.turns.of(pod_uid);
        let _turn = turn.lock().await;
        let (name, attempt) = (spec.name.clone(), spec.attempt);
        if let Some(started) = self.clear_way(&pod, &name, attempt).await? {
            return Ok(started);
        }
        let Some(image) = self.image(&spec.image).await else {
            return Err(RuntimeError::ImageMissing(spec.image.name));
        };
        let target = match &spec.process_target {
            None => None,
            Some(target) => {
                let missing = format!("unable to find target container {target}: it does not run");
                Some(pod.container(target).map_err(|_| RuntimeError::CreateFailed(missing))?.id)
            }
        };
        let pod_dir = self.pods_dir.of(pod_uid)?;
        let folder = container::folder(&pod_dir, &name, attempt);
        let mounts = spec.mounts.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let sub_paths = container::prepare(&folder)?;
            Volumes::find(&mounts, &sub_paths)
        });
        let failed = |cause: String| RuntimeError::CreateFailed(cause);
        // Sub-paths are bound until the container has mounts of its own.
        let volumes = prepared.await.map_err(|failure| failed(failure.to_string()))?.map_err(failed)?;
        let place = container::Place {
            pod: &pod.sandbox,
            pod_dir: &pod_dir,
            logs: Path::new(&pod.config.log_directory),
            labels: &pod.config.labels,
            target,
            strict_groups: self.strict_groups,
            volumes: &volumes.mounts,
        };
        let config = container::config(&spec, &image, &place)?;
        let mut sandbox_config = pod.config.clone();
        if spec.privileged
            && let Some(context) =
                sandbox_config.linux.as_mut().and_then(|linux| linux.security_context.as_mut())
        {
            // One that was added to a pod that was started without any.
            context.privileged = true;
        }
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let created = self.daemon.runtime().create_container(ask(request, CALL)).await;
        let id = match created {
            Ok(answer) => answer.into_inner().container_id,
            Err(status) => return Err(self.refused(&pod, &status).await),
        };
        let request = cri::StartContainerRequest { container_id: id.clone() };
        if let Err(status) = self.daemon.runtime().start_container(ask(request, CALL)).await {
            if !is_unheard(&status) {
                // It counts as a run, and what there is to say of it has been said.
                self.remove_container(&id).await.ok();
            }
            return Err(error(&status, RuntimeError::StartFailed));
        }
        drop(volumes);
        self.images.note_use(&image.id);
        let status = self.container_status(&id).await.map_err(|status| unheard(&status))?;
        let started = self.started(&status);
        pod.running().insert(name, Running::new(id, attempt, started.clone()));
        self.look.notify_one();
        Ok(started)
    }

    /// Makes room for an attempt of a container: what is left of it and of those before the last is removed. Answers if it runs already.
    async fn clear_way(&self, pod: &Pod, name: &str, attempt: u32) -> Result<Option<Started>, RuntimeError> {
        let of_container = labels::container(&labels::of_pod(&self.worker, &pod.sandbox.uid), name);
        let mut found = self.containers(of_container).await.map_err(|status| unheard(&status))?;
        // First one that runs: where that ends it, nothing is removed.
        found.sort_by_key(|container| container.state() != State::ContainerRunning);
        for container in found {
            let of = container.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
            if container.state() == State::ContainerRunning {
                if of != attempt {
                    return Err(RuntimeError::Invalid(format!("container \"{name}\" already runs")));
                }
                let status = self.container_status(&container.id).await;
                let started = self.started(&status.map_err(|status| unheard(&status))?);
                let running = Running::new(container.id, attempt, started.clone());
                pod.running().insert(name.to_owned(), running);
                return Ok(Some(started));
            }
            if of.saturating_add(1) != attempt {
                let removed = self.remove_container(&container.id).await;
                removed.map_err(|status| error(&status, RuntimeError::CreateFailed))?;
            }
        }
        Ok(None)
    }

    async fn image(&self, image: &ImageRef) -> Option<images::Held> {
        if let Some(held) = self.images.of(image) {
            return Some(held);
        }
        self.images.refresh().await.ok()?;
        self.images.of(image)
    }

    /// Why a container was not made: perhaps its sandbox is gone.
    async fn refused(&self, pod: &Pod, status: &Status) -> RuntimeError {
        if is_gone(status) {
            let request = cri::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
            let sandbox = self.daemon.runtime().pod_sandbox_status(ask(request, CALL)).await;
            if sandbox.is_err_and(|status| is_gone(&status)) {
                self.pods().remove(&pod.sandbox.uid);
                return RuntimeError::PodUnknown(pod.sandbox.uid.clone());
            }
        }
        error(status, RuntimeError::CreateFailed)
    }

    fn started(&self, status: &cri::ContainerStatus) -> Started {
        Started {
            container_id: format!("{}://{}", self.name, status.id),
            // It is the daemon's to know.
            pid: 0,
            started_at_ms: status.started_at / NANOS_IN_MS,
        }
    }

    /// Has a container end, and looks for its end.
    async fn stop(&self, id: &str, seconds: i64) {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: seconds };
        let time = Duration::from_secs(seconds.unsigned_abs()).saturating_add(CALL);
        match self.daemon.runtime().stop_container(ask(request, time)).await {
            Err(status) if !is_gone(&status) => {
                tracing::warn!(container = id, cause = in_full(&status), "a container could not be stopped");
            }
            _ => {}
        }
        self.look.notify_one();
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let running = self.pod(pod_uid)?.container(container)?;
        // Whole seconds, and none for no end.
        let seconds = timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0)).max(1);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: running.id, cmd: command, timeout: seconds };
        let time = timeout.saturating_add(EXEC_GRACE);
        match self.daemon.runtime().exec_sync(ask(request, time)).await {
            Ok(answer) => {
                let cri::ExecSyncResponse { stdout, stderr, exit_code } = answer.into_inner();
                let kept = |bytes: bytes::Bytes| bytes[..bytes.len().min(OUTPUT_MAX)].to_vec();
                Ok(ExecOutput {
                    code: exit_code,
                    stdout: kept(stdout),
                    stderr: kept(stderr),
                    timed_out: false,
                })
            }
            Err(status) if is_time_over(&status) => {
                Ok(ExecOutput { code: 137, timed_out: true, ..ExecOutput::default() })
            }
            Err(status) if is_gone(&status) => Err(RuntimeError::ContainerUnknown {
                pod_uid: pod_uid.to_owned(),
                container: container.to_owned(),
            }),
            Err(status) => Err(error(&status, RuntimeError::StartFailed)),
        }
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let dir = self.pods_dir.of(pod_uid)?;
        let turn = self.turns.of(pod_uid);
        let _turn = turn.lock().await;
        if let Some(pod) = self.pods().remove(pod_uid) {
            pod.silenced.store(true, Ordering::Release);
        }
        self.remove_all(pod_uid).await.map_err(|status| {
            if is_unheard(&status) {
                unheard(&status)
            } else {
                RuntimeError::Daemon { cause: in_full(&status) }
            }
        })?;
        let (cgroups, cgroup) = (self.cgroups.clone(), self.cgroup(pod_uid));
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(cgroup) = cgroup {
                cgroups.remove(&cgroup)?;
                sandbox::remove_foreign_cgroups(&cgroup);
            }
            sandbox::unmount_all(&dir)?;
            match crate::remove::remove_dir_all(&dir) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("remove {}: {source}", dir.display()))
                }
                _ => Ok(()),
            }
        });
        let failed = |cause: String| RuntimeError::Daemon { cause };
        removed.await.map_err(|failure| failed(failure.to_string()))?.map_err(failed)
    }
}

const NANOS_IN_MS: i64 = 1_000_000;

/// The daemon ended a command because its time was over. Before 1.7 containerd says so in words only.
fn is_time_over(status: &Status) -> bool {
    let in_words = || status.message().contains("exceeded: context deadline exceeded");
    !is_unheard(status) && (status.code() == Code::DeadlineExceeded || in_words())
}

#[async_trait]
impl Runtime for CriRuntime {
    fn images(&self) -> Vec<ImageRef> {
        self.inner.images.list()
    }

    fn resolve_image(&self, name: &str) -> Option<ImageRef> {
        self.inner.images.resolve(name)
    }

    /// The signal that an image asks for is the daemon's to send.
    fn image_defaults(&self, image: &ImageRef) -> ImageDefaults {
        let held = self.inner.images.of(image).unwrap_or_default();
        let user = held.uid.map_or(held.username, |uid| uid.to_string());
        ImageDefaults { user, stop_signal: String::new() }
    }

    async fn pull_image(&self, name: &str, credentials: &[Credential]) -> Result<ImageRef, PullError> {
        self.pulls.pull(name, credentials).await
    }

    fn free_images(&self, bytes: u64, unused_for: Duration) -> Result<u64, String> {
        self.inner.thread.block_on(self.inner.images.free(bytes, unused_for))
    }

    async fn start_pod(&self, pod: PodSandbox) -> Result<(), RuntimeError> {
        self.inner.start_pod(pod).await
    }

    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        self.inner.start_container(pod_uid, spec).await
    }

    /// Any signal but KILL is the one that the image asks for.
    async fn signal(&self, pod_uid: &str, container: &str, signal: i32) -> Result<(), RuntimeError> {
        let Ok(running) = self.inner.pod(pod_uid)?.container(container) else { return Ok(()) };
        let inner = Arc::clone(&self.inner);
        let seconds = if signal == 9 { 0 } else { ASKED_SECONDS };
        // It answers when the container has ended, for which nobody waits here.
        tokio::spawn(async move { inner.stop(&running.id, seconds).await });
        Ok(())
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.inner.exec(pod_uid, container, command, timeout).await
    }

    async fn run(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        self.inner.open(pod_uid, container, Some(command), streams).await
    }

    async fn attach(
        &self,
        pod_uid: &str,
        container: &str,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        self.inner.open(pod_uid, container, None, streams).await
    }

    async fn connect(
        &self,
        pod_uid: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Box<dyn PodStream>, RuntimeError> {
        let pod = self.inner.pod(pod_uid)?;
        Ok(Box::new(pod.network.dial(pod_uid, port, timeout).await?))
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.inner.remove_pod(pod_uid).await
    }

    async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError> {
        self.inner.adopt().await
    }

    fn usage(&self) -> Vec<PodUsage> {
        self.inner.thread.block_on(self.inner.usage())
    }

    fn layers(&self) -> Vec<LayerUsage> {
        self.inner.thread.block_on(self.inner.layers())
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn makes_filters(&self) -> bool {
        true
    }

    fn version(&self) -> Option<String> {
        Some(format!("{}://{}", self.inner.name, self.inner.version))
    }

    fn shows_volumes(&self) -> bool {
        true
    }
}
