//! The real runtime: a shim process per pod, found again after a restart of the agent.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::estranged::{Estranged, LiveShim};
use super::pods::{PodsDir, Turns};
use super::pull::Pulls;
use super::sealed::Sealed;
use super::shim_link::{self, Link, Teller};
use super::{
    AdoptedPod, ContainerSpec, ExecOutput, ImageDefaults, ImageRef, PodSandbox, PodStream, PodUsage,
    ProcessStreams, PullError, Runtime, RuntimeClass, RuntimeError, RuntimeEvent, Started, StdStreams,
    command_line, pod_network, remains, shim_process, shim_streams,
};
use crate::image::{Credential, Image, Registries, Root, Store};
use crate::shim::cgroup::Cgroups;
use crate::shim::protocol::{Answer, BLOB_MAX, Call, PREVIOUS};
use crate::shim::state::{PodState, Setup};

/// Events that may wait for the agent; a shim keeps what finds no room.
const EVENTS_MAX: usize = 1024;
/// What an exec may take beyond its own time, for starting and killing it.
const EXEC_GRACE: Duration = Duration::from_secs(10);

/// What a pod may have unless the worker is told otherwise: far more than most need, far less than would stop a machine.
const POD_PIDS_LIMIT: u64 = 4096;

/// What RuntimeClasses call this runtime.
const HANDLER: &str = "kontiki";

/// How shims are started and where pods live.
#[derive(Clone, Debug)]
pub struct ShimConfig {
    /// The command that runs [`crate::shim::main`], such as `["/proc/self/exe", "shim"]`.
    pub shim_command: Vec<String>,
    /// The worker's directory; pods live in `pods/` below it.
    pub data_dir: PathBuf,
    /// Under this path in every cgroup hierarchy the pods' cgroups are made.
    pub cgroup_parent: String,
    /// A log of this size is replaced by a new one; one older is kept.
    pub log_bytes_max: u64,
    /// The processes that a pod may have at a time, threads among them, where the machine can bound them.
    pub pod_pids_limit: Option<u64>,
    /// Whether this process may make containers. If not, every pod runs as plain processes, as with `runtimeClassName: host`.
    pub containers: bool,
}

impl ShimConfig {
    /// The usual configuration: this program is its own shim.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            shim_command: vec!["/proc/self/exe".to_owned(), "shim".to_owned()],
            data_dir: data_dir.into(),
            cgroup_parent: "/kontiki".to_owned(),
            log_bytes_max: 10 << 20,
            pod_pids_limit: Some(POD_PIDS_LIMIT),
            containers: rustix::process::geteuid().is_root(),
        }
    }
}

/// The runtime of real pods.
pub struct ShimRuntime {
    config: ShimConfig,
    pods_dir: PodsDir,
    store: Arc<Store>,
    /// What the shims of containers run.
    program: Arc<Sealed>,
    pulls: Pulls,
    pods: Mutex<HashMap<String, Arc<Link>>>,
    /// Pods that are left alone, because their shims cannot be spoken to.
    estranged: Mutex<HashMap<String, Estranged>>,
    turns: Turns,
    events: mpsc::Sender<RuntimeEvent>,
    receiver: Mutex<Option<mpsc::Receiver<RuntimeEvent>>>,
}

impl ShimRuntime {
    /// Opens the worker's pods; call `adopt` to find those that still run.
    pub fn new(config: ShimConfig, store: Arc<Store>, registries: Arc<Registries>) -> std::io::Result<Self> {
        let pods_dir = PodsDir::open(&config.data_dir)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let pulls = Pulls::new(Arc::clone(&store), registries);
        Ok(Self {
            config,
            pods_dir,
            store,
            program: Arc::default(),
            pulls,
            pods: Mutex::default(),
            estranged: Mutex::default(),
            turns: Turns::default(),
            events,
            receiver: Mutex::new(Some(receiver)),
        })
    }

    /// A pod's directory, for what the agent keeps there (volumes). The uid must be a plain name.
    pub fn pod_dir(&self, pod_uid: &str) -> Result<PathBuf, RuntimeError> {
        self.pods_dir.of(pod_uid)
    }

    fn link(&self, pod_uid: &str) -> Result<Arc<Link>, RuntimeError> {
        if let Some(estranged) = self.estranged().get(pod_uid) {
            return Err(estranged.error());
        }
        // One that is closed stays until the pod is removed or started again: it may still have to be silenced.
        match self.pods().get(pod_uid) {
            Some(link) if !link.is_closed() => Ok(Arc::clone(link)),
            _ => Err(RuntimeError::PodUnknown(pod_uid.to_owned())),
        }
    }

    /// What an earlier shim of the pod still has to tell would be taken for news of this one.
    fn keep(&self, link: Arc<Link>) {
        let earlier = self.pods().insert(link.sandbox.uid.clone(), Arc::clone(&link));
        if let Some(earlier) = earlier.filter(|earlier| !Arc::ptr_eq(earlier, &link)) {
            earlier.silence();
        }
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Arc<Link>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn estranged(&self) -> MutexGuard<'_, HashMap<String, Estranged>> {
        self.estranged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn teller(&self, pod_uid: &str, dir: &Path) -> Teller {
        Teller::new(pod_uid.to_owned(), dir.to_owned(), self.events.clone())
    }

    fn image(&self, wanted: &ImageRef) -> Result<Image, RuntimeError> {
        let key = if wanted.digest.is_empty() { &wanted.name } else { &wanted.digest };
        self.store.resolve(key).ok_or_else(|| RuntimeError::ImageMissing(wanted.name.clone()))
    }

    /// Adopts the pod in a directory, or answers the last that is known of it.
    async fn adopt_one(teller: Teller) -> Result<Option<Found>, RuntimeError> {
        let (dir, pod_uid, events) = (teller.dir.clone(), teller.pod_uid.clone(), teller.events.clone());
        let cause = match Link::find(teller).await {
            Ok((link, state)) => return Ok(Some(Found::Linked(link, adopted(state, true)))),
            Err(cause) => cause,
        };
        if let Some((estranged, pod)) = meet(&pod_uid, &dir, cause.clone(), events)? {
            return Ok(Some(Found::Estranged(estranged, pod)));
        }
        let state = PodState::read(&dir).or_else(|_| {
            // The shim never came up; its setup at least says which pod it was for.
            Setup::read(&dir).map(|setup| PodState::new(setup.sandbox))
        });
        match state {
            Ok(state) => Ok(Some(Found::Dead(adopted(state, false)))),
            Err(unreadable) => {
                tracing::warn!(pod_uid, cause, unreadable, "pod directory without a pod: removing it");
                tokio::task::spawn_blocking(move || crate::remove::remove_dir_all(&dir)).await.ok();
                Ok(None)
            }
        }
    }
}

/// What was found in a pod's directory.
enum Found {
    Linked(Arc<Link>, AdoptedPod),
    Estranged(Estranged, AdoptedPod),
    Dead(AdoptedPod),
}

/// The pod, if its shim lives although it could not be spoken to.
fn meet(
    pod_uid: &str,
    dir: &Path,
    cause: String,
    events: mpsc::Sender<RuntimeEvent>,
) -> Result<Option<(Estranged, AdoptedPod)>, RuntimeError> {
    let met = LiveShim::find(dir)
        .and_then(|shim| shim.map(|shim| Estranged::meet(shim, pod_uid, dir, cause, events)).transpose());
    met.map_err(|source| RuntimeError::Shim {
        pod_uid: pod_uid.to_owned(),
        cause: format!("look whether it lives: {source}"),
    })
}

fn adopted(state: PodState, alive: bool) -> AdoptedPod {
    let containers = state.containers.into_iter().map(|record| record.state).collect();
    AdoptedPod { sandbox: state.sandbox, alive, estranged: None, containers }
}

fn unexpected(pod_uid: &str) -> RuntimeError {
    RuntimeError::Shim {
        pod_uid: pod_uid.to_owned(),
        cause: "it gave the answer to another question".to_owned(),
    }
}

#[async_trait]
impl Runtime for ShimRuntime {
    fn images(&self) -> Vec<ImageRef> {
        let refs = self.store.list().into_iter().flat_map(|image| {
            let (digest, size_bytes) = (image.digest, image.size_bytes);
            image.names.into_iter().map(move |name| ImageRef { name, digest: digest.clone(), size_bytes })
        });
        let mut refs: Vec<ImageRef> = refs.collect();
        refs.sort();
        refs
    }

    fn resolve_image(&self, name: &str) -> Option<ImageRef> {
        let image = self.store.resolve(name)?;
        Some(ImageRef {
            name: crate::image::normalise(name),
            digest: image.digest,
            size_bytes: image.size_bytes,
        })
    }

    fn image_defaults(&self, image: &ImageRef) -> ImageDefaults {
        let config = self.image(image).map(|image| image.config).unwrap_or_default();
        ImageDefaults { user: config.user, stop_signal: config.stop_signal }
    }

    async fn pull_image(&self, name: &str, credentials: &[Credential]) -> Result<ImageRef, PullError> {
        self.pulls.pull(name, credentials).await
    }

    fn free_images(&self, bytes: u64, unused_for: Duration) -> Result<u64, String> {
        self.store.note_use().map_err(|error| error.to_string())?;
        let gone = self.store.collect(bytes, unused_for).map_err(|error| error.to_string())?;
        for image in &gone.images {
            let name = image.names.first().unwrap_or(&image.digest);
            tracing::info!(image = %name, bytes = image.size_bytes, "an image that nobody uses is removed");
        }
        Ok(gone.bytes)
    }

    async fn start_pod(&self, mut pod: PodSandbox) -> Result<(), RuntimeError> {
        if !self.config.containers {
            pod.class = RuntimeClass::Host;
        }
        let uid = pod.uid.clone();
        let dir = self.pod_dir(&uid)?;
        if pod.blob.len() > BLOB_MAX {
            return Err(RuntimeError::Invalid(format!("the pod's blob is longer than {BLOB_MAX} bytes")));
        }
        if !["", HANDLER].contains(&pod.handler.as_str()) {
            return Err(RuntimeError::Invalid(format!(
                "no runtime for {:?} is configured: this worker's own is {HANDLER:?}",
                pod.handler
            )));
        }
        let turn = self.turns.of(&uid);
        let _turn = turn.lock().await;
        let shim_error = |cause| RuntimeError::Shim { pod_uid: uid.clone(), cause };
        let link = match self.link(&uid) {
            Ok(link) => Some(link),
            Err(error @ RuntimeError::Estranged { .. }) => return Err(error),
            // A shim of an agent before this one may serve it already.
            Err(_) => match Link::open(self.teller(&uid, &dir), false).await {
                Ok((link, _)) => Some(link),
                Err(cause) => match meet(&uid, &dir, cause, self.events.clone())? {
                    Some((estranged, _)) => {
                        let error = estranged.error();
                        self.estranged().insert(uid, estranged);
                        return Err(error);
                    }
                    None => None,
                },
            },
        };
        if let Some(link) = link {
            self.keep(Arc::clone(&link));
            return link.call(Call::StoreBlob(pod.blob)).await.map(drop);
        }
        let config = &self.config;
        let (parent, log_bytes_max) = (config.cgroup_parent.clone(), config.log_bytes_max);
        let setup = Setup::new(pod, parent, log_bytes_max, config.pod_pids_limit);
        let prepared = dir.clone();
        let (program, pods_dir) = (Arc::clone(&self.program), self.pods_dir.path().to_owned());
        // Plain processes have the machine's files anyway.
        let shared = (setup.sandbox.class == RuntimeClass::Container)
            .then(|| self.config.shim_command.first().cloned())
            .flatten();
        let prepare = move || -> Result<Option<Arc<File>>, String> {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o711);
            builder.create(&prepared).map_err(|source| format!("make {}: {source}", prepared.display()))?;
            let cleared = remains::clear(&prepared, false)?;
            setup.write(&prepared)?;
            drop(cleared);
            Ok(shared.and_then(|name| program.of(&name, &pods_dir)))
        };
        let sealed = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|source| shim_error(source.to_string()))?
            .map_err(shim_error)?;
        shim_process::spawn(&self.config.shim_command, sealed.as_deref(), &dir).await.map_err(shim_error)?;
        let (link, _) = Link::open(self.teller(&uid, &dir), false).await.map_err(shim_error)?;
        self.keep(link);
        Ok(())
    }

    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        let link = self.link(pod_uid)?;
        let image = self.image(&spec.image)?;
        let rootfs = self.store.root(&image);
        let user = command_line::user(&spec, &image);
        let identity = self.store.identity(&image, &user).map_err(|cause| RuntimeError::ImageBroken {
            image: spec.image.name.clone(),
            cause: cause.to_string(),
        })?;
        let launch = command_line::launch(spec, &image, rootfs, identity, &link.sandbox.hostname)?;
        let container = launch.spec.name.clone();
        let in_layers = matches!(launch.rootfs, Root::Layers(_));
        let call = match (launch.spec.is_confined(), link.version()) {
            (_, PREVIOUS) if in_layers => {
                return Err(RuntimeError::Invalid(
                    "the pod's shim is of an earlier build and cannot run images in layers: restart the pod to update its shim"
                        .to_owned(),
                ));
            }
            // One that does not know layers says so.
            (_, _) if in_layers => Call::StartLayered(Box::new(launch)),
            (_, PREVIOUS) if launch.spec.process_target.is_some() => {
                return Err(RuntimeError::Invalid(
                    "the pod's shim is of an earlier build and cannot start containers beside another one's processes: restart \
                     the pod to update its shim"
                        .to_owned(),
                ));
            }
            _ if launch.spec.process_target.is_some() => Call::StartBeside(Box::new(launch)),
            (false, _) => Call::StartContainer(Box::new(launch)),
            (true, PREVIOUS) => {
                return Err(RuntimeError::Invalid(
                    "the pod's shim is of an earlier build and cannot confine containers as this one is to be: restart the \
                     pod to update its shim"
                        .to_owned(),
                ));
            }
            (true, _) => Call::StartConfined(Box::new(launch)),
        };
        match link.call(call).await? {
            Answer::Started { started, warnings } => {
                for warning in warnings {
                    tracing::warn!(pod_uid, container, "{warning}");
                }
                Ok(started)
            }
            _ => Err(unexpected(pod_uid)),
        }
    }

    async fn signal(&self, pod_uid: &str, container: &str, signal: i32) -> Result<(), RuntimeError> {
        if let Some(estranged) = self.estranged().get(pod_uid) {
            return estranged.signal(container, signal);
        }
        self.link(pod_uid)?.call(Call::Signal { container: container.to_owned(), signal }).await.map(drop)
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let link = self.link(pod_uid)?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let call = link.call(Call::Exec { container: container.to_owned(), command, timeout_ms });
        match tokio::time::timeout(timeout.saturating_add(EXEC_GRACE), call).await {
            Ok(Ok(Answer::Output(output))) => Ok(output),
            Ok(Ok(_)) => Err(unexpected(pod_uid)),
            Ok(Err(error)) => Err(error),
            // The shim itself ends a command that takes too long, and says so.
            Err(_) => {
                Err(RuntimeError::Shim { pod_uid: pod_uid.to_owned(), cause: shim_link::SILENT.to_owned() })
            }
        }
    }

    async fn run(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        let (version, dir) = (self.link(pod_uid)?.version(), self.pod_dir(pod_uid)?);
        shim_streams::open(&dir, version, pod_uid, container, Some(command), streams).await
    }

    async fn attach(
        &self,
        pod_uid: &str,
        container: &str,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        let (version, dir) = (self.link(pod_uid)?.version(), self.pod_dir(pod_uid)?);
        shim_streams::open(&dir, version, pod_uid, container, None, streams).await
    }

    async fn connect(
        &self,
        pod_uid: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Box<dyn PodStream>, RuntimeError> {
        let link = self.link(pod_uid)?;
        let shared = link.sandbox.host_network || link.sandbox.class == RuntimeClass::Host;
        let shim_version = (!shared).then_some(link.version());
        let dir = self.pod_dir(pod_uid)?;
        let stream = pod_network::dial(&dir, pod_uid, port, shim_version, timeout).await?;
        Ok(Box::new(stream))
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let dir = self.pod_dir(pod_uid)?;
        let turn = self.turns.of(pod_uid);
        let _turn = turn.lock().await;
        let shim_error = |cause| RuntimeError::Shim { pod_uid: pod_uid.to_owned(), cause };
        if let Some(link) = self.pods().remove(pod_uid) {
            link.silence();
        }
        // It watches no more: an end that is asked for is no news.
        self.estranged().remove(pod_uid);
        if !dir.exists() {
            return Ok(());
        }
        // A connection of its own: the agent's ends with its link, which others may still hold for a moment.
        let (silent, _) = mpsc::channel(1);
        let mut ended = false;
        match Link::open(Teller::new(pod_uid.to_owned(), dir.clone(), silent.clone()), true).await {
            Ok((link, _)) => match link.call(Call::Shutdown).await {
                Ok(_) => ended = true,
                // A shim that dies on the way has done the most of it; the rest is done below.
                Err(RuntimeError::PodUnknown(_)) => {}
                Err(error) => tracing::warn!(pod_uid, %error, "shim did not end cleanly"),
            },
            Err(cause) => {
                if let Some((estranged, _)) = meet(pod_uid, &dir, cause, silent)? {
                    estranged.end().await.map_err(shim_error)?;
                }
            }
        }
        let remove = move || -> Result<(), String> {
            let _cleared = remains::clear(&dir, ended)?;
            match crate::remove::remove_dir_all(&dir) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("remove {}: {source}", dir.display()))
                }
                _ => Ok(()),
            }
        };
        tokio::task::spawn_blocking(remove)
            .await
            .map_err(|source| shim_error(source.to_string()))?
            .map_err(shim_error)
    }

    async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError> {
        let unreadable = |source: std::io::Error| {
            RuntimeError::CreateFailed(format!("list {}: {source}", self.pods_dir.path().display()))
        };
        let mut tasks = JoinSet::new();
        for entry in std::fs::read_dir(self.pods_dir.path()).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let pod_uid = entry.file_name().to_string_lossy().into_owned();
            tasks.spawn(Self::adopt_one(self.teller(&pod_uid, &entry.path())));
        }
        let mut pods = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let Ok(found) = done else { continue };
            match found? {
                Some(Found::Linked(link, pod)) => {
                    self.keep(link);
                    pods.push(pod);
                }
                Some(Found::Estranged(estranged, pod)) => {
                    self.estranged().insert(pod.sandbox.uid.clone(), estranged);
                    pods.push(pod);
                }
                Some(Found::Dead(pod)) => pods.push(pod),
                None => {}
            }
        }
        pods.sort_by(|a, b| a.sandbox.uid.cmp(&b.sandbox.uid));
        Ok(pods)
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver.unwrap_or_else(|| mpsc::channel(1).1)
    }

    fn usage(&self) -> Vec<PodUsage> {
        let links: Vec<Arc<Link>> = self.pods().values().filter(|link| !link.is_closed()).cloned().collect();
        let Ok(cgroups) = Cgroups::detect() else { return Vec::new() };
        let parent = Path::new(&self.config.cgroup_parent);
        let usage = |link: Arc<Link>| {
            let PodSandbox { uid, namespace, name, .. } = link.sandbox.clone();
            let containers = cgroups.usage(&parent.join(&uid));
            PodUsage { uid, namespace, name, containers }
        };
        links.into_iter().map(usage).filter(|pod| !pod.containers.is_empty()).collect()
    }

    fn isolates(&self) -> bool {
        self.config.containers
    }

    fn shows_volumes(&self) -> bool {
        self.config.containers
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::image::RegistriesFile;
    use crate::runtime::shim_link::tests::answer;
    use crate::shim::state::SOCKET;

    fn runtime(dir: &Path) -> ShimRuntime {
        let store = Arc::new(Store::open(dir.join("images")).unwrap());
        let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
        ShimRuntime::new(ShimConfig::new(dir), store, registries).unwrap()
    }

    /// Its shim listens, but is not heard yet.
    fn pod(runtime: &ShimRuntime) -> UnixListener {
        let dir = runtime.pod_dir("u-1").unwrap();
        std::fs::create_dir(&dir).unwrap();
        let sandbox = PodSandbox { uid: "u-1".to_owned(), ..PodSandbox::default() };
        PodState::new(sandbox).write(&dir).unwrap();
        UnixListener::bind(dir.join(SOCKET)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_shim_that_is_busy_when_it_is_found_is_spoken_to_once_it_hears() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = runtime(dir.path());
        let shim = pod(&runtime);
        let pods = runtime.adopt().await.unwrap();
        assert_eq!((pods[0].alive, &pods[0].estranged), (true, &None));
        // It hears from here on, in real time.
        tokio::time::resume();
        std::thread::spawn(move || {
            shim.incoming().map_while(Result::ok).for_each(|stream| answer(stream, usize::MAX));
        });
        let sandbox = || PodSandbox { uid: "u-1".to_owned(), ..PodSandbox::default() };
        while let Err(error) = runtime.start_pod(sandbox()).await {
            assert!(matches!(error, RuntimeError::Shim { .. }), "{error}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_loss_that_is_told_late_is_not_taken_for_one_of_the_next_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = runtime(dir.path());
        let mut events = runtime.events();
        // Nobody hears of anything for now.
        let other = || RuntimeEvent::PodLost { pod_uid: "other".to_owned() };
        while runtime.events.try_send(other()).is_ok() {}
        let shim = pod(&runtime);
        let shim = std::thread::spawn(move || answer(shim.accept().unwrap().0, 1));
        let uid = runtime.adopt().await.unwrap().remove(0).sandbox.uid;
        shim.join().unwrap();
        while runtime.link(&uid).is_ok() {
            tokio::task::yield_now().await;
        }
        runtime.remove_pod(&uid).await.unwrap();
        drop(runtime);
        while let Some(event) = events.recv().await {
            assert_eq!(event, other());
        }
    }

    #[tokio::test]
    async fn a_command_of_which_the_shim_says_nothing_has_not_failed() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = runtime(dir.path());
        let shim = pod(&runtime);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let stream = shim.accept().unwrap().0;
            // It welcomes, and is silent until the test is over.
            answer(stream.try_clone().unwrap(), 1);
            ended.recv().ok();
        });
        let found = runtime.adopt().await.unwrap().remove(0);
        tokio::time::pause();
        let command = vec!["true".to_owned()];
        let silent =
            runtime.exec(&found.sandbox.uid, "web", command, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(silent, RuntimeError::Shim { .. }), "{silent}");
        drop(end);
    }
}
