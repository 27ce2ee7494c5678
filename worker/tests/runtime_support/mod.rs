//! What the tests of the real runtime share: a small image, a worker, and pods on it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kontiki_worker::image::{Image, Registries, RegistriesFile, Root, Store};
use kontiki_worker::runtime::{
    ContainerSpec, Exit, PodSandbox, Runtime, RuntimeClass, RuntimeEvent, ShimConfig, ShimRuntime,
};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Far more than anything here takes: a test that reaches it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: &[&str] = &[
    "sh", "sleep", "echo", "cat", "id", "hostname", "ls", "nc", "dd", "true", "kill", "mount", "ps", "tty",
    "stty",
];

/// Why the tests of containers cannot run here, if they cannot.
pub fn cannot_run_containers() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: containers need root");
        return true;
    }
    if !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: {BUSYBOX} is missing (Debian: busybox-static)");
        return true;
    }
    false
}

/// Whether this machine has cgroups that can be used.
pub fn has_cgroups() -> bool {
    let root = Path::new("/sys/fs/cgroup");
    root.join("cgroup.controllers").exists() || root.join("memory/cgroup.procs").exists()
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar file in memory.
pub struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Tar {
    pub fn file(mut self, path: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(contents.len() as u64);
        header.set_mtime(1_000_000_000);
        self.put(header, path, contents);
        self
    }

    pub fn dir(mut self, path: &str, mode: u32) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        self.put(header, path, b"");
        self
    }

    pub fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_size(0);
        // Raw, for the builder refuses what hostile archives contain.
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.put(header, path, b"");
        self
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, path, target)
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Link, path, target)
    }

    /// Whatever a header may say that it is.
    pub fn other(mut self, kind: tar::EntryType, path: &str, contents: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        self.put(header, path, contents);
        self
    }

    fn put(&mut self, mut header: tar::Header, path: &str, contents: &[u8]) {
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An OCI archive of these layers. Each is (bytes as stored, uncompressed bytes).
pub fn oci_archive(name: &str, layers: &[(Vec<u8>, Vec<u8>)], config: serde_json::Value) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|(_, plain)| format!("sha256:{}", hex(plain))).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let descriptor = |bytes: &[u8]| json!({ "mediaType": "x", "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() });
    let layer_list: Vec<_> = layers.iter().map(|(stored, _)| descriptor(stored)).collect();
    let manifest =
        json!({ "schemaVersion": 2, "config": descriptor(config.as_bytes()), "layers": layer_list })
            .to_string();
    let mut listed = descriptor(manifest.as_bytes());
    listed["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [listed] }).to_string();
    let mut tar = Tar::default().file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#).file(
        "index.json",
        0o644,
        index.as_bytes(),
    );
    for blob in
        [manifest.as_bytes(), config.as_bytes()].into_iter().chain(layers.iter().map(|(it, _)| it.as_slice()))
    {
        tar = tar.file(&format!("blobs/sha256/{}", hex(blob)), 0o644, blob);
    }
    tar.finish()
}

pub fn plain(layer: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    (layer.clone(), layer)
}

/// An image with busybox in it.
pub fn busybox_archive() -> Vec<u8> {
    oci_archive("busybox:1", &[plain(busybox_layer())], json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] }))
}

/// Its files.
pub fn busybox_layer() -> Vec<u8> {
    let mut tar = Tar::default()
        .dir("bin/", 0o755)
        .file("bin/busybox", 0o755, &std::fs::read(BUSYBOX).unwrap())
        .dir("etc/", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:\nweb:x:1000:\ndata:x:2000:web\n")
        .dir("tmp/", 0o1777);
    for applet in APPLETS {
        tar = tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.finish()
}

/// An image's files, as its containers see them.
pub struct View {
    path: PathBuf,
    mount: Option<tempfile::TempDir>,
}

impl View {
    pub fn of(store: &Store, image: &Image) -> Self {
        let stack = match store.root(image) {
            Root::Flat(path) => return Self { path, mount: None },
            Root::Layers(stack) => stack,
        };
        let layers: Vec<PathBuf> = stack.layers.iter().map(|name| stack.dir.join(name).join("f")).collect();
        if let [path] = &layers[..] {
            return Self { path: path.clone(), mount: None };
        }
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<&str> = layers.iter().rev().map(|path| path.to_str().unwrap()).collect();
        let data = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
        rustix::mount::mount("overlay", dir.path(), "overlay", MountFlags::RDONLY, data.as_c_str()).unwrap();
        Self { path: dir.path().to_owned(), mount: Some(dir) }
    }
}

impl std::ops::Deref for View {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(dir) = &self.mount {
            rustix::mount::unmount(dir.path(), UnmountFlags::DETACH).ok();
        }
    }
}

/// A worker's directory with the image loaded.
pub struct Worker {
    pub dir: tempfile::TempDir,
    pub store: Arc<Store>,
    cgroup_parent: String,
}

impl Default for Worker {
    fn default() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }
}

impl Worker {
    /// On a disk of its own, of this size.
    pub fn on_disk_of(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), size.as_c_str()).unwrap();
        Self::in_folder(dir)
    }

    fn in_folder(dir: tempfile::TempDir) -> Self {
        let store = Arc::new(Store::open(dir.path().join("images")).unwrap());
        let archive = dir.path().join("busybox.tar");
        std::fs::write(&archive, busybox_archive()).unwrap();
        store.load(&archive).unwrap();
        let unique = dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
        Self { dir, store, cgroup_parent: format!("/kontiki-test-{unique}") }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A test that failed half-way has left its pods running.
        for pod in std::fs::read_dir(self.dir.path().join("pods")).into_iter().flatten().flatten() {
            let state = std::fs::read(pod.path().join("state.json")).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
            let pid = state["shim_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
            }
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            std::fs::remove_dir(hierarchy.path().join(&self.cgroup_parent[1..])).ok();
        }
        std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup_parent[1..])).ok();
        rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH).ok();
    }
}

impl Worker {
    /// An agent's runtime; several after another stand for restarts of the agent. Its shims are of this build, or of
    /// another one whose program `KONTIKI_TEST_SHIM` names.
    pub fn runtime(&self) -> Agent {
        self.runtime_with(vec![self.shim()])
    }

    /// The program of those shims.
    pub fn shim(&self) -> String {
        let shim = std::env::var("KONTIKI_TEST_SHIM").ok();
        shim.unwrap_or_else(|| env!("CARGO_BIN_EXE_kontiki-shim").to_owned())
    }

    /// The same, whose shims are started by this command.
    pub fn runtime_with(&self, shim_command: Vec<String>) -> Agent {
        self.runtime_of(ShimConfig { shim_command, ..self.config() })
    }

    /// What a worker's runtime is made of.
    pub fn config(&self) -> ShimConfig {
        ShimConfig {
            shim_command: vec![env!("CARGO_BIN_EXE_kontiki-shim").to_owned()],
            cgroup_parent: self.cgroup_parent.clone(),
            ..ShimConfig::new(self.dir.path())
        }
    }

    /// A runtime whose events nobody has taken.
    pub fn bare_runtime(&self) -> ShimRuntime {
        let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
        ShimRuntime::new(self.config(), Arc::clone(&self.store), registries).unwrap()
    }

    /// A runtime of this configuration.
    pub fn runtime_of(&self, config: ShimConfig) -> Agent {
        let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
        let runtime = ShimRuntime::new(config, Arc::clone(&self.store), registries).unwrap();
        let (events, logs) = (runtime.events(), self.dir.path().join("logs"));
        Agent { runtime: Arc::new(runtime), events, logs, image: "busybox:1".to_owned() }
    }

    /// The cgroup directories of a pod that exist.
    pub fn cgroups_of(&self, pod_uid: &str) -> Vec<PathBuf> {
        let roots =
            std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let paths = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
        paths
            .map(|root| root.join(&self.cgroup_parent[1..]).join(pod_uid))
            .filter(|path| path.exists())
            .collect()
    }
}

/// A runtime and its events.
pub struct Agent {
    pub runtime: Arc<dyn Runtime>,
    pub events: mpsc::Receiver<RuntimeEvent>,
    /// Those of the pod's containers.
    pub logs: PathBuf,
    /// Where busybox is in it.
    pub image: String,
}

impl Agent {
    pub fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.runtime.resolve_image(&self.image).unwrap(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: self.logs.join(name).join("0.log"),
            ..ContainerSpec::default()
        }
    }

    pub async fn start_pod(&self, uid: &str, class: RuntimeClass) {
        self.runtime.start_pod(sandbox(uid, class)).await.unwrap();
    }

    /// The next exit, which must be this container's.
    pub async fn exit_of(&mut self, container: &str) -> Exit {
        match self.event().await {
            RuntimeEvent::Exited { container: name, exit, .. } if name == container => exit,
            other => panic!("expected the exit of {container}, got {other:?}"),
        }
    }

    pub async fn event(&mut self) -> RuntimeEvent {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event comes")
            .expect("the runtime lives")
    }

    /// The text of a container's log, by output.
    pub fn log(&self, container: &str, output: &str) -> String {
        let text = std::fs::read_to_string(self.logs.join(container).join("0.log")).unwrap();
        let entries = text.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
        entries.filter(|entry| entry[1] == output).map(|entry| format!("{}\n", entry[3])).collect()
    }

    /// Runs a script to its end in a pod of its own making.
    pub async fn run(&mut self, pod: &str, spec: ContainerSpec) -> Exit {
        let name = spec.name.clone();
        self.runtime.start_container(pod, spec).await.unwrap();
        self.exit_of(&name).await
    }
}

pub fn sandbox(uid: &str, class: RuntimeClass) -> PodSandbox {
    PodSandbox {
        uid: uid.to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        hostname: "web-1".to_owned(),
        class,
        blob: b"assignment".to_vec(),
        ..PodSandbox::default()
    }
}
