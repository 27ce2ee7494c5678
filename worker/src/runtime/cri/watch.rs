//! What happens unasked: the daemon is asked from time to time which containers run, as the kubelet does (its PLEG), and at once when
//! something says that one may have ended. Logs that have become long begin anew.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki_proto::cri;
use kontiki_proto::cri::ContainerState as State;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::super::RuntimeEvent;
use super::daemon::{CALL, ask, in_full};
use super::{Inner, Pod, Running, labels};

/// How often containers are looked at. The answers come from the daemon's memory.
const PERIOD: Duration = Duration::from_millis(500);
/// How often images and the lengths of logs are.
const SELDOM: Duration = Duration::from_secs(10);
/// The code of a container that was ended by KILL.
const KILLED: i32 = 128 + 9;
/// Before events are asked for again after they broke off.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// What of a daemon's configuration matters here, as containerd tells it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) sandbox_image: String,
    pub(super) systemd_cgroups: bool,
}

impl Settings {
    pub(super) fn of(config: Option<&String>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Config {
            sandbox_image: String,
            systemd_cgroup: bool,
            containerd: Containerd,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Containerd {
            default_runtime_name: String,
            runtimes: HashMap<String, Handler>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Handler {
            options: Option<HashMap<String, serde_json::Value>>,
        }
        let config: Config = config.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let Containerd { default_runtime_name, runtimes } = config.containerd;
        let options = runtimes.get(&default_runtime_name).and_then(|it| it.options.as_ref());
        let systemd = options.and_then(|it| it.get("SystemdCgroup")).and_then(serde_json::Value::as_bool);
        Self {
            sandbox_image: config.sandbox_image,
            systemd_cgroups: config.systemd_cgroup || systemd.unwrap_or(false),
        }
    }
}

/// Looks until it is dropped.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seldom = Instant::now() + SELDOM;
    let mut heard = true;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.look.notified() => {}
        }
        let looked = inner.look_at_all().await;
        match (&looked, heard) {
            (Err(status), true) => warn!(
                cause = in_full(status),
                "the container runtime does not say which containers run: they are taken to run on as they did"
            ),
            (Ok(()), false) => info!("the container runtime says again which containers run"),
            _ => {}
        }
        heard = looked.is_ok();
        if heard && Instant::now() >= seldom {
            seldom = Instant::now() + SELDOM;
            if let Err(status) = inner.images.refresh().await {
                warn!(cause = in_full(&status), "the container runtime does not say which images it holds");
            }
            inner.begin_long_logs_anew().await;
        }
    }
}

/// Looks whenever the daemon says that something happened, if it does so at all.
pub(super) async fn listen(inner: Arc<Inner>) {
    loop {
        match inner.daemon.runtime().get_container_events(cri::GetEventsRequest {}).await {
            Ok(events) => {
                let mut events = events.into_inner();
                while let Ok(Some(event)) = events.message().await {
                    if event.container_event_type() == cri::ContainerEventType::ContainerStoppedEvent {
                        inner.look.notify_one();
                    }
                }
            }
            Err(status) if status.code() == Code::Unimplemented => {
                return debug!("the container runtime tells no events: it is asked instead");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

impl Inner {
    /// Tells what has ended since the last look.
    async fn look_at_all(&self) -> Result<(), Status> {
        // First those that are known: what is started meanwhile is not taken for gone.
        let known: Vec<Arc<Pod>> = self.pods().values().cloned().collect();
        let known: Vec<_> = known
            .into_iter()
            .map(|pod| {
                let running = pod.running().clone();
                (pod, running)
            })
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        let of_worker = || labels::of_worker(&self.worker);
        let sandboxes = self.sandboxes(of_worker()).await?;
        let containers = self.containers(of_worker()).await?;
        let ready: HashSet<&str> = sandboxes
            .iter()
            .filter(|it| it.state() == cri::PodSandboxState::SandboxReady)
            .map(|it| it.id.as_str())
            .collect();
        let states: HashMap<&str, State> = containers.iter().map(|it| (it.id.as_str(), it.state())).collect();
        for (pod, running) in known {
            for (name, running) in running {
                match states.get(running.id.as_str()) {
                    Some(State::ContainerRunning | State::ContainerCreated) => {}
                    // It lost it while it was down, and finds it again by ending it.
                    Some(State::ContainerUnknown) => self.stop(&running.id, 0).await,
                    Some(State::ContainerExited) | None => self.tell_exit(&pod, name, running).await,
                }
            }
            if !ready.contains(pod.id.as_str()) {
                self.tell_lost(&pod).await;
            }
        }
        Ok(())
    }

    async fn tell_exit(&self, pod: &Pod, container: String, running: Running) {
        let Some(exit) = self.exit(pod, &running).await else { return };
        {
            let mut known = pod.running();
            let Some(it) = known.get_mut(&container).filter(|it| it.id == running.id) else { return };
            if exit.code == KILLED && !exit.oom_killed && !std::mem::replace(&mut it.killed, true) {
                // The next look tells it.
                return;
            }
            known.remove(&container);
        }
        if pod.silenced.load(Ordering::Acquire) {
            return;
        }
        let (pod_uid, attempt) = (pod.sandbox.uid.clone(), running.attempt);
        self.events.send(RuntimeEvent::Exited { pod_uid, container, attempt, exit }).await.ok();
    }

    async fn tell_lost(&self, pod: &Pod) {
        {
            let mut pods = self.pods();
            if pods.get(&pod.sandbox.uid).is_none_or(|known| known.id != pod.id) {
                return;
            }
            pods.remove(&pod.sandbox.uid);
        }
        if pod.silenced.load(Ordering::Acquire) {
            return;
        }
        self.events.send(RuntimeEvent::PodLost { pod_uid: pod.sandbox.uid.clone() }).await.ok();
    }

    /// A log that is too long becomes the older half, and the daemon opens another one.
    async fn begin_long_logs_anew(&self) {
        let pods: Vec<Arc<Pod>> = self.pods().values().cloned().collect();
        for pod in pods {
            let running: Vec<(String, Running)> =
                pod.running().iter().map(|(name, it)| (name.clone(), it.clone())).collect();
            for (name, Running { id, attempt, .. }) in running {
                let path = Path::new(&pod.config.log_directory).join(name).join(format!("{attempt}.log"));
                let most = self.config.log_bytes_max;
                let long = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|it| it.len() > most);
                if !long(&path) {
                    continue;
                }
                let older = path.with_extension("log.1");
                if std::fs::rename(&path, &older).is_err() {
                    continue;
                }
                let request = cri::ReopenContainerLogRequest { container_id: id };
                if let Err(status) = self.daemon.runtime().reopen_container_log(ask(request, CALL)).await {
                    warn!(path = %path.display(), cause = in_full(&status), "a log could not be begun anew");
                    // The daemon goes on writing to it.
                    std::fs::rename(&older, &path).ok();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_settings_are_read_as_containerd_tells_them() {
        let of = |json: &str| {
            let settings = Settings::of(Some(&json.to_owned()));
            (settings.sandbox_image, settings.systemd_cgroups)
        };
        let told = r#"{"containerd":{"defaultRuntimeName":"runc","runtimes":{"runc":{"runtimeType":"x",
            "options":{"SystemdCgroup":true,"BinaryName":""}}}},"sandboxImage":"pause:1"}"#;
        assert_eq!(of(told), ("pause:1".to_owned(), true));
        let files = told.replace("true", "false");
        assert_eq!(of(&files), ("pause:1".to_owned(), false));
        let none = files.replace("{\"SystemdCgroup\":false,\"BinaryName\":\"\"}", "null");
        assert!(!of(&none).1);
        assert_eq!(of("no"), (String::new(), false));
        assert!(!Settings::of(None).systemd_cgroups);
    }
}
