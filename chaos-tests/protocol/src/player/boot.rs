//! The beginning: the first controller, the others one by one as voters, then the workers.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::cluster::Cluster;
use crate::controller;

/// The whole of it takes no longer.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

pub(super) async fn boot(cluster: &mut Cluster) -> anyhow::Result<()> {
    let until = Instant::now() + LIMIT;
    for n in 0..cluster.shape.controllers {
        cluster.start(n, n == 0);
    }
    wait(cluster, until, "nobody leads", |cluster| cluster.leader().is_some()).await?;
    for n in 1..cluster.shape.controllers {
        let member = controller::member(&cluster.shape, n, u64::from(n) + 1);
        loop {
            let Some(node) = cluster.leader().and_then(|l| l.running()).map(|r| r.node.clone()) else {
                bail!("the leader was lost while the cluster begins");
            };
            let (member, id) = (member.clone(), member.id);
            let mut joined = tokio::task::spawn_local(async move {
                node.add_learner(member).await.is_ok() && node.promote(id).await.is_ok()
            });
            let done = loop {
                cluster.look_after_until(Instant::now() + STEP).await;
                if joined.is_finished() {
                    break (&mut joined).await.unwrap_or(false);
                }
                if Instant::now() >= until {
                    bail!("controller {n} does not become a voter");
                }
            };
            if done {
                break;
            }
        }
    }
    for machine in &mut cluster.machines {
        machine.start(&cluster.around);
    }
    let workers = cluster.shape.workers as usize;
    wait(cluster, until, "not all workers are ready", move |cluster| {
        let view = cluster.leader().and_then(|leader| leader.running()).map(|running| running.replica.view());
        view.is_some_and(|view| {
            let nodes = view.list(kontiki_actors::Kind::NODE, None);
            nodes.filter(|node| node.node().is_some_and(|n| n.ready == "True")).count() == workers
        })
    })
    .await
}

async fn wait(
    cluster: &mut Cluster,
    until: Instant,
    what: &str,
    done: impl Fn(&Cluster) -> bool,
) -> anyhow::Result<()> {
    while !done(cluster) {
        if Instant::now() >= until {
            bail!("{what} after {LIMIT:?}");
        }
        cluster.look_after_until(Instant::now() + STEP).await;
    }
    Ok(())
}
