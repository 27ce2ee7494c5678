//! A containerd of a test's own, a registry from which it pulls, and agents that have it run their containers.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

mod containerd;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use containerd::{Containerd, cgroup_roots};
use kontiki_worker::runtime::{
    ContainerSpec, CriConfig, CriRuntime, Exit, PodSandbox, Runtime, RuntimeError, RuntimeEvent,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::registry_support::{Registry, architecture, digest};
use crate::runtime_support::{self, PATIENCE, busybox_layer, cannot_run_containers, sandbox};

/// Why these tests cannot run here, if they cannot.
pub fn cannot_run_containerd() -> bool {
    cannot_run_containers() || containerd::is_missing()
}

pub struct Daemon {
    containerd: Containerd,
    pub registry: Registry,
}

impl Deref for Daemon {
    type Target = Containerd;

    fn deref(&self) -> &Containerd {
        &self.containerd
    }
}

impl DerefMut for Daemon {
    fn deref_mut(&mut self) -> &mut Containerd {
        &mut self.containerd
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.containerd.end();
        // The worker's; those of its pods went with the containers.
        let parent = self.config().cgroup_parent;
        for place in cgroup_roots().iter().map(|root| root.join(&parent[1..])) {
            for pod in std::fs::read_dir(&place).into_iter().flatten().flatten() {
                std::fs::remove_dir(pod.path()).ok();
            }
            std::fs::remove_dir(place).ok();
        }
    }
}

impl Daemon {
    /// One that runs, and a registry from which it can pull `busybox`.
    pub async fn start() -> Self {
        let registry = Registry::start().await;
        for (tag, command) in [("busybox", &["sh"][..]), ("pause", &["sleep", "2147483647"])] {
            put_image(&registry, tag, json!({ "Cmd": command, "Env": ["PATH=/bin"] }));
        }
        let containerd = Containerd::start(&registry.name("pause"));
        std::fs::create_dir(containerd.dir.path().join("worker")).unwrap();
        Self { containerd, registry }
    }

    /// Waits until something is so.
    pub async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    pub fn config(&self) -> CriConfig {
        let unique =
            self.dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
        CriConfig {
            cgroup_parent: format!("/kontiki-test-{unique}"),
            ..CriConfig::new(self.dir.path().join("sock"), self.data_dir())
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("worker")
    }

    /// An agent's runtime; several after another stand for restarts of the agent.
    pub async fn agent(&self) -> Agent {
        self.agent_of(self.config()).await
    }

    pub async fn agent_of(&self, config: CriConfig) -> Agent {
        let logs = config.data_dir.join("logs");
        let runtime = CriRuntime::connect(config).await.unwrap();
        let events = runtime.events();
        Agent { runtime, events, logs, image: self.registry.name("busybox") }
    }

    /// The same for tests of any runtime.
    pub async fn plain_agent(&self, config: CriConfig) -> runtime_support::Agent {
        let Agent { runtime, events, logs, image } = self.agent_of(config).await;
        if runtime.resolve_image(&image).is_none() {
            runtime.pull_image(&image, &[]).await.unwrap();
        }
        runtime_support::Agent {
            runtime: Arc::new(runtime),
            events,
            logs: logs.join("default_web_pod"),
            image,
        }
    }

    /// The cgroup directories of a pod that exist.
    pub fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf> {
        let parent = self.config().cgroup_parent;
        let paths = cgroup_roots().into_iter().map(|root| root.join(&parent[1..]).join(pod_uid));
        paths.filter(|path| path.exists()).collect()
    }
}

/// Puts an image of busybox into a registry, in all the words that containerd goes by.
pub fn put_image(registry: &Registry, tag: &str, config: Value) -> String {
    const OCI: &str = "application/vnd.oci.image";
    let layer = busybox_layer();
    let document = json!({ "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] } });
    let described = |kind: &str, bytes: &[u8]| {
        let mut blob = registry.put_blob(bytes);
        blob["mediaType"] = format!("{OCI}.{kind}").into();
        blob
    };
    let manifest = json!({ "schemaVersion": 2, "mediaType": format!("{OCI}.manifest.v1+json"),
        "config": described("config.v1+json", document.to_string().as_bytes()),
        "layers": [described("layer.v1.tar", &layer)] });
    registry.put_manifest(Some(tag), &manifest)
}

/// A runtime and its events.
pub struct Agent {
    pub runtime: CriRuntime,
    pub events: mpsc::Receiver<RuntimeEvent>,
    pub logs: PathBuf,
    pub image: String,
}

impl Agent {
    /// A pod that runs, and the image for its containers.
    pub async fn start_pod(&self, uid: &str) {
        self.start(pod(uid)).await;
    }

    pub async fn start(&self, pod: PodSandbox) {
        if self.runtime.resolve_image(&self.image).is_none() {
            self.runtime.pull_image(&self.image, &[]).await.unwrap();
        }
        self.runtime.start_pod(pod).await.unwrap();
    }

    pub fn spec(&self, uid: &str, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.runtime.resolve_image(&self.image).unwrap(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: self.log_path(uid, name, 0),
            ..ContainerSpec::default()
        }
    }

    pub fn log_path(&self, uid: &str, name: &str, attempt: u32) -> PathBuf {
        self.logs.join(format!("default_web_{uid}")).join(name).join(format!("{attempt}.log"))
    }

    pub async fn event(&mut self) -> RuntimeEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event comes").expect("the runtime lives")
    }

    /// The next exit, which must be this container's.
    pub async fn exit_of(&mut self, container: &str) -> Exit {
        match self.event().await {
            RuntimeEvent::Exited { container: name, exit, .. } if name == container => exit,
            other => panic!("expected the exit of {container}, got {other:?}"),
        }
    }

    /// Runs a script to its end; answers its output.
    pub async fn said(&mut self, uid: &str, spec: ContainerSpec) -> (Exit, String) {
        let (name, attempt) = (spec.name.clone(), spec.attempt);
        self.runtime.start_container(uid, spec).await.unwrap();
        let exit = self.exit_of(&name).await;
        (exit, self.log(uid, &name, attempt, "stdout"))
    }

    /// The text of a container's log, of one of its outputs.
    pub fn log(&self, uid: &str, name: &str, attempt: u32, output: &str) -> String {
        let text = std::fs::read_to_string(self.log_path(uid, name, attempt)).unwrap();
        let entries = text.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
        entries.filter(|entry| entry[1] == output).map(|entry| format!("{}\n", entry[3])).collect()
    }

    /// Runs a command in a container until it ends with 0.
    pub async fn until(&self, uid: &str, container: &str, script: &str) {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let done = async {
            loop {
                let output = self.runtime.exec(uid, container, command.clone(), PATIENCE).await.unwrap();
                if output.code == 0 {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, done).await.unwrap();
    }

    pub async fn exec(&self, uid: &str, container: &str, script: &str) -> Result<String, RuntimeError> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.runtime.exec(uid, container, command, PATIENCE).await?;
        Ok(String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }
}

pub fn pod(uid: &str) -> PodSandbox {
    sandbox(uid, Default::default())
}
