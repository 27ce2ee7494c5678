//! The cluster: three controllers, the workers of three zones, and Deployments.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method;
use kontiki_chaos_tests::{Cluster, Plan, identity};
use kontiki_load::{Pods, Refused, Rest};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::peers::{Crowd, Process};

/// Zones, and what the names of their nodes begin with; the last is the one that falls silent.
pub(super) const ZONES: [(&str, &str); 3] = [("a", "a-"), ("b", "b-"), ("c", "c-")];
/// Pods of one Deployment.
const REPLICAS: usize = 500;
/// Deployments in one namespace.
const PER_NAMESPACE: usize = 20;
/// What is waited for happens by then, or the measurement fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// Between two attempts.
pub(super) const AGAIN: Duration = Duration::from_millis(20);
/// Between two looks at what takes long.
const LOOK: Duration = Duration::from_secs(1);

/// A cluster of its own, gone when this is dropped.
pub(super) struct Stage {
    // Before the cluster, so that the workers go first.
    workers: Vec<Process>,
    pub(super) cluster: Cluster,
    /// The connection on which the leader answered last.
    asked: Option<Rest>,
}

/// A controller.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) pid: i32,
    pub(super) leads: bool,
}

impl Stage {
    /// Three controllers without workers.
    pub(super) async fn start(binary: &Path) -> anyhow::Result<Stage> {
        let cluster = Cluster::start(Plan { workers: 0, ..Plan::of(binary) })?;
        Ok(Stage { workers: Vec::new(), cluster, asked: None })
    }

    /// The controllers that run, the leader first.
    pub(super) fn controllers(&self) -> anyhow::Result<Vec<Controller>> {
        let status = self.cluster.status()?;
        let of = |c: &Value| {
            Some(Controller {
                name: c["name"].as_str()?.to_owned(),
                address: c["address"].as_str()?.to_owned(),
                pid: i32::try_from(c["pid"].as_i64()?).ok()?,
                leads: c["role"] == "leader",
            })
        };
        let mut all: Vec<Controller> =
            status["controllers"].as_array().into_iter().flatten().filter_map(of).collect();
        all.sort_by_key(|controller| !controller.leads);
        Ok(all)
    }

    /// A connection of its own to this address.
    pub(super) async fn rest(&self, address: &str) -> anyhow::Result<Rest> {
        Rest::connect(&identity(&self.cluster.kubeconfig())?, address).await
    }

    /// A connection of its own to the leader. Waits while there is none: an election is a measurement's right, not its end.
    pub(super) async fn leader(&self) -> anyhow::Result<Rest> {
        let began = Instant::now();
        loop {
            let leader = match self.controllers() {
                Ok(all) => all.into_iter().next().filter(|first| first.leads).context("no leader"),
                Err(error) => Err(error),
            };
            let connected = match leader {
                Ok(leader) => self.rest(&leader.address).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(rest) => return Ok(rest),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(error) => eprintln!("  waits for a leader: {error:#}"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Starts the workers, zone by zone, and waits until all are ready. Gives the seconds.
    pub(super) async fn workers(&mut self, binary: &Path, nodes: usize) -> anyhow::Result<f64> {
        let began = Instant::now();
        for (n, (zone, prefix)) in ZONES.iter().enumerate() {
            // Together as many as there should be.
            let crowd = Crowd::running((nodes + n) / ZONES.len(), prefix, zone);
            let command = crowd.command(binary, &self.cluster);
            self.workers.push(Process::start(&format!("workers of {zone}"), command, self.cluster.dir())?);
        }
        self.until(&format!("{nodes} simulated workers to be ready"), async |stage, rest| {
            stage.workers.iter_mut().try_for_each(Process::still_runs)?;
            Ok(ready(rest).await? == nodes)
        })
        .await?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Looks again and again. Whoever has too much to do to answer is asked again, as is the leader that comes after it.
    async fn until(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&mut Stage, &Rest) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let rest = match self.asked.take() {
                Some(rest) => rest,
                None => self.leader().await?,
            };
            loop {
                match look(self, &rest).await {
                    Ok(true) => {
                        self.asked = Some(rest);
                        return Ok(());
                    }
                    Ok(false) if began.elapsed() > PATIENCE => bail!("waited {PATIENCE:?} for {what}"),
                    Ok(false) => {}
                    Err(error) if began.elapsed() > PATIENCE => return Err(error),
                    Err(error) => {
                        eprintln!("  waits for {what}: {error:#}");
                        break;
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Signals the workers of the last zone.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.workers.last().context("no workers")?.pid()?;
        Ok(kill_process(Pid::from_raw(pid).context("no process")?, signal)?)
    }

    /// Makes Deployments of so many pods and waits until all run. Gives the seconds.
    pub(super) async fn pods(&mut self, pods: usize) -> anyhow::Result<f64> {
        let began = Instant::now();
        for n in 0..pods.div_ceil(REPLICAS) {
            let namespace = format!("load-{}", n / PER_NAMESPACE);
            if n % PER_NAMESPACE == 0 {
                let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                self.made("/api/v1/namespaces", &body).await?;
            }
            let replicas = REPLICAS.min(pods - n * REPLICAS);
            let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
            self.made(&path, &deployment(&format!("load-{n}"), replicas)).await?;
        }
        self.until(&format!("{pods} pods to run"), async |_, rest| Ok(ready_replicas(rest).await? == pods))
            .await?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// An object that is to be there in the end.
    async fn made(&mut self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.until(path, async |_, rest| match post(rest, path, body).await {
            Ok(_) => Ok(true),
            // Made by the attempt whose answer got lost.
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == 409) => {
                Ok(true)
            }
            Err(error) => Err(error),
        })
        .await
    }

    /// A Deployment of 1,000: from its POST until all of its pods are seen to have a node, in seconds. It is gone after that.
    pub(super) async fn deploy(&self) -> anyhow::Result<f64> {
        let rest = self.leader().await?;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "one"}});
        post(&rest, "/api/v1/namespaces", &body).await?;
        let mut watch = Pods::watch(&self.leader().await?, "one").await?;
        let began = Instant::now();
        post(&rest, "/apis/apps/v1/namespaces/one/deployments", &deployment("one", 1000)).await?;
        watch
            .until("1,000 pods to be placed", |pods| pods.values().filter(|pod| pod.placed).count() == 1000)
            .await?;
        let took = began.elapsed().as_secs_f64();
        rest.send(Method::DELETE, "/api/v1/namespaces/one", Bytes::new()).await?;
        watch.until("1,000 pods to be gone", |pods| pods.is_empty()).await?;
        Ok(took)
    }
}

pub(super) async fn post(rest: &Rest, path: &str, body: &Value) -> anyhow::Result<Bytes> {
    rest.send(Method::POST, path, serde_json::to_vec(body)?.into()).await
}

fn deployment(name: &str, replicas: usize) -> Value {
    let container = json!({"name": "pause", "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}})
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Deployment {
    #[serde(default)]
    status: Replicas,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Replicas {
    ready_replicas: usize,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    taints: Vec<Value>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

/// How many pods of all Deployments are ready.
pub(super) async fn ready_replicas(rest: &Rest) -> anyhow::Result<usize> {
    let answer = rest.send(Method::GET, "/apis/apps/v1/deployments", Bytes::new()).await?;
    let list: List<Deployment> = serde_json::from_slice(&answer)?;
    Ok(list.items.iter().map(|deployment| deployment.status.ready_replicas).sum())
}

/// How many nodes are ready and take pods.
async fn ready(rest: &Rest) -> anyhow::Result<usize> {
    let answer = rest.send(Method::GET, "/api/v1/nodes", Bytes::new()).await?;
    let list: List<Node> = serde_json::from_slice(&answer)?;
    let ready = |node: &&Node| {
        let up = node.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
        up && node.spec.taints.is_empty()
    };
    Ok(list.items.iter().filter(ready).count())
}
