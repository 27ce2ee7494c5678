//! A cluster of real processes in a directory of its own, on ports of its own. Gone when dropped, also after a panic.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tempfile::TempDir;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The built binary.
    pub binary: PathBuf,
    /// How many controllers.
    pub controllers: usize,
    /// How many workers.
    pub workers: usize,
    /// An image archive that every worker gets.
    pub image: Option<PathBuf>,
    /// Settings of every process, as environment.
    pub environment: Vec<(String, String)>,
}

/// A running cluster.
pub struct Cluster {
    plan: Plan,
    dir: TempDir,
    port: u16,
}

/// The kubectl to test with: the one that `KUBECTL` names, else the one on the PATH.
pub fn kubectl_path() -> PathBuf {
    std::env::var_os("KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The example image's archive: the one that `KONTIKI_TEST_IMAGE` names, else built from `examples/` once.
pub fn example_image() -> anyhow::Result<PathBuf> {
    if let Some(image) = std::env::var_os("KONTIKI_TEST_IMAGE") {
        return Ok(image.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let image = root.join("target/web.tar");
    if !image.exists() {
        let mut build = Command::new(root.join("examples/build-image.sh"));
        build.arg(&image).current_dir(&root);
        checked(build)?;
    }
    Ok(image.canonicalize()?)
}

impl Plan {
    /// Three controllers and three workers of this binary.
    pub fn of(binary: impl Into<PathBuf>) -> Plan {
        Plan { binary: binary.into(), controllers: 3, workers: 3, image: None, environment: Vec::new() }
    }
}

impl Cluster {
    /// Starts a cluster; it is ready when this returns.
    pub fn start(plan: Plan) -> anyhow::Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("kontiki-test-").tempdir()?;
        let cluster = Cluster { plan, dir, port: free_port()? };
        cluster.up()?;
        Ok(cluster)
    }

    /// Starts what is missing.
    pub fn up(&self) -> anyhow::Result<String> {
        self.up_with(&[])
    }

    /// The same, with more in its environment.
    pub fn up_with(&self, environment: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut command = self.command();
        command.envs(environment.iter().copied());
        command.args(["up", "--detach"]);
        command.args(["--controllers", &self.plan.controllers.to_string()]);
        command.args(["--workers", &self.plan.workers.to_string()]);
        command.args(["--port", &self.port.to_string()]);
        command.arg("--data-dir").arg(self.dir());
        if let Some(image) = &self.plan.image {
            command.arg("--image").arg(image);
        }
        checked(command)
    }

    /// Stops everything.
    pub fn down(&self) -> anyhow::Result<String> {
        let mut command = self.command();
        command.arg("down").arg("--data-dir").arg(self.dir());
        checked(command)
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The address that all its controllers share.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        let file = self.dir().join("logs").join(format!("{name}.log"));
        std::fs::read(file).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// The binary, to be given a command.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.plan.binary);
        command.envs(self.plan.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the binary on this cluster and gives what it printed.
    pub fn kontiki(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command();
        command.args(args).arg("--data-dir").arg(self.dir());
        checked(command)
    }

    /// `kontiki status -o json`.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kontiki(&["status", "-o", "json"])?)?)
    }

    /// Runs kubectl and gives all it said.
    pub fn kubectl_output(&self, args: &[&str]) -> anyhow::Result<Output> {
        let cache = self.dir().join("kubectl-cache");
        Command::new(kubectl_path())
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", cache)
            .output()
            .with_context(|| format!("running {}", kubectl_path().display()))
    }

    /// Runs kubectl, which must succeed, and gives what it printed.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.kubectl_output(args)?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Applies a manifest given as text.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let file = self.dir().join("manifest.yaml");
        std::fs::write(&file, manifest)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()])
    }

    /// The process of a controller or worker.
    pub fn pid(&self, name: &str) -> anyhow::Result<Pid> {
        let status = self.status()?;
        let all = ["controllers", "workers"].map(|list| status[list].as_array().cloned().unwrap_or_default());
        let found = all.into_iter().flatten().find(|p| p["name"] == name).and_then(|p| p["pid"].as_i64());
        let pid = found.with_context(|| format!("no process of {name} in {status}"))?;
        Pid::from_raw(i32::try_from(pid)?).with_context(|| format!("{name} is not running"))
    }

    /// The leading controller's name.
    pub fn leader(&self) -> anyhow::Result<String> {
        self.of_the_leader("name")
    }

    /// The address of the leading controller alone.
    pub fn leader_address(&self) -> anyhow::Result<String> {
        self.of_the_leader("address")
    }

    fn of_the_leader(&self, field: &str) -> anyhow::Result<String> {
        let status = self.status()?;
        let leader = status["controllers"].as_array().into_iter().flatten().find(|c| c["role"] == "leader");
        let value =
            leader.and_then(|c| c[field].as_str()).with_context(|| format!("no leader in {status}"))?;
        Ok(value.to_string())
    }

    /// Signals a process of the cluster.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid(name)?, signal)?)
    }

    /// kill -9, until the process is gone: one that is still being torn down would be taken for one that runs.
    pub fn kill(&self, name: &str) -> anyhow::Result<()> {
        let process = pidfd_open(self.pid(name)?, PidfdFlags::empty())?;
        pidfd_send_signal(&process, Signal::KILL)?;
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience))? {
            0 => bail!("{name} was killed and is still there after {} s", patience.tv_sec),
            _ => Ok(()),
        }
    }
}

fn checked(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} failed: {err}{out}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.dir().join("logs")).into_iter().flatten().flatten() {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(25).collect();
                eprintln!("--- {}", entry.path().display());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        if let Err(error) = self.down() {
            eprintln!("stopping the cluster: {error:#}");
        }
    }
}
