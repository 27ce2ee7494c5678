//! Three controllers of the built binary, asked over Kubernetes' REST API with mutual TLS.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::Method;
use kontiki_chaos_tests::{Cluster, Plan, identity};
use serde_json::{Value, json};

use super::{CONNECTIONS, Process, Store, VALUE};
use kontiki_load::Rest;

/// ConfigMaps are the values.
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// All simulated workers are ready by then, or never.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);

/// Simulated workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    nodes: usize,
    /// What their names begin with.
    prefix: &'static str,
    /// With commas.
    zones: &'static str,
    cpu_milli: u64,
    memory_mib: u64,
    max_pods: u64,
    start_ms: u64,
}

impl Crowd {
    /// With room for whatever is asked of them.
    pub(crate) fn roomy(nodes: usize) -> Crowd {
        Crowd {
            nodes,
            prefix: "sim-",
            zones: "a,b,c",
            cpu_milli: 1_000_000,
            memory_mib: 16 << 10,
            max_pods: 10_000,
            start_ms: 20,
        }
    }

    /// As the nodes of kube-scheduler's own tests: four cores, 32 GiB, 110 pods. Nothing that they are given ever runs.
    pub(crate) fn like_scheduler_perf(nodes: usize, zones: &'static str) -> Crowd {
        let hour_ms = 3_600_000;
        Crowd { start_ms: hour_ms, ..Crowd::running(nodes, "sim-", zones) }
    }

    /// The same size of nodes, on which pods run.
    pub(crate) fn running(nodes: usize, prefix: &'static str, zones: &'static str) -> Crowd {
        Crowd { nodes, prefix, zones, cpu_milli: 4000, memory_mib: 32 << 10, max_pods: 110, start_ms: 20 }
    }

    /// What plays them.
    pub(crate) fn command(&self, binary: &Path, cluster: &Cluster) -> Command {
        let mut command = Command::new(binary);
        let figures = [
            ("--nodes", self.nodes as u64),
            ("--cpu-milli", self.cpu_milli),
            ("--memory-mib", self.memory_mib),
            ("--max-pods", self.max_pods),
            ("--start-ms", self.start_ms),
        ];
        command.args(["worker", "simulate", "--prefix", self.prefix, "--zones", self.zones]);
        command.args(["--server", &cluster.address()]);
        for (name, value) in figures {
            command.arg(name).arg(value.to_string());
        }
        command.arg("--ca").arg(cluster.dir().join("ca"));
        command
    }
}

/// A cluster of its own, gone when this is dropped.
pub(crate) struct Kontiki {
    // Before the cluster, so that the workers go first.
    crowd: Option<Process>,
    connections: Vec<Rest>,
    servers: Vec<i32>,
    version: String,
    cluster: Cluster,
}

impl Kontiki {
    /// Starts three controllers without workers.
    pub(crate) async fn start(binary: &Path) -> anyhow::Result<Kontiki> {
        let cluster = Cluster::start(Plan { workers: 0, ..Plan::of(binary) })?;
        let status = cluster.status()?;
        let mut controllers = status["controllers"].as_array().cloned().unwrap_or_default();
        controllers.sort_by_key(|controller| controller["role"] != "leader");
        let identity = identity(&cluster.kubeconfig())?;
        let (mut addresses, mut servers) = (Vec::new(), Vec::new());
        for controller in &controllers {
            addresses.push(controller["address"].as_str().context("a controller without an address")?);
            let pid = controller["pid"].as_i64().context("a controller without a process")?;
            servers.push(i32::try_from(pid)?);
        }
        let mut connections = Vec::new();
        for address in addresses.iter().cycle().take(CONNECTIONS) {
            connections.push(Rest::connect(&identity, address).await?);
        }
        let version = controllers.first().and_then(|c| c["version"].as_str()).unwrap_or("?").to_owned();
        Ok(Kontiki { crowd: None, connections, servers, version, cluster })
    }

    /// Starts simulated workers and waits until all are ready.
    pub(crate) async fn crowd(&mut self, binary: &Path, crowd: &Crowd) -> anyhow::Result<()> {
        let (nodes, command) = (crowd.nodes, crowd.command(binary, &self.cluster));
        let workers = self.crowd.insert(Process::start("simulated workers", command, self.cluster.dir())?);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            workers.still_runs()?;
            let answer = self.connections[0].send(Method::GET, "/api/v1/nodes", Bytes::new()).await?;
            let ready = ready(&serde_json::from_slice(&answer)?);
            if ready == nodes {
                return Ok(());
            }
            if tokio::time::Instant::now() > end {
                bail!("{ready} of {nodes} simulated workers are ready after {PATIENCE:?}");
            }
            // Thousands of nodes are a long list.
            tokio::time::sleep(PAUSE * (1 + nodes as u32 / 100)).await;
        }
    }

    /// One of the connections, which lead to all controllers in turn, the leader first.
    pub(crate) fn connection(&self, client: usize) -> &Rest {
        &self.connections[client % CONNECTIONS]
    }

    /// A connection to the leader.
    pub(crate) fn leader(&self) -> &Rest {
        &self.connections[0]
    }

    /// A connection of its own to the leader: what is long on it does not stand in the way of others.
    pub(crate) async fn another(&self) -> anyhow::Result<Rest> {
        let status = self.cluster.status()?;
        let all = status["controllers"].as_array().into_iter().flatten();
        let leader = all.into_iter().find(|controller| controller["role"] == "leader");
        let address = leader.and_then(|l| l["address"].as_str()).context("no leader")?;
        Rest::connect(&identity(&self.cluster.kubeconfig())?, address).await
    }
}

fn ready(nodes: &Value) -> usize {
    let ready = |node: &&Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "Ready" && c["status"] == "True") && node["spec"]["taints"].is_null()
    };
    nodes["items"].as_array().into_iter().flatten().filter(ready).count()
}

impl Store for Kontiki {
    fn name(&self) -> String {
        format!("Kontiki {}", self.version)
    }

    fn servers(&self) -> &[i32] {
        &self.servers
    }

    fn create(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        let rest = self.connections[client % CONNECTIONS].clone();
        async move {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key},
                "data": {"value": "x".repeat(VALUE)}});
            rest.send(Method::POST, MAPS, serde_json::to_vec(&map)?.into()).await.map(drop)
        }
        .boxed()
    }

    fn read(&self, client: usize, key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        let rest = self.connections[client % CONNECTIONS].clone();
        async move {
            let map = rest.send(Method::GET, &format!("{MAPS}/{key}"), Bytes::new()).await?;
            if map.len() < VALUE {
                bail!("{key} has {} bytes", map.len());
            }
            Ok(())
        }
        .boxed()
    }
}
