//! What happens when the leader or a zone goes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method;
use kontiki_load::{Event, Rest, Watch};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    rows::Row,
    stage::{AGAIN, PATIENCE, Stage, ZONES, post, ready_replicas},
};

/// The taint of a node whose pods are replaced.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The leader is killed: the next write, all sessions, and the killed one started again.
pub(super) async fn leader(stage: &Stage, nodes: usize) -> anyhow::Result<Vec<(Row, f64)>> {
    let controllers = stage.controllers()?;
    let [leader, other, ..] = controllers.as_slice() else { bail!("fewer than two controllers") };
    let rest = stage.rest(&other.address).await?;
    let condemned = Condemned::watch(&rest).await?;
    stage.cluster.kill(&leader.name)?;
    let killed = Instant::now();
    let next_write = written(&rest, killed).await?;
    let back = sessions_back(stage, nodes, killed).await?;
    let condemned = condemned.end().await?;

    let began = Instant::now();
    tokio::task::block_in_place(|| stage.cluster.up())?;
    let restarted = serves(stage, &leader.address, began).await?;
    Ok(vec![
        (Row::NextWrite, next_write),
        (Row::SessionsBack, back),
        (Row::Condemned, condemned as f64),
        (Row::Restart, restarted),
    ])
}

/// The nodes that were given up at any time: they have a taint until they are heard again. By a controller that lives on.
struct Condemned {
    seen: Arc<Mutex<HashSet<String>>>,
    watch: JoinHandle<anyhow::Result<()>>,
}

impl Condemned {
    async fn watch(rest: &Rest) -> anyhow::Result<Condemned> {
        let mut watch = Watch::open(rest, "/api/v1/nodes").await?;
        let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
        let all = seen.clone();
        let watch = tokio::spawn(async move {
            loop {
                let Event::Put(node) = watch.next::<Node>().await? else { continue };
                if node
                    .spec
                    .taints
                    .iter()
                    .any(|taint| taint.key == UNREACHABLE && taint.effect == "NoExecute")
                {
                    all.lock().unwrap_or_else(PoisonError::into_inner).insert(node.metadata.name);
                }
            }
        });
        Ok(Condemned { seen, watch })
    }

    /// How many there were. An error if nobody looked any more.
    async fn end(self) -> anyhow::Result<usize> {
        let Condemned { seen, watch } = self;
        if watch.is_finished() {
            watch.await??;
        } else {
            watch.abort();
        }
        Ok(seen.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}

#[derive(Deserialize)]
struct Node {
    metadata: Named,
    #[serde(default)]
    spec: NodeSpec,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    key: String,
    effect: String,
}

async fn written(rest: &Rest, since: Instant) -> anyhow::Result<f64> {
    for n in 0.. {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("after-{n}")}});
        if post(rest, "/api/v1/namespaces/default/configmaps", &map).await.is_ok() {
            break;
        }
        if since.elapsed() > PATIENCE {
            bail!("no write after {PATIENCE:?}");
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(since.elapsed().as_secs_f64())
}

/// By the new leader's own count of those that it hears.
async fn sessions_back(stage: &Stage, nodes: usize, since: Instant) -> anyhow::Result<f64> {
    let rest = stage.leader().await?;
    loop {
        let metrics = rest.send(Method::GET, "/metrics", Bytes::new()).await?;
        let text = String::from_utf8_lossy(&metrics);
        let line = text.lines().find_map(|line| line.strip_prefix("kontiki_workers_in_contact "));
        let heard: usize = line.context("no kontiki_workers_in_contact")?.trim().parse()?;
        if heard == nodes {
            return Ok(since.elapsed().as_secs_f64());
        }
        if since.elapsed() > PATIENCE {
            bail!("{heard} of {nodes} workers are back after {PATIENCE:?}");
        }
        tokio::time::sleep(AGAIN * 5).await;
    }
}

/// Until it answers a read that needs everything that was acknowledged.
async fn serves(stage: &Stage, address: &str, since: Instant) -> anyhow::Result<f64> {
    loop {
        if let Ok(rest) = stage.rest(address).await
            && rest.send(Method::GET, "/api/v1/namespaces/default", Bytes::new()).await.is_ok()
        {
            return Ok(since.elapsed().as_secs_f64());
        }
        if since.elapsed() > PATIENCE {
            bail!("{address} does not serve after {PATIENCE:?}");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[derive(Deserialize)]
struct Pod {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Meta {
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    items: Vec<Pod>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
}

/// The workers of a zone stand still. Until as many new pods have a node elsewhere as stood there, in seconds; after that the zone is
/// back, and all run again before this returns.
pub(super) async fn zone(stage: &Stage) -> anyhow::Result<f64> {
    let (_, prefix) = ZONES[ZONES.len() - 1];
    let rest = stage.leader().await?;
    let before = ready_replicas(&rest).await?;
    let list = rest.send(Method::GET, "/api/v1/pods", Bytes::new()).await?;
    let list: List = serde_json::from_slice(&list)?;
    let there = list.items.iter().filter(|pod| pod.spec.node_name.starts_with(prefix)).count();
    let old: HashSet<String> = list.items.into_iter().map(|pod| pod.metadata.uid).collect();
    let revision = list.metadata.resource_version;
    let mut watch =
        Watch::open(&stage.leader().await?, &format!("/api/v1/pods?resourceVersion={revision}")).await?;
    stage.signal(Signal::STOP)?;
    let began = Instant::now();
    let mut elsewhere = HashSet::new();
    let placing = async {
        while elsewhere.len() < there {
            let Event::Put(pod) = watch.next::<Pod>().await? else { continue };
            let placed = !pod.spec.node_name.is_empty() && !pod.spec.node_name.starts_with(prefix);
            // Those that stood elsewhere before change, too.
            if placed && !old.contains(&pod.metadata.uid) {
                elsewhere.insert(pod.metadata.uid);
            }
        }
        anyhow::Ok(began.elapsed().as_secs_f64())
    };
    let placed = tokio::time::timeout(PATIENCE, placing).await;
    stage.signal(Signal::CONT)?;
    let took = placed.with_context(|| format!("{} of {there} pods are elsewhere", elsewhere.len()))??;
    while ready_replicas(&rest).await? < before {
        if began.elapsed() > PATIENCE {
            bail!("not all pods run again after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(took)
}
