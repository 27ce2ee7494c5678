//! etcd as an anchor: three members on the same machine, in the same kind of namespaces and on the same kind of disks as our
//! controllers, spoken to in its own protocol. Without TLS, which costs it nothing.

mod client;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::runtime::Runtime;

use self::client::Client;
use super::{
    ours::{HOLD, until_whole},
    store::{Members, Store},
};
use crate::{
    client::runtime,
    cluster::CLIENT,
    ground::{Ground, command},
    host::{Disk, Host, Place, Role},
    net::{Cut, Net},
};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const MEMBERS: u32 = 3;

/// How it elects: heartbeat and election timeout in milliseconds.
pub(super) type Timing = (u32, u32);

/// As it comes.
pub(super) const DEFAULT: Timing = (100, 1000);
/// As quick as its manual allows on a local network.
pub(super) const TUNED: Timing = (50, 300);

/// A running etcd cluster. All of it is gone when it is dropped.
pub(super) struct Etcd {
    name: String,
    hosts: Vec<Host>,
    runtime: Runtime,
    client: Arc<Client>,
    net: Net,
    // Last: it removes everything.
    _ground: Ground,
}

/// The installed etcd's version; an error names what is missing.
pub(super) fn version() -> anyhow::Result<String> {
    if !command::exists("etcd") {
        bail!(
            "there is no etcd to compare with: install the Debian package etcd-server, or say --without-etcd"
        );
    }
    let text = command::run(&["etcd", "--version"])?;
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.context("etcd does not say its version")?.trim().to_owned())
}

impl Etcd {
    /// Starts a cluster; it is whole when this returns.
    pub(super) fn start(version: &str, timing: Timing) -> anyhow::Result<Etcd> {
        let ground = Ground::take()?;
        let names: Vec<String> = (0..MEMBERS).map(|n| format!("etcd-{n}")).collect();
        let wired: Vec<String> = names.iter().cloned().chain([CLIENT.into()]).collect();
        let net = Net::lay(&ground, &wired, 0)?;
        let mut hosts = Vec::new();
        for (n, name) in (0..).zip(&names) {
            let port = net.port(name)?;
            let address = net.address(port).to_string();
            let place = Place { run: ground.id(), root: ground.dir(), netns: net.netns(name), port, address };
            let disk = Disk::make(ground.dir(), name)?;
            hosts.push(Host::new(name.clone(), Role::Controller(n), n, place, Some(disk))?);
        }
        let peers = |host: &Host| format!("http://{}:{PEERS}", host.address);
        let members: Vec<String> =
            hosts.iter().map(|host| format!("{}={}", host.name, peers(host))).collect();
        for host in &hosts {
            let clients = format!("http://{}:{CLIENTS}", host.address);
            let data = host.dir.join("data").to_string_lossy().into_owned();
            let words = [
                ["etcd", "--name", &host.name],
                ["--data-dir", &data, "--initial-cluster-state=new"],
                ["--listen-peer-urls", &peers(host), "--logger=zap"],
                ["--initial-advertise-peer-urls", &peers(host), "--log-level=warn"],
                ["--listen-client-urls", &clients, "--enable-v2=false"],
                ["--advertise-client-urls", &clients, &format!("--heartbeat-interval={}", timing.0)],
                ["--initial-cluster", &members.join(","), &format!("--election-timeout={}", timing.1)],
            ];
            host.becomes(words.concat().into_iter().map(String::from).collect(), Vec::new());
            host.start()?;
        }
        let addresses = hosts.iter().map(|host| format!("http://{}:{CLIENTS}", host.address));
        let runtime = runtime(net.netns(CLIENT))?;
        let client = {
            let _inside = runtime.enter();
            Arc::new(Client::of(addresses)?)
        };
        let name = format!("etcd {version} {}/{} ms", timing.0, timing.1);
        let etcd = Etcd { name, hosts, runtime, client, net, _ground: ground };
        until_whole(&etcd)?;
        Ok(etcd)
    }
}

impl Members for Etcd {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self) -> usize {
        self.hosts.len()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.client.clone()
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn leader_of_whole(&self) -> anyhow::Result<usize> {
        let client = self.client.clone();
        let said = self.runtime.block_on(self.runtime.spawn(async move { client.statuses().await }))?;
        let said: Vec<_> = said.into_iter().collect::<anyhow::Result<_>>()?;
        let leader = said.first().map_or(0, |status| status.leader);
        ensure!(leader != 0 && said.iter().all(|status| status.leader == leader), "no common leader");
        let level = said.iter().all(|status| status.applied == said[0].applied);
        ensure!(level, "they are not level");
        said.iter().position(|status| status.own == leader).context("the leader is none of them")
    }

    fn one_leads(&self, among: &[usize]) -> anyhow::Result<bool> {
        let client = self.client.clone();
        let said = self.runtime.block_on(self.runtime.spawn(async move { client.statuses().await }))?;
        let said = said.iter().enumerate().filter(|(member, _)| among.contains(member));
        Ok(said.filter_map(|(_, status)| status.as_ref().ok()).any(|status| status.own == status.leader))
    }

    fn silence(&self, member: usize) -> anyhow::Result<Cut> {
        self.net.cut(&self.net.around(self.hosts[member].port))
    }

    fn strike(&self, member: usize) -> anyhow::Result<()> {
        ensure!(self.hosts[member].strike(HOLD), "member {member} did not run");
        Ok(())
    }

    fn bring_back(&self, member: usize) -> anyhow::Result<()> {
        self.hosts[member].crash(HOLD);
        self.hosts[member].let_up(HOLD)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for host in &self.hosts {
            host.terminate(Duration::from_secs(5));
        }
    }
}
