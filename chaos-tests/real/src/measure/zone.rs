//! A whole zone is lost, its controller and all its workers with their thousand pods: how long until all of them run in the zones
//! that are left.
//!
//! Two of three zones carry the pods and the third is empty: what a lost zone had goes there. So each round finds what the one before
//! left, and nothing has to be moved between rounds.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::{
    ours::{HOLD, Ours},
    pods::{Pods, Watch, running},
    progress::Progress,
    pump::{LIMIT, all_there, some, until_acknowledged},
    report::{OURS, Report},
    store::Members,
    workload,
};

const WHAT: &str = "zone lost -> its 1,000 pods Running";
const GAP: &str = "zone lost without the leader -> next write";
const GAP_WITH_LEADER: &str = "zone lost with the leader -> next write";
/// Pods that a zone has, about.
const PODS: usize = 1000;
/// Fewer than this in a lost zone are no zone.
const PODS_MIN: usize = 900;
/// Writes before the fault, which it must not lose.
const BEFORE: usize = 20;

/// Fills two of the zones.
pub(super) fn fill(ours: &Ours) -> anyhow::Result<()> {
    let spare = ours.cluster.workers().last().context("there is no worker")?;
    spare.strike(HOLD);
    spare.crash(HOLD);
    let away = format!("{}-", spare.name);
    let identity = ours.cluster.identity()?;
    let addresses = ours.addresses().to_vec();
    // Nothing is to be placed there before it is given up.
    std::thread::sleep(Duration::from_millis(2 * ours.cluster.shape.node_grace_ms));
    workload::create(ours, deployment())?;
    ours.run(async move {
        let mut watch = Watch::start(identity, addresses).await?;
        let all = |pods: &Pods| running(pods, |node| !node.starts_with(&away)) == 2 * PODS;
        watch.until("all pods to run", all).await
    })?;
    spare.let_up(HOLD)
}

fn deployment() -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "zones", "namespace": "default"},
        "spec": {
            "replicas": 2 * PODS,
            "selector": {"matchLabels": {"app": "zones"}},
            "template": {
                "metadata": {"labels": {"app": "zones"}},
                "spec": {"containers": [{"name": "main", "image": "kontiki.local/web:1"}]},
            },
        },
    })
}

/// What a round found.
struct Round {
    lost: usize,
    with_leader: bool,
    moved: Duration,
    gap: Duration,
}

/// Loses a full zone so often.
pub(super) fn measure(
    ours: &Ours,
    n: usize,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    for round in 0..n {
        let Round { lost, with_leader, moved, gap } =
            once(ours, round, report).with_context(|| format!("zone, round {round}"))?;
        report.row(WHAT, OURS).add(moved);
        report.row(if with_leader { GAP_WITH_LEADER } else { GAP }, OURS).add(gap);
        progress.now(&format!("zone {}/{n}: {lost} pods, {:.3} s", round + 1, moved.as_secs_f64()));
    }
    Ok(())
}

fn once(ours: &Ours, round: usize, report: &mut Report) -> anyhow::Result<Round> {
    let (store, count) = (ours.store(), ours.count());
    let nodes = ours.cluster.workers().count() * ours.cluster.setup.crowd as usize;
    let leader = ours.whole(nodes)?;
    let prefix = format!("zone{round}-");
    let mut keys = ours.run(some(store.clone(), count, format!("{prefix}before-"), BEFORE))?;
    let (identity, all) = (ours.cluster.identity()?, ours.addresses().to_vec());
    let pods = ours.run(async move {
        let mut watch = Watch::start(identity, all).await?;
        let all_run = |pods: &Pods| pods.len() == 2 * PODS && running(pods, |_| true) == 2 * PODS;
        watch.until("all pods to run", all_run).await
    })?;
    let in_zone = |name: &str| running(&pods, |node| node.starts_with(&format!("{name}-")));
    let full = ours.cluster.workers().filter(|host| in_zone(&host.name) >= PODS_MIN);
    // In every other round the one whose controller leads, if it is full.
    let led = ours.cluster.controllers().nth(leader).map(|host| host.zone);
    let wanted = round.is_multiple_of(2);
    let workers = full.max_by_key(|host| (Some(host.zone) == led) == wanted).context("no zone is full")?;
    let lost = in_zone(&workers.name);
    let controllers: Vec<_> =
        ours.cluster.controllers().enumerate().filter(|(_, host)| host.zone == workers.zone).collect();
    let dead = |member: &usize| controllers.iter().any(|(n, _)| n == member);
    let survivors: Vec<usize> = (0..count).filter(|member| !dead(member)).collect();
    let addresses = survivors.iter().map(|member| ours.addresses()[*member].clone()).collect();
    let mut watch = ours.run(Watch::start(ours.cluster.identity()?, addresses))?;

    let from = Instant::now();
    for (member, _) in &controllers {
        ours.strike(*member)?;
    }
    ensure!(workers.strike(HOLD), "the zone's workers did not run");
    let (via, away) = (survivors[0], format!("{}-", workers.name));
    let writing = until_acknowledged(store.clone(), survivors, format!("{prefix}after-"), from);
    let (written, moved) = ours.run(async move {
        let elsewhere = |pods: &Pods| running(pods, |node| !node.starts_with(&away)) >= 2 * PODS;
        let moving = async {
            watch.until("the zone's pods elsewhere", elsewhere).await?;
            Ok(from.elapsed())
        };
        tokio::try_join!(writing, moving)
    })?;
    ensure!(moved < LIMIT, "the pods were not replaced within {LIMIT:?}");
    keys.extend(written.keys);
    report.acknowledged += ours.run(all_there(store, via, prefix, keys))?;
    for (member, _) in &controllers {
        ours.bring_back(*member)?;
    }
    workers.crash(HOLD);
    workers.let_up(HOLD)?;
    let with_leader = led == Some(workers.zone);
    Ok(Round { lost, with_leader, moved, gap: written.after })
}
