//! A cluster of real processes on hosts of its own, made by the commands that its operators use: the first controller begins it,
//! everybody else joins with a token.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_chaos_plan::{names, plan::Shape};
use kontiki_pki::Identity;
use serde_json::{Value, json};

use crate::{
    ground::{Ground, command},
    host::{Disk, Host, Place, Role, wipe},
    nemesis,
    net::Net,
};

/// The host from which clients call.
pub const CLIENT: &str = "client";
const PORT: u16 = 6443;
/// A cluster that is not ready by then has a problem that waiting does not solve.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);
/// More entries than a run writes: the whole log stays and can be read after the end.
const WHOLE_LOG: &str = "100000000";

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The built binary.
    pub binary: PathBuf,
    /// The archive of the image that pods name.
    pub image: Option<PathBuf>,
    /// Start processes so that their clocks can be changed.
    pub clocks: bool,
    /// Let controllers take snapshots and purge their logs, all but the [`Cluster::witness`].
    pub snapshots: bool,
    /// Play so many workers on each worker's host instead of one real one; 0: real ones.
    pub crowd: u32,
}

/// A running cluster. All of it is gone when it is dropped.
pub struct Cluster {
    /// Controllers first, then workers.
    pub hosts: Vec<Arc<Host>>,
    /// Its network.
    pub net: Net,
    /// What it is made of.
    pub setup: Setup,
    /// How it was asked to be.
    pub shape: Shape,
    kubeconfig: PathBuf,
    identity: OnceLock<anyhow::Result<Identity>>,
    clock_library: Option<PathBuf>,
    // Last: it removes everything.
    ground: Ground,
}

impl Cluster {
    /// Starts a cluster; it is ready when this returns.
    pub fn start(setup: Setup, shape: &Shape, seed: u64) -> anyhow::Result<Cluster> {
        kontiki_pki::install_crypto();
        let ground = Ground::take()?;
        let controllers = (0..shape.controllers).map(|n| (names::controller(n), Role::Controller(n), n));
        let workers = (0..shape.workers).map(|n| (names::worker(n), Role::Worker(n), n));
        let all: Vec<_> = controllers.chain(workers).collect();
        let mut wired: Vec<String> = all.iter().map(|(name, ..)| name.clone()).collect();
        wired.push(CLIENT.into());
        let net = Net::lay(&ground, &wired, seed)?;
        let mut hosts = Vec::new();
        for (name, role, n) in all {
            let port = net.port(&name)?;
            let address = format!("{}:{PORT}", net.address(port));
            let place =
                Place { run: ground.id(), root: ground.dir(), netns: net.netns(&name), port, address };
            let disk = match role {
                Role::Controller(_) => Some(Disk::make(ground.dir(), &name)?),
                Role::Worker(_) => None,
            };
            hosts.push(Arc::new(Host::new(name, role, shape.zone_of(n), place, disk)?));
        }
        let kubeconfig = ground.dir().join("kubeconfig");
        let clock_library = if setup.clocks { nemesis::clock::library(ground.dir()) } else { None };
        let cluster = Cluster {
            hosts,
            net,
            setup,
            shape: shape.clone(),
            kubeconfig,
            identity: OnceLock::new(),
            clock_library,
            ground,
        };
        cluster.begin()?;
        Ok(cluster)
    }

    fn begin(&self) -> anyhow::Result<()> {
        let first = &self.hosts[0];
        self.becomes(first, &["--bootstrap"])?;
        first.start()?;
        let own = first.dir.join("kubeconfig");
        self.wait("the first controller", || own.exists().then_some(()))?;
        let identity = self.identity.get_or_init(|| kontiki_chaos_tests::identity(&own));
        self.write_kubeconfig(identity.as_ref().map_err(|error| anyhow!("{error:#}"))?)?;
        for host in self.controllers().skip(1) {
            self.join(host, false)?;
        }
        let voters = self.controllers().count();
        self.wait("all controllers to vote", || {
            let members = self.members().ok()?;
            (members.iter().filter(|m| m["voter"] == true).count() == voters).then_some(())
        })?;
        if let Some(image) = &self.setup.image {
            let (image, dir) = (image.to_string_lossy(), self.dir().to_string_lossy().into_owned());
            command::run(&[&self.binary(), "image", "load", &image, "--data-dir", &dir])?;
        }
        let token = self.token("worker")?;
        for host in self.workers() {
            match self.setup.crowd {
                0 => self.becomes(host, &["--join", &token])?,
                nodes => self.becomes_crowd(host, nodes)?,
            }
            host.start()?;
        }
        let workers = self.workers().count() * self.setup.crowd.max(1) as usize;
        self.wait("all workers to be ready", || {
            let status = self.status().ok()?;
            let ready = status["workers"].as_array()?.iter().filter(|w| w["state"] == "Ready").count();
            (ready == workers).then_some(())
        })
    }

    /// Sets what a host's process is; `how` is how it enters the cluster.
    fn becomes(&self, host: &Host, how: &[&str]) -> anyhow::Result<()> {
        let (kind, host_ip) = (host.role, host.address.trim_end_matches(&format!(":{PORT}")));
        let mut words = vec![self.binary()];
        let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        let (name, dir) = (host.name.as_str(), host.dir.to_string_lossy());
        let others: Vec<&str> = self.controllers().map(|c| c.address.as_str()).collect();
        let environment = match &self.clock_library {
            Some(library) => nemesis::clock::environment(library, &self.clock_file(name))?,
            None => Vec::new(),
        };
        match kind {
            Role::Controller(_) => {
                say(&["controller", "run", "--listen", &host.address, "--advertise", &host.address]);
                say(&["--election-timeout-ms", &self.shape.election_ms.to_string()]);
                say(&["--node-grace-ms", &self.shape.node_grace_ms.to_string()]);
                let few = self.shape.snapshot_entries.to_string();
                let purges = self.setup.snapshots && self.witness().as_deref() != Some(name);
                say(&["--snapshot-entries", if purges { &few } else { WHOLE_LOG }]);
            }
            Role::Worker(_) => {
                let images = self.dir().join("images");
                say(&["worker", "run", "--listen", &format!("{host_ip}:10250")]);
                say(&["--images", &images.to_string_lossy()]);
                say(&["--max-pods", &self.shape.node_pods.to_string()]);
                say(&["--cpu-milli", &self.shape.node_cpu_m.to_string()]);
                say(&["--memory-bytes", &(self.shape.node_memory_mib << 20).to_string()]);
            }
        }
        say(&["--name", name, "--zone", &names::zone(host.zone), "--data-dir", &dir]);
        if !how.contains(&"--bootstrap") {
            say(&["--server", &others.join(",")]);
        }
        say(how);
        host.becomes(words, environment);
        Ok(())
    }

    /// Lets a controller join, a new one or in the place of one that is lost.
    fn join(&self, host: &Host, replace: bool) -> anyhow::Result<()> {
        let token = self.token("controller")?;
        let how: &[&str] = if replace { &["--join", &token, "--replace"] } else { &["--join", &token] };
        self.becomes(host, how)?;
        host.start()
    }

    /// What an operator does with a controller whose data is gone or useless: away with it, and in again as a new member. It must
    /// be down.
    pub fn replace(&self, host: &Host) -> anyhow::Result<()> {
        wipe(&host.dir)?;
        self.join(host, true)
    }

    /// The same, as soon as the others can take it in: a cluster without a leader gives no tokens.
    pub fn replace_when_possible(&self, host: &Host, pause: impl Fn()) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.replace(host) {
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => pause(),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// The controllers.
    pub fn controllers(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.iter().filter(|host| matches!(host.role, Role::Controller(_)))
    }

    /// The controller that keeps its whole log, whatever the others do: the last one.
    pub fn witness(&self) -> Option<String> {
        self.controllers().last().map(|host| host.name.clone())
    }

    /// The workers.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.iter().filter(|host| matches!(host.role, Role::Worker(_)))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.ground.dir()
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        self.ground.id()
    }

    /// The library by which hosts' clocks are changed, if they can be.
    pub fn clock_library(&self) -> Option<&Path> {
        self.clock_library.as_deref()
    }

    /// The file by which a host's clock is set.
    pub fn clock_file(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}.clock"))
    }

    pub(crate) fn binary(&self) -> String {
        self.setup.binary.to_string_lossy().into_owned()
    }

    /// Runs a command of the binary as an operator, from the clients' host.
    pub fn kontiki(&self, args: &[&str]) -> anyhow::Result<String> {
        let [nsenter, net] = command::inside(&self.net.netns(CLIENT));
        let (binary, file) = (self.binary(), self.kubeconfig.to_string_lossy());
        let own = ["timeout", "20", &nsenter, &net, &binary];
        command::run(&[&own[..], args, &["--kubeconfig", &file]].concat())
    }

    /// `kontiki status`.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.kontiki(&["status", "-o", "json"])?)?)
    }

    /// The members: id, name, voter, role.
    pub fn members(&self) -> anyhow::Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.kontiki(&["members", "list", "-o", "json"])?)?;
        list["members"].as_array().cloned().context("no members")
    }

    fn token(&self, role: &str) -> anyhow::Result<String> {
        Ok(self.kontiki(&["token", "create", "--role", role])?.trim().to_owned())
    }

    /// The administrator's identity: the one that the first controller made.
    pub fn identity(&self) -> anyhow::Result<Identity> {
        let identity = self.identity.get().context("the cluster has not begun")?;
        identity.as_ref().cloned().map_err(|error| anyhow!("{error:#}"))
    }

    /// A kubeconfig that knows every controller.
    fn write_kubeconfig(&self, identity: &Identity) -> anyhow::Result<()> {
        let ca = STANDARD.encode(identity.ca_cert_pem());
        let clusters = self.controllers().map(|host| {
            let server = format!("https://{}", host.address);
            json!({"name": host.name, "cluster": {"server": server, "certificate-authority-data": ca}})
        });
        let contexts = self
            .controllers()
            .map(|host| json!({"name": host.name, "context": {"cluster": host.name, "user": "admin"}}));
        let user = json!({"client-certificate-data": STANDARD.encode(identity.cert_pem()),
                          "client-key-data": STANDARD.encode(identity.key_pem())});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": self.hosts[0].name,
            "clusters": clusters.collect::<Vec<_>>(), "contexts": contexts.collect::<Vec<_>>(),
            "users": [{"name": "admin", "user": user}],
        });
        // JSON is YAML.
        fs::write(&self.kubeconfig, config.to_string()).context("the kubeconfig")
    }

    /// Waits for something, and says of every process that ended meanwhile why.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            for host in &self.hosts {
                if let Some(words) = host.tend()? {
                    eprintln!("{} ended: {words}", host.name);
                }
            }
            if Instant::now() > end {
                bail!("waited for {what} in vain for {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
    }
}
