//! The cluster under test, as a store of ConfigMaps.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures_util::{FutureExt, future::BoxFuture};
use http::Method;
use kontiki_chaos_plan::plan::Shape;
use kontiki_pki::Identity;
use serde_json::json;
use tokio::{runtime::Runtime, sync::Mutex};

use super::{
    report::OURS,
    store::{Members, Store},
};
use crate::{
    client::{Rest, Sent, gauges, runtime},
    cluster::{CLIENT, Cluster, Setup},
    host::Host,
    net::Cut,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// The hold by which measuring takes a host down; nothing else does.
pub(super) const HOLD: usize = 0;
/// A cluster is whole again by then, or it is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// What to measure with.
#[derive(Clone, Debug)]
pub struct Means {
    /// What runs.
    pub setup: Setup,
    /// This program, which containers run.
    pub program: PathBuf,
}

/// A running cluster with its clients' runtime.
pub(super) struct Ours {
    /// The cluster.
    pub(super) cluster: Cluster,
    runtime: Runtime,
    maps: Arc<Maps>,
}

/// ConfigMaps as a store. Every key begins with its round and a dash, which is also a label to list it by.
struct Maps {
    identity: Identity,
    addresses: Vec<String>,
    connections: Vec<Mutex<Option<Arc<Rest>>>>,
}

impl Ours {
    /// Starts a cluster.
    pub(super) fn start(setup: Setup, shape: &Shape) -> anyhow::Result<Ours> {
        let cluster = Cluster::start(setup, shape, 0)?;
        let runtime = runtime(cluster.net.netns(CLIENT))?;
        let addresses: Vec<String> = cluster.controllers().map(|host| host.address.clone()).collect();
        let connections = addresses.iter().map(|_| Mutex::default()).collect();
        let maps = Arc::new(Maps { identity: cluster.identity()?, addresses, connections });
        Ok(Ours { cluster, runtime, maps })
    }

    /// Where its controllers are.
    pub(super) fn addresses(&self) -> &[String] {
        &self.maps.addresses
    }

    /// Runs something where its clients are.
    pub(super) fn run<T: Send + 'static>(
        &self,
        doing: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.runtime.block_on(self.runtime.spawn(doing))?
    }

    fn controller(&self, n: usize) -> anyhow::Result<&Arc<Host>> {
        self.cluster.controllers().nth(n).with_context(|| format!("no controller {n}"))
    }

    /// Waits until every controller is there and level, and every worker ready. Answers who leads.
    pub(super) fn whole(&self, workers: usize) -> anyhow::Result<usize> {
        let leader = until_whole(self)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let (identity, address) = (self.maps.identity.clone(), self.maps.addresses[leader].clone());
            let ready = self.run(async move { ready_nodes(&identity, &address).await });
            match ready {
                Ok(ready) if ready == workers => return Ok(leader),
                seen if Instant::now() > end => bail!("not {workers} workers are ready: {seen:?}"),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }
}

async fn ready_nodes(identity: &Identity, address: &str) -> anyhow::Result<usize> {
    let rest = Rest::connect(identity, address).await?;
    let Sent::Answered(reply) = rest.send(Method::GET, "/api/v1/nodes", None).await else {
        bail!("no list of the nodes")
    };
    let nodes = reply.body["items"].as_array().context("no nodes")?;
    let ready = |node: &&serde_json::Value| {
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "Ready" && c["status"] == "True") && node["spec"]["taints"].is_null()
    };
    Ok(nodes.iter().filter(ready).count())
}

/// Waits until a store is whole. Answers who leads.
pub(super) fn until_whole(members: &dyn Members) -> anyhow::Result<usize> {
    let end = Instant::now() + PATIENCE;
    loop {
        match members.leader_of_whole() {
            Ok(leader) => return Ok(leader),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{} is not whole after {PATIENCE:?}", members.name())));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

impl Members for Ours {
    fn name(&self) -> &str {
        OURS
    }

    fn count(&self) -> usize {
        self.maps.addresses.len()
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Shared(self.maps.clone()))
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn leader_of_whole(&self) -> anyhow::Result<usize> {
        let maps = self.maps.clone();
        let said = self.run(async move { Ok(gauges(&maps.identity, &maps.addresses).await) })?;
        let said: Option<Vec<_>> = said.into_iter().collect();
        let said = said.context("a controller does not answer")?;
        let places: BTreeSet<u64> = said.iter().map(|said| said.applied).collect();
        ensure!(places.len() == 1, "they are not level: {said:?}");
        let mut leaders = said.iter().enumerate().filter(|(_, said)| said.leads).map(|(n, _)| n);
        let leader = leaders.next().context("nobody leads")?;
        ensure!(leaders.next().is_none(), "two lead: {said:?}");
        Ok(leader)
    }

    fn one_leads(&self, among: &[usize]) -> anyhow::Result<bool> {
        let (identity, addresses) = (self.maps.identity.clone(), self.maps.addresses.clone());
        let addresses: Vec<String> = among.iter().map(|member| addresses[*member].clone()).collect();
        let said = self.run(async move { Ok(gauges(&identity, &addresses).await) })?;
        Ok(said.iter().flatten().any(|said| said.leads))
    }

    fn silence(&self, member: usize) -> anyhow::Result<Cut> {
        let net = &self.cluster.net;
        net.cut(&net.around(self.controller(member)?.port))
    }

    fn strike(&self, member: usize) -> anyhow::Result<()> {
        ensure!(self.controller(member)?.strike(HOLD), "controller {member} did not run");
        Ok(())
    }

    fn bring_back(&self, member: usize) -> anyhow::Result<()> {
        let host = self.controller(member)?;
        host.crash(HOLD);
        host.let_up(HOLD)
    }
}

/// A handle that futures can take along.
struct Shared(Arc<Maps>);

impl Store for Shared {
    fn write(&self, via: usize, key: String) -> BoxFuture<'static, bool> {
        let maps = self.0.clone();
        async move {
            let round = key.split('-').next().unwrap_or_default();
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": key, "labels": {"round": round}}});
            let Ok(rest) = maps.connection(via).await else { return false };
            let sent = rest.send(Method::POST, MAPS, Some(&body)).await;
            matches!(sent, Sent::Answered(reply) if reply.code == 201)
        }
        .boxed()
    }

    fn keys(&self, via: usize, prefix: String) -> BoxFuture<'static, anyhow::Result<BTreeSet<String>>> {
        let maps = self.0.clone();
        async move {
            let round = prefix.split('-').next().unwrap_or_default();
            let rest = maps.connection(via).await?;
            let path = format!("{MAPS}?labelSelector=round%3D{round}");
            let Sent::Answered(reply) = rest.send(Method::GET, &path, None).await else { bail!("no list") };
            ensure!(reply.code == 200, "no list: {} {}", reply.code, reply.body["message"]);
            let items = reply.body["items"].as_array().into_iter().flatten();
            Ok(items.filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned())).collect())
        }
        .boxed()
    }
}

impl Maps {
    async fn connection(&self, via: usize) -> anyhow::Result<Arc<Rest>> {
        let mut connection = self.connections[via].lock().await;
        if let Some(rest) = connection.as_ref().filter(|rest| !rest.is_closed()) {
            return Ok(rest.clone());
        }
        let rest = Arc::new(Rest::connect(&self.identity, &self.addresses[via]).await?);
        *connection = Some(rest.clone());
        Ok(rest)
    }
}
