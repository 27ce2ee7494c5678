//! What clients notice when a leader or a worker dies.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use http::Method;
use kontiki_chaos_tests::{Client, Cluster, eventually, identity};
use kontiki_pki::Identity;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{figures::Figures, scale::WEB};

/// Longer than this is a failure, not a figure.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
    /// SIGKILL, and the leader with it.
    KillWithLeader,
}

fn controllers(status: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    status["controllers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| (text(&c["name"]), text(&c["address"])))
        .collect()
}

async fn survivor(cluster: &Cluster, id: &Identity, dead: &str) -> anyhow::Result<Client> {
    for (name, address) in controllers(&cluster.status()?) {
        if name != dead {
            return Client::connect(id, &address).await;
        }
    }
    bail!("no other controller")
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

/// Kills leaders under a writer; every write that was acknowledged must be there at the end.
pub(crate) async fn leader(cluster: &Cluster, n: usize) -> anyhow::Result<()> {
    let id = identity(&cluster.kubeconfig())?;
    let path = "/api/v1/namespaces/default/configmaps";
    let (mut figures, mut acknowledged) = (Figures::default(), BTreeSet::new());
    for round in 0..n {
        let leader = cluster.leader()?;
        let client = survivor(cluster, &id, &leader).await?;
        for write in 0..5 {
            let name = format!("before-{round}-{write}");
            client.expect(Method::POST, path, Some(&config_map(&name))).await?;
            acknowledged.insert(name);
        }
        let pid = cluster.pid(&leader)?;
        let killed = Instant::now();
        rustix::process::kill_process(pid, Signal::KILL)?;
        let mut attempt = 0;
        loop {
            let name = format!("after-{round}-{attempt}");
            let answer = client.send(Method::POST, path, Some(&config_map(&name))).await?;
            if answer.code == 201 {
                acknowledged.insert(name);
                break;
            }
            attempt += 1;
            if killed.elapsed() > LIMIT {
                bail!("no write within {LIMIT:?}: {}", answer.body);
            }
        }
        figures.add(killed.elapsed());
        cluster.up()?;
    }
    let client = survivor(cluster, &id, "").await?;
    let list = client.expect(Method::GET, path, None).await?;
    let present: BTreeSet<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !present.contains(name.as_str())).collect();
    figures.print("SIGKILL of the leader -> next acknowledged write", "p50 0.3 s, p99 1.0 s");
    println!("  acknowledged writes: {}, lost: {}", acknowledged.len(), lost.len());
    if lost.is_empty() { Ok(()) } else { bail!("lost: {lost:?}") }
}

/// The ready pods of the deployment that are not on this node.
fn ready_elsewhere(pods: &Value, node: &str) -> usize {
    let ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready =
            conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        is_ready && pod["spec"]["nodeName"] != node && pod["metadata"]["deletionTimestamp"].is_null()
    };
    pods["items"].as_array().into_iter().flatten().filter(ready).count()
}

/// Takes a worker away and waits until its pods are replaced.
pub(crate) async fn worker(cluster: &Cluster, fault: Fault, n: usize) -> anyhow::Result<()> {
    const REPLICAS: usize = 6;
    let id = identity(&cluster.kubeconfig())?;
    let path = "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb";
    cluster.apply(&WEB.replace("REPLICAS", &REPLICAS.to_string()))?;
    let mut figures = Figures::default();
    for _ in 0..n {
        let leader = cluster.leader()?;
        let client = survivor(cluster, &id, &leader).await?;
        settle(&client, path, REPLICAS).await?;
        let pods = client.expect(Method::GET, path, None).await?;
        let victim = pods["items"][0]["spec"]["nodeName"].as_str().context("an unplaced pod")?.to_string();
        let (worker_pid, leader_pid) = (cluster.pid(&victim)?, cluster.pid(&leader)?);
        let started = Instant::now();
        let signal = if fault == Fault::Stop { Signal::STOP } else { Signal::KILL };
        rustix::process::kill_process(worker_pid, signal)?;
        if fault == Fault::KillWithLeader {
            rustix::process::kill_process(leader_pid, Signal::KILL)?;
        }
        loop {
            let answer = client.send(Method::GET, path, None).await?;
            if answer.code == 200 && ready_elsewhere(&answer.body, &victim) >= REPLICAS {
                break;
            }
            if started.elapsed() > LIMIT {
                bail!("not replaced within {LIMIT:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        figures.add(started.elapsed());
        if fault == Fault::Stop {
            rustix::process::kill_process(worker_pid, Signal::CONT)?;
        }
        cluster.up()?;
        eventually("the worker is ready again", || {
            let status = cluster.status().map_err(|e| e.to_string())?;
            let workers = status["workers"].as_array().cloned().unwrap_or_default();
            let ready = workers.iter().all(|w| w["state"] == "Ready");
            if ready { Ok(()) } else { Err(status["workers"].to_string()) }
        });
        // Pods that were left on the worker go; then it is a place for new ones again.
        cluster.kubectl(&["rollout", "restart", "deployment/web"])?;
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    }
    let (name, target) = match fault {
        Fault::Kill => ("SIGKILL of a worker -> replacements Ready elsewhere", "p99 5 s"),
        Fault::Stop => ("SIGSTOP of a worker -> replacements Ready elsewhere", "p99 10 s"),
        Fault::KillWithLeader => ("leader and worker killed together -> replacements Ready", "p99 10 s"),
    };
    figures.print(name, target);
    Ok(())
}

async fn settle(client: &Client, path: &str, replicas: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let pods = client.expect(Method::GET, path, None).await?;
        let all = pods["items"].as_array().map_or(0, Vec::len);
        if all == replicas && ready_elsewhere(&pods, "") == replicas {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            bail!("{replicas} pods are not ready within {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
