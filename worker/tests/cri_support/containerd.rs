//! A containerd of a test's own: everything of it is in a temporary folder, and goes with it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

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

/// Whether it cannot run here, and says so.
pub fn is_missing() -> bool {
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

/// Where hierarchies of cgroups are, of either version.
pub fn cgroup_roots() -> Vec<PathBuf> {
    let below = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    below.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]).collect()
}

pub struct Containerd {
    pub dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Containerd {
    /// One that runs, and begins pods with this image, which it must be given or can pull.
    pub fn start(pause: &str) -> Self {
        let mut daemon = Self { dir: tempfile::tempdir().unwrap(), child: None };
        daemon.configure(pause);
        daemon.run();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn configure(&self, pause: &str) {
        let at = |name: &str| self.dir.path().join(name);
        for folder in ["cni", "bin", "certs"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(LOOPBACK, at("bin/loopback")).unwrap();
        std::fs::write(at("bin/none"), NO_NETWORK).unwrap();
        std::fs::set_permissions(at("bin/none"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let network = json!({ "cniVersion": "0.4.0", "name": "none", "plugins": [{ "type": "none" }] });
        std::fs::write(at("cni/10-none.conflist"), network.to_string()).unwrap();
        let dir = self.dir.path().display();
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
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Those that no daemon has ended: they are started with its socket.
    fn kill_shims(&self) {
        let socket = self.socket().display().to_string();
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

    /// In which cgroups its containers are.
    fn cgroups(&self) -> BTreeSet<PathBuf> {
        let path = |task: &PathBuf| -> Option<PathBuf> {
            let spec: Value = serde_json::from_slice(&std::fs::read(task.join("config.json")).ok()?).ok()?;
            Some(Path::new(spec["linux"]["cgroupsPath"].as_str()?.strip_prefix('/')?).to_owned())
        };
        self.tasks().iter().filter_map(path).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.end();
    }
}

impl Containerd {
    /// Ends it with all that it runs.
    pub fn end(&mut self) {
        // A test that failed half-way has left its containers running.
        let (until, cgroups) = (Instant::now() + CLEARING, self.cgroups());
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
        for root in cgroup_roots() {
            // A container's, and its pod's when that is empty.
            for path in cgroups.iter().flat_map(|path| path.ancestors().take(2)) {
                std::fs::remove_dir(root.join(path)).ok();
            }
        }
    }
}
