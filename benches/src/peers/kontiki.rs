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
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

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

    /// Starts simulated workers, roomy enough for whatever is asked of them, and waits until all are ready.
    pub(crate) async fn crowd(&mut self, binary: &Path, nodes: usize) -> anyhow::Result<()> {
        let mut command = Command::new(binary);
        command.args(["worker", "simulate", "--nodes", &nodes.to_string()]);
        command.args(["--server", &self.cluster.address(), "--cpu-milli", "1000000", "--max-pods", "10000"]);
        command.arg("--ca").arg(self.cluster.dir().join("ca"));
        let crowd = self.crowd.insert(Process::start("simulated workers", command, self.cluster.dir())?);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            crowd.still_runs()?;
            let answer = self.connections[0].send(Method::GET, "/api/v1/nodes", Bytes::new()).await?;
            let ready = ready(&serde_json::from_slice(&answer)?);
            if ready == nodes {
                return Ok(());
            }
            if tokio::time::Instant::now() > end {
                bail!("{ready} of {nodes} simulated workers are ready after {PATIENCE:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
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
