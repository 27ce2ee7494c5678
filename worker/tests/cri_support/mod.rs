//! A containerd of a test's own: everything of it is in a temporary folder, and goes with it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kontiki_worker::runtime::{
    ContainerSpec, CriConfig, CriRuntime, Exit, PodSandbox, Runtime, RuntimeError, RuntimeEvent,
};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::registry_support::{Registry, architecture, digest};
use crate::runtime_support::{self, PATIENCE, busybox_layer, cannot_run_containers, sandbox};

/// Names containerd where it must be there, as in CI; else tests are skipped that do not find it.
const NAMED: &str = "CONTAINERD";
const CONTAINERD: &str = "/usr/bin/containerd";
/// It brings up the loopback of pods; Debian has it in containernetworking-plugins.
const LOOPBACK: &str = "/usr/lib/cni/loopback";
/// How long what a test that failed has left is waited for.
const CLEARING: Duration = Duration::from_secs(10);

/// Pods have their loopback only, of which a daemon brings up itself; but it insists on an interface with an address.
const NO_NETWORK: &str = r#"#!/bin/sh
case "$CNI_COMMAND" in
ADD) printf '{"cniVersion":"0.4.0","interfaces":[{"name":"%s","sandbox":"%s"}],' "$CNI_IFNAME" "$CNI_NETNS"
     printf '"ips":[{"version":"4","interface":0,"address":"127.0.0.1/8"}]}' ;;
VERSION) printf '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}' ;;
esac
"#;

fn containerd() -> PathBuf {
    std::env::var_os(NAMED).map_or_else(|| CONTAINERD.into(), PathBuf::from)
}

/// Why these tests cannot run here, if they cannot.
pub fn cannot_run_containerd() -> bool {
    if cannot_run_containers() {
        return true;
    }
    let needed = [
        (containerd(), "containerd"),
        ("/usr/bin/runc".into(), "runc"),
        (LOOPBACK.into(), "containernetworking-plugins"),
    ];
    for (path, package) in needed {
        if !path.exists() {
            let missing = format!("{} is missing (Debian: {package})", path.display());
            assert!(std::env::var_os(NAMED).is_none(), "{NAMED} is set, but {missing}");
            eprintln!("skipped: {missing}");
            return true;
        }
    }
    false
}

pub struct Daemon {
    pub dir: tempfile::TempDir,
    pub registry: Registry,
    child: Option<Child>,
}

impl Daemon {
    /// One that runs, and a registry from which it can pull `busybox`.
    pub async fn start() -> Self {
        let registry = Registry::start().await;
        for (tag, command) in [("busybox", &["sh"][..]), ("pause", &["sleep", "2147483647"])] {
            put_image(&registry, tag, json!({ "Cmd": command, "Env": ["PATH=/bin"] }));
        }
        let mut daemon = Self { dir: tempfile::tempdir().unwrap(), registry, child: None };
        daemon.configure();
        daemon.run();
        daemon
    }

    fn configure(&self) {
        let at = |name: &str| self.dir.path().join(name);
        for folder in ["cni", "bin", "certs", "worker"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(LOOPBACK, at("bin/loopback")).unwrap();
        std::fs::write(at("bin/none"), NO_NETWORK).unwrap();
        std::fs::set_permissions(at("bin/none"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let network = json!({ "cniVersion": "0.4.0", "name": "none", "plugins": [{ "type": "none" }] });
        std::fs::write(at("cni/10-none.conflist"), network.to_string()).unwrap();
        let (dir, pause) = (self.dir.path().display(), self.registry.name("pause"));
        // Not every machine lets its root protect processes from want of memory, which a daemon would do with sandboxes.
        let config = format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
address = "{dir}/sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{dir}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{dir}/bin"
conf_dir = "{dir}/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{dir}/certs"
"#
        );
        std::fs::write(at("config.toml"), config).unwrap();
    }

    /// Starts it, again if it was stopped.
    pub fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let mut command = Command::new(containerd());
        command.arg("--config").arg(self.dir.path().join("config.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        self.child = Some(command.spawn().unwrap());
    }

    /// Kills it; containers run on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its own client, for what CRI has no word for.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("/usr/bin/ctr");
        command.arg("--address").arg(self.dir.path().join("sock")).args(["--namespace", "k8s.io"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
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

    /// Those that no daemon has ended: they are started with its socket.
    fn kill_shims(&self) {
        let socket = self.dir.path().join("sock").display().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            let ours = command.contains("containerd-shim") && command.contains(&socket);
            if let Some(pid) = pid.filter(|_| ours) {
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
    }

    /// The folders of tasks that the daemon has.
    fn tasks(&self) -> Vec<PathBuf> {
        let tasks = self.dir.path().join("state/io.containerd.runtime.v2.task/k8s.io");
        std::fs::read_dir(tasks).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// The cgroup directories of a pod that exist.
    pub fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf> {
        let parent = self.config().cgroup_parent;
        let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let paths = roots.map(|root| root.path().join(&parent[1..]).join(pod_uid));
        paths.filter(|path| path.exists()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed half-way has left its containers running.
        let until = Instant::now() + CLEARING;
        while !self.tasks().is_empty() && Instant::now() < until {
            for task in self.tasks() {
                let pid = std::fs::read_to_string(task.join("init.pid")).unwrap_or_default();
                if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
                    rustix::process::kill_process(pid, Signal::KILL).ok();
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        self.kill_shims();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|it| Path::new(it).starts_with(self.dir.path()));
        for place in below.collect::<Vec<_>>().into_iter().rev() {
            rustix::mount::unmount(place, UnmountFlags::DETACH).ok();
        }
        let parent = self.config().cgroup_parent;
        for root in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for pod in std::fs::read_dir(root.path().join(&parent[1..])).into_iter().flatten().flatten() {
                for container in std::fs::read_dir(pod.path()).into_iter().flatten().flatten() {
                    std::fs::remove_dir(container.path()).ok();
                }
                std::fs::remove_dir(pod.path()).ok();
            }
            std::fs::remove_dir(root.path().join(&parent[1..])).ok();
        }
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
