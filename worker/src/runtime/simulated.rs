//! A runtime that plays containers in memory: no processes, no threads, no clock but tokio's, so the same run gives
//! the same result and one machine can be thousands of workers.
//!
//! What a container does is read from its command line (command, else args), by the first word that is known:
//! `exit N` ends with code N at once, `sleep SECONDS` ends with 0 after that time, `missing` does not exist (as a
//! command that is not found), anything else runs until it is signalled. A TERM ends it with 143, a KILL with 137,
//! except that a command line containing `ignore-term` survives a TERM.

mod port;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{
    AdoptedPod, ContainerPhase, ContainerSpec, ContainerState, ExecOutput, Exit, ImageDefaults, ImageRef,
    PodSandbox, PodStream, PodUsage, ProcessStreams, PullError, Runtime, RuntimeError, RuntimeEvent, Started,
    StdStreams, pull,
};
use crate::image::Credential;

/// Events that may wait for the agent; beyond it a container's end waits for room.
const EVENTS_MAX: usize = 1024;

/// The code of a container that is killed.
const KILLED: i32 = 137;

/// What every simulated worker of one kind knows and takes.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The images that it holds, by their names as people write them.
    pub images: Vec<String>,
    /// It holds whatever image is asked for.
    pub any_image: bool,
    /// What all of them say about their process.
    pub image_defaults: ImageDefaults,
    /// The images that its registries have, by their names as people write them.
    pub registry: Vec<String>,
    /// How long a pull takes.
    pub pull_delay: Duration,
    /// How long the start of a container takes.
    pub start_delay: Duration,
    /// Of a thousand starts so many fail; which ones, is settled by the pod and the attempt.
    pub start_failures: u32,
    /// The wall clock at the runtime's birth, in milliseconds since 1970; it goes on by tokio's clock.
    pub epoch_ms: i64,
    /// It claims that somebody reads the files of volumes.
    pub shows_volumes: bool,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            any_image: false,
            image_defaults: ImageDefaults::default(),
            registry: Vec::new(),
            pull_delay: Duration::ZERO,
            start_delay: Duration::ZERO,
            start_failures: 0,
            epoch_ms: 0,
            shows_volumes: false,
        }
    }
}

/// Is told of each container that begins, or ends with a code: its pod, its name, its attempt.
pub type Witness = Arc<dyn Fn(&PodSandbox, &str, u32, Option<i32>) + Send + Sync>;

/// The simulated runtime. Clones share one world, so an agent that restarts finds its pods again by `adopt`.
#[derive(Clone)]
pub struct SimulatedRuntime {
    world: Arc<Mutex<World>>,
    birth: Instant,
    simulation: Simulation,
}

struct World {
    pods: BTreeMap<String, Pod>,
    images: BTreeSet<ImageRef>,
    next_pid: i32,
    subscriber: Option<mpsc::Sender<RuntimeEvent>>,
    untold: Vec<RuntimeEvent>,
    witness: Option<Witness>,
}

struct Pod {
    sandbox: PodSandbox,
    alive: bool,
    estranged: Option<String>,
    containers: BTreeMap<(String, u32), Played>,
}

struct Played {
    state: ContainerState,
    ignores_term: bool,
    probe_exit: i32,
    listens: bool,
}

enum Act {
    Exit(i32),
    Sleep(Duration),
    Missing(String),
    Run,
}

impl Act {
    fn of(spec: &ContainerSpec) -> Self {
        let mut words =
            spec.command.iter().chain(&spec.args).flat_map(|argument| argument.split_whitespace());
        while let Some(word) = words.next() {
            match word {
                "exit" => return Self::Exit(words.next().and_then(|code| code.parse().ok()).unwrap_or(0)),
                "sleep" => {
                    let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                    return seconds.map_or(Self::Run, |seconds| Self::Sleep(Duration::from_secs(seconds)));
                }
                "missing" => return Self::Missing(word.to_owned()),
                _ => {}
            }
        }
        Self::Run
    }
}

impl SimulatedRuntime {
    /// A worker without pods.
    pub fn new(simulation: Simulation) -> Self {
        let images = simulation.images.iter().map(|name| simulated_image(name)).collect();
        let world = World {
            pods: BTreeMap::new(),
            images,
            next_pid: 1000,
            subscriber: None,
            untold: Vec::new(),
            witness: None,
        };
        Self { world: Arc::new(Mutex::new(world)), birth: Instant::now(), simulation }
    }

    /// Tells a witness what containers do, as they do it.
    pub fn witnessed(self, witness: Witness) -> Self {
        self.lock().witness = Some(witness);
        self
    }

    /// The machine is switched off: all pods are gone, and nobody is told.
    pub fn power_off(&self) {
        let mut world = self.lock();
        world.untold.clear();
        for uid in world.pods.keys().cloned().collect::<Vec<_>>() {
            world.remove(&uid);
        }
    }

    /// What runs: pod and container.
    pub fn running_containers(&self) -> Vec<(String, String)> {
        let world = self.lock();
        let running = |uid: &String, pod: &Pod| {
            let running = pod.running().map(|played| (uid.clone(), played.state.name.clone()));
            running.collect::<Vec<_>>()
        };
        world.pods.iter().flat_map(|(uid, pod)| running(uid, pod)).collect()
    }

    /// Ends a container as if by itself, for tests of what the agent does then.
    pub fn finish(&self, pod_uid: &str, container: &str, code: i32) {
        self.end(pod_uid, container, None, code, None);
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        self.lock().pods.values().map(|pod| pod.running().count()).sum()
    }

    /// From now on probes of this container (exec and connect) succeed or fail.
    pub fn set_healthy(&self, pod_uid: &str, container: &str, healthy: bool) {
        let mut world = self.lock();
        if let Some(played) = world.running(pod_uid, container) {
            played.probe_exit = i32::from(!healthy);
            played.listens = healthy;
        }
    }

    /// From now on the pod's shim cannot be spoken to, as if the next agent were of another build.
    pub fn estrange(&self, pod_uid: &str, cause: &str) {
        if let Some(pod) = self.lock().pods.get_mut(pod_uid) {
            pod.estranged = Some(cause.to_owned());
        }
    }

    /// The pod's shim dies, and its containers with it.
    pub fn lose_pod(&self, pod_uid: &str) {
        let now_ms = self.now_ms();
        let mut guard = self.lock();
        let world = &mut *guard;
        let Some(pod) = world.pods.get_mut(pod_uid).filter(|pod| pod.alive) else { return };
        witness(&world.witness, pod);
        pod.alive = false;
        for played in
            pod.containers.values_mut().filter(|played| played.state.phase == ContainerPhase::Running)
        {
            let exit = exit_of(&played.state, KILLED, Some(9), now_ms);
            played.state.phase = ContainerPhase::Exited(exit);
        }
        world.tell(RuntimeEvent::PodLost { pod_uid: pod_uid.to_owned() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        let since = i64::try_from(self.birth.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.simulation.epoch_ms.saturating_add(since)
    }

    fn end(&self, pod_uid: &str, container: &str, attempt: Option<u32>, code: i32, signal: Option<i32>) {
        let now_ms = self.now_ms();
        let mut world = self.lock();
        let Some(played) = world.running(pod_uid, container) else { return };
        if attempt.is_some_and(|attempt| attempt != played.state.attempt) {
            return;
        }
        let exit = exit_of(&played.state, code, signal, now_ms);
        played.state.phase = ContainerPhase::Exited(exit.clone());
        let attempt = played.state.attempt;
        if let (Some(witness), Some(pod)) = (&world.witness, world.pods.get(pod_uid)) {
            witness(&pod.sandbox, container, attempt, Some(code));
        }
        let (pod_uid, container) = (pod_uid.to_owned(), container.to_owned());
        world.tell(RuntimeEvent::Exited { pod_uid, container, attempt, exit });
    }
}

fn simulated_image(name: &str) -> ImageRef {
    use sha2::{Digest, Sha256};
    let name = crate::image::normalise(name);
    let digest = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    ImageRef { name, digest: format!("sha256:{digest}"), size_bytes: 1 << 20 }
}

/// Whether this start is one of those that fail.
fn fails(pod_uid: &str, attempt: u32, per_mille: u32) -> bool {
    use sha2::{Digest, Sha256};
    if per_mille == 0 {
        return false;
    }
    let hash = Sha256::new().chain_update(pod_uid).chain_update(attempt.to_le_bytes()).finalize();
    u32::from(u16::from_le_bytes([hash[0], hash[1]])) % 1000 < per_mille
}

fn exit_of(state: &ContainerState, code: i32, signal: Option<i32>, finished_at_ms: i64) -> Exit {
    let started_at_ms = state.started.started_at_ms;
    Exit { code, signal, oom_killed: false, started_at_ms, finished_at_ms, message: String::new() }
}

impl Pod {
    fn spoken_to(&self) -> Result<(), RuntimeError> {
        let error = |cause: &String| {
            let (pod_uid, cause) = (self.sandbox.uid.clone(), cause.clone());
            Err(RuntimeError::Estranged { pod_uid, cause })
        };
        self.estranged.as_ref().map_or(Ok(()), error)
    }

    fn running(&self) -> impl Iterator<Item = &Played> {
        let runs = |played: &&Played| played.state.phase == ContainerPhase::Running;
        self.containers.values().filter(runs).filter(|_| self.alive)
    }
}

/// All that runs in the pod ends now.
fn witness(witness: &Option<Witness>, pod: &Pod) {
    let Some(witness) = witness else { return };
    for played in pod.running() {
        witness(&pod.sandbox, &played.state.name, played.state.attempt, Some(KILLED));
    }
}

impl World {
    fn remove(&mut self, pod_uid: &str) {
        if let Some(pod) = self.pods.remove(pod_uid) {
            witness(&self.witness, &pod);
        }
    }

    fn running(&mut self, pod_uid: &str, container: &str) -> Option<&mut Played> {
        let pod = self.pods.get_mut(pod_uid)?;
        pod.containers
            .values_mut()
            .find(|played| played.state.name == container && played.state.phase == ContainerPhase::Running)
    }

    /// Told in order; what finds no room waits for the next event or receiver.
    fn tell(&mut self, event: RuntimeEvent) {
        self.untold.push(event);
        let Some(subscriber) = &self.subscriber else { return };
        let mut told = 0;
        for event in &self.untold {
            if subscriber.try_send(event.clone()).is_err() {
                break;
            }
            told += 1;
        }
        self.untold.drain(..told);
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    fn shows_volumes(&self) -> bool {
        self.simulation.shows_volumes
    }

    fn images(&self) -> Vec<ImageRef> {
        self.lock().images.iter().cloned().collect()
    }

    fn resolve_image(&self, name: &str) -> Option<ImageRef> {
        if self.simulation.any_image {
            return Some(simulated_image(name));
        }
        let name = crate::image::normalise(name);
        self.lock().images.iter().find(|image| image.name == name || image.digest == name).cloned()
    }

    fn image_defaults(&self, _image: &ImageRef) -> ImageDefaults {
        self.simulation.image_defaults.clone()
    }

    async fn pull_image(&self, name: &str, _: &[Credential]) -> Result<ImageRef, PullError> {
        if !self.simulation.pull_delay.is_zero() {
            tokio::time::sleep(self.simulation.pull_delay).await;
        }
        crate::image::Reference::parse(name)?;
        let image = simulated_image(name);
        let has = |other: &String| crate::image::normalise(other) == image.name;
        if !self.simulation.any_image && !self.simulation.registry.iter().any(has) {
            return Err(pull::not_here(name));
        }
        self.lock().images.insert(image.clone());
        Ok(image)
    }

    /// Its images take no room.
    fn free_images(&self, _: u64, _: Duration) -> Result<u64, String> {
        Ok(0)
    }

    /// What it plays uses nothing.
    fn usage(&self) -> Vec<PodUsage> {
        Vec::new()
    }

    async fn start_pod(&self, pod: PodSandbox) -> Result<(), RuntimeError> {
        let mut world = self.lock();
        match world.pods.get_mut(&pod.uid) {
            Some(known) if known.alive => {
                known.spoken_to()?;
                known.sandbox.blob = pod.blob;
            }
            _ => {
                let uid = pod.uid.clone();
                let containers = BTreeMap::new();
                world.pods.insert(uid, Pod { sandbox: pod, alive: true, estranged: None, containers });
            }
        }
        Ok(())
    }

    async fn start_container(&self, pod_uid: &str, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        if !self.simulation.start_delay.is_zero() {
            tokio::time::sleep(self.simulation.start_delay).await;
        }
        let act = Act::of(&spec);
        let now_ms = self.now_ms();
        let attempt = spec.attempt;
        if fails(pod_uid, attempt, self.simulation.start_failures) {
            return Err(RuntimeError::StartFailed("the simulation lets this start fail".to_owned()));
        }
        let started = {
            let mut guard = self.lock();
            let world = &mut *guard;
            let known = |image: &ImageRef| image.digest == spec.image.digest;
            if !self.simulation.any_image && !world.images.iter().any(known) {
                return Err(RuntimeError::ImageMissing(spec.image.name));
            }
            let pid = world.next_pid;
            let pod = world.pods.get_mut(pod_uid).filter(|pod| pod.alive);
            let Some(pod) = pod else { return Err(RuntimeError::PodUnknown(pod_uid.to_owned())) };
            pod.spoken_to()?;
            if let Some(played) = pod.containers.values().find(|played| {
                played.state.name == spec.name && played.state.phase == ContainerPhase::Running
            }) {
                if played.state.attempt == attempt {
                    return Ok(played.state.started.clone());
                }
                return Err(RuntimeError::Invalid(format!("container \"{}\" already runs", spec.name)));
            }
            if let Some(target) = &spec.process_target
                && !pod.containers.values().any(|played| {
                    played.state.name == *target && played.state.phase == ContainerPhase::Running
                })
            {
                return Err(RuntimeError::CreateFailed(format!("unable to find target container {target}")));
            }
            if let Act::Missing(command) = &act {
                return Err(RuntimeError::StartFailed(format!(
                    "exec: \"{command}\": executable file not found in $PATH"
                )));
            }
            let container_id = format!("kontiki://simulated-{pod_uid}-{}-{attempt}", spec.name);
            let started = Started { container_id, pid, started_at_ms: now_ms };
            let state = ContainerState {
                name: spec.name.clone(),
                attempt,
                image: spec.image.clone(),
                started: started.clone(),
                phase: ContainerPhase::Running,
            };
            let ignores_term = spec.command.iter().chain(&spec.args).any(|word| word.contains("ignore-term"));
            pod.containers.retain(|(name, old), _| *name != spec.name || old.saturating_add(1) == attempt);
            let played = Played { state, ignores_term, probe_exit: 0, listens: true };
            pod.containers.insert((spec.name.clone(), attempt), played);
            if let Some(witness) = &world.witness {
                witness(&pod.sandbox, &spec.name, attempt, None);
            }
            world.next_pid = pid.checked_add(1).unwrap_or(1000);
            started
        };
        match act {
            Act::Exit(code) => self.end(pod_uid, &spec.name, Some(attempt), code, None),
            Act::Sleep(time) => {
                let (world, pod_uid) = (self.clone(), pod_uid.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    world.end(&pod_uid, &spec.name, Some(attempt), 0, None);
                });
            }
            Act::Run | Act::Missing(_) => {}
        }
        Ok(started)
    }

    async fn signal(&self, pod_uid: &str, container: &str, signal: i32) -> Result<(), RuntimeError> {
        let ends = {
            let mut world = self.lock();
            if !world.pods.get(pod_uid).is_some_and(|pod| pod.alive) {
                return Err(RuntimeError::PodUnknown(pod_uid.to_owned()));
            }
            world.running(pod_uid, container).is_some_and(|played| signal == 9 || !played.ignores_term)
        };
        if ends {
            self.end(pod_uid, container, None, 128_i32.saturating_add(signal), Some(signal));
        }
        Ok(())
    }

    async fn exec(
        &self,
        pod_uid: &str,
        container: &str,
        command: Vec<String>,
        _timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let mut world = self.lock();
        world.pods.get(pod_uid).map_or(Ok(()), Pod::spoken_to)?;
        let Some(played) = world.running(pod_uid, container) else {
            let (pod_uid, container) = (pod_uid.to_owned(), container.to_owned());
            return Err(RuntimeError::ContainerUnknown { pod_uid, container });
        };
        let said = command.strip_prefix(&["echo".to_owned()][..]).map(|words| words.join(" ") + "\n");
        let stdout = said.unwrap_or_default().into_bytes();
        Ok(ExecOutput { code: played.probe_exit, stdout, ..ExecOutput::default() })
    }

    async fn run(
        &self,
        _pod_uid: &str,
        _container: &str,
        _command: Vec<String>,
        _streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        Err(RuntimeError::Invalid("a simulated container has no streams".to_owned()))
    }

    async fn attach(
        &self,
        _pod_uid: &str,
        _container: &str,
        _streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        Err(RuntimeError::Invalid("a simulated container has no streams".to_owned()))
    }

    async fn connect(
        &self,
        pod_uid: &str,
        port: u16,
        _timeout: Duration,
    ) -> Result<Box<dyn PodStream>, RuntimeError> {
        let listens = {
            let world = self.lock();
            let Some(pod) = world.pods.get(pod_uid).filter(|pod| pod.alive) else {
                return Err(RuntimeError::PodUnknown(pod_uid.to_owned()));
            };
            pod.spoken_to()?;
            let mut running = pod
                .containers
                .values()
                .filter(|played| played.state.phase == ContainerPhase::Running)
                .peekable();
            running.peek().is_some() && running.all(|played| played.listens)
        };
        if !listens {
            let cause = "connection refused".to_owned();
            return Err(RuntimeError::Connect { pod_uid: pod_uid.to_owned(), port, cause });
        }
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(port::serve(far));
        Ok(Box::new(near))
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.lock().remove(pod_uid);
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError> {
        let mut world = self.lock();
        world.untold.clear();
        let adopted = world.pods.values().map(|pod| AdoptedPod {
            sandbox: pod.sandbox.clone(),
            alive: pod.alive,
            estranged: pod.estranged.clone(),
            containers: pod.containers.values().map(|played| played.state.clone()).collect(),
        });
        Ok(adopted.collect())
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let mut world = self.lock();
        // An agent that restarted in the same simulation takes over: the old receiver is gone with the old agent.
        world.subscriber = Some(sender);
        receiver
    }
}
