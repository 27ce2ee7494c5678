//! What an agent finds that starts again: its pods and their containers, as the daemon has them, and what the agent before wrote down.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use kontiki_proto::cri;
use kontiki_proto::cri::ContainerState as State;
use tonic::Status;

use super::super::{AdoptedPod, ContainerPhase, ContainerState, Exit, PodSandbox, RuntimeError};
use super::daemon::{in_full, unheard};
use super::{Inner, NANOS_IN_MS, Pod, Running, container, labels, sandbox};
use crate::shim::message::last_words;

/// What a container is reported with whose end the daemon knows nothing about.
const LOST_CODE: i32 = 137;

impl Inner {
    pub(super) async fn adopt(&self) -> Result<Vec<AdoptedPod>, RuntimeError> {
        let told = |status: Status| unheard(&status);
        let of_worker = || labels::of_worker(&self.worker);
        let mut sandboxes: HashMap<String, Vec<cri::PodSandbox>> = HashMap::new();
        for sandbox in self.sandboxes(of_worker()).await.map_err(told)? {
            sandboxes.entry(labels::uid(&sandbox.labels).to_owned()).or_default().push(sandbox);
        }
        let mut containers: HashMap<String, Vec<cri::Container>> = HashMap::new();
        for container in self.containers(of_worker()).await.map_err(told)? {
            containers.entry(container.pod_sandbox_id.clone()).or_default().push(container);
        }
        let mut pods = Vec::new();
        for (uid, found) in sandboxes {
            let Ok(dir) = self.pods_dir.of(&uid) else { continue };
            let Some(current) = self.current(found).await.map_err(told)? else { continue };
            let of_it = containers.remove(&current.id).unwrap_or_default();
            pods.push(self.adopt_one(&dir, current, of_it).await.map_err(told)?);
        }
        pods.extend(self.left_behind(&pods)?);
        pods.sort_by(|a, b| a.sandbox.uid.cmp(&b.sandbox.uid));
        Ok(pods)
    }

    /// Of the sandboxes of a pod the one that counts: the newest that is ready, else the newest. Others are removed.
    async fn current(&self, mut found: Vec<cri::PodSandbox>) -> Result<Option<cri::PodSandbox>, Status> {
        found.sort_by_key(|it| (it.state() == cri::PodSandboxState::SandboxReady, it.created_at));
        let current = found.pop();
        for other in found {
            self.remove_sandbox(&other.id).await?;
        }
        Ok(current)
    }

    async fn adopt_one(
        &self,
        dir: &Path,
        found: cri::PodSandbox,
        containers: Vec<cri::Container>,
    ) -> Result<AdoptedPod, Status> {
        let metadata = found.metadata.clone().unwrap_or_default();
        let alive = found.state() == cri::PodSandboxState::SandboxReady;
        let sandbox = sandbox::read_record(dir).unwrap_or_else(|| PodSandbox {
            uid: metadata.uid.clone(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            ..PodSandbox::default()
        });
        if !alive {
            // What of it still runs has lost its network, and ends with it.
            let request = cri::StopPodSandboxRequest { pod_sandbox_id: found.id.clone() };
            self.daemon.runtime().stop_pod_sandbox(super::ask(request, super::CALL)).await?;
        }
        let (mut states, mut running) = (Vec::new(), BTreeMap::new());
        for container in containers {
            let status = match self.container_status(&container.id).await {
                Ok(status) => status,
                Err(status) if super::is_gone(&status) => continue,
                Err(status) => return Err(status),
            };
            let Some(state) = self.state_of(dir, &status) else { continue };
            if alive && state.phase == ContainerPhase::Running {
                let (id, attempt, started) = (container.id, state.attempt, state.started.clone());
                running.insert(state.name.clone(), Running::new(id, attempt, started));
            }
            states.push(state);
        }
        states.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
        if alive {
            let network = self.network(&found.id, sandbox.host_network).await;
            let cgroup = self.cgroup(&sandbox.uid);
            let cgroup = cgroup.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            let config = sandbox::config(&sandbox, &self.worker, &self.layout, cgroup);
            let kept = PodSandbox { blob: Vec::new(), ..sandbox.clone() };
            let (running, silenced) = (Mutex::new(running), AtomicBool::new(false));
            let pod = Pod { sandbox: kept, id: found.id, config, network, running, silenced };
            self.pods().insert(sandbox.uid.clone(), Arc::new(pod));
        }
        Ok(AdoptedPod { sandbox, alive, estranged: None, containers: states })
    }

    /// Pods that the daemon does not know any more, or never did. Folders in which nothing says of which pod they are go.
    fn left_behind(&self, known: &[AdoptedPod]) -> Result<Vec<AdoptedPod>, RuntimeError> {
        let told = |source: std::io::Error| {
            RuntimeError::CreateFailed(format!("list {}: {source}", self.pods_dir.path().display()))
        };
        let mut left = Vec::new();
        for entry in std::fs::read_dir(self.pods_dir.path()).map_err(told)? {
            let entry = entry.map_err(told)?;
            let uid = entry.file_name().to_string_lossy().into_owned();
            if known.iter().any(|pod| pod.sandbox.uid == uid) {
                continue;
            }
            let dir = entry.path();
            match sandbox::read_record(&dir) {
                Some(sandbox) => {
                    left.push(AdoptedPod { sandbox, alive: false, estranged: None, containers: Vec::new() });
                }
                None => {
                    tracing::warn!(pod_uid = uid, "pod directory without a pod: removing it");
                    if let Err(cause) = sandbox::unmount_all(&dir).and_then(|()| {
                        crate::remove::remove_dir_all(&dir).map_err(|source| source.to_string())
                    }) {
                        tracing::warn!(pod_uid = uid, cause, "it stays");
                    }
                }
            }
        }
        Ok(left)
    }

    /// A container as it is; nothing of one that was made and never started.
    fn state_of(&self, dir: &Path, status: &cri::ContainerStatus) -> Option<ContainerState> {
        let metadata = status.metadata.clone().unwrap_or_default();
        let phase = match status.state() {
            State::ContainerCreated => return None,
            // The watch ends those of which the daemon knows nothing.
            State::ContainerRunning | State::ContainerUnknown => ContainerPhase::Running,
            State::ContainerExited => ContainerPhase::Exited(exit(dir, status)),
        };
        Some(ContainerState {
            name: metadata.name,
            attempt: metadata.attempt,
            image: labels::image(status),
            started: self.started(status),
            phase,
        })
    }

    /// How a container ended, as the daemon has it.
    pub(super) async fn exit(&self, pod: &Pod, running: &Running) -> Option<Exit> {
        let dir = self.pods_dir.of(&pod.sandbox.uid).ok()?;
        match self.container_status(&running.id).await {
            Ok(status) => Some(exit(&dir, &status)),
            Err(status) if super::is_gone(&status) => Some(lost(running)),
            Err(status) => {
                tracing::warn!(cause = in_full(&status), "how a container ended cannot be known yet");
                None
            }
        }
    }
}

fn exit(dir: &Path, status: &cri::ContainerStatus) -> Exit {
    let metadata = status.metadata.clone().unwrap_or_default();
    let from_log = labels::message_from_log(status) && status.exit_code != 0;
    let file = container::message_file(&container::folder(dir, &metadata.name, metadata.attempt));
    let said = last_words(&file, from_log.then_some(Path::new(&status.log_path)));
    // The beginning is written down after it, and the end of what is soon over perhaps before that.
    let started_at_ms = status.started_at / NANOS_IN_MS;
    Exit {
        code: status.exit_code,
        // Daemons tell the code only.
        signal: None,
        oom_killed: status.reason == "OOMKilled",
        started_at_ms,
        finished_at_ms: (status.finished_at / NANOS_IN_MS).max(started_at_ms),
        message: if said.is_empty() { status.message.clone() } else { said },
    }
}

/// The end of a container that somebody else removed.
fn lost(running: &Running) -> Exit {
    Exit {
        code: LOST_CODE,
        signal: None,
        oom_killed: false,
        started_at_ms: running.started.started_at_ms,
        finished_at_ms: jiff::Timestamp::now().as_millisecond(),
        message: "the container could not be found when its end was looked for".to_owned(),
    }
}
