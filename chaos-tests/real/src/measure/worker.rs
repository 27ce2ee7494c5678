//! A worker's host is lost: how long until pods run elsewhere in the place of all of its own. It dies, or is only not heard any more;
//! or the leader dies with it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::Rng;

use super::{
    ours::{HOLD, Ours},
    pods::{Pods, Watch, running},
    progress::Progress,
    pump::{all_there, some, until_acknowledged},
    report::{OURS, Report},
    store::Members,
    workload::Workload,
};
use crate::host::Host;

/// How a host is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// All its processes are killed.
    Dies,
    /// Its links are cut.
    Silent,
    /// It dies, and the leader with it.
    WithLeader,
}

impl Loss {
    const fn what(self) -> &'static str {
        match self {
            Loss::Dies => "worker host killed -> pods Running elsewhere",
            Loss::Silent => "worker host silent -> pods Running elsewhere",
            Loss::WithLeader => "leader and worker killed -> pods Running",
        }
    }
}

const GAP: &str = "leader and worker killed -> next write";
/// Writes before the fault, which it must not lose.
const BEFORE: usize = 20;

/// Takes a worker away so often.
pub(super) fn measure(
    ours: &Ours,
    workload: &Workload,
    loss: Loss,
    n: usize,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    for round in 0..n {
        let (moved, gap) =
            once(ours, workload, loss, round, report).with_context(|| format!("{loss:?}, round {round}"))?;
        report.row(loss.what(), OURS).add(moved);
        if loss == Loss::WithLeader {
            report.row(GAP, OURS).add(gap);
        }
        progress.now(&format!("{loss:?} {}/{n}: {:.3} s", round + 1, moved.as_secs_f64()));
    }
    Ok(())
}

/// The worker with the most pods.
fn fullest<'a>(ours: &'a Ours, pods: &Pods) -> anyhow::Result<&'a Host> {
    let workers = ours.cluster.workers().map(|host| &**host);
    workers.max_by_key(|host| running(pods, |node| node == host.name)).context("there is no worker")
}

fn once(
    ours: &Ours,
    workload: &Workload,
    loss: Loss,
    round: usize,
    report: &mut Report,
) -> anyhow::Result<(Duration, Duration)> {
    let (store, count, replicas) = (ours.store(), ours.count(), workload.replicas);
    let leader = ours.whole(ours.cluster.workers().count())?;
    let survivors: Vec<usize> =
        (0..count).filter(|member| loss != Loss::WithLeader || *member != leader).collect();
    let addresses = survivors.iter().map(|member| ours.addresses()[*member].clone()).collect();
    let identity = ours.cluster.identity()?;
    let prefix = format!("{}{round}-", format!("{loss:?}").to_lowercase());
    let before = some(store.clone(), count, format!("{prefix}before-"), BEFORE);
    let mut keys = ours.run(before)?;
    let mut watch = ours.run(Watch::start(identity, addresses))?;
    watch = ours.run(async move {
        let all_run = |pods: &Pods| pods.len() == replicas && running(pods, |_| true) == replicas;
        watch.until("all pods to run", all_run).await?;
        Ok(watch)
    })?;
    let victim = fullest(ours, &watch.now())?;
    let name = victim.name.clone();
    ensure!(running(&watch.now(), |node| node == name) > 0, "no pod runs on {name}");
    std::thread::sleep(Duration::from_millis(rand::rng().random_range(100..400)));

    let from = Instant::now();
    let mut cut = None;
    if loss == Loss::WithLeader {
        ours.strike(leader)?;
    }
    match loss {
        Loss::Silent => cut = Some(ours.cluster.net.cut(&ours.cluster.net.around(victim.port))?),
        Loss::Dies | Loss::WithLeader => drop(victim.power_off(HOLD)),
    }
    let via = survivors[0];
    let writing = until_acknowledged(store.clone(), survivors, format!("{prefix}after-"), from);
    let (written, moved) = ours.run(async move {
        let elsewhere = |pods: &Pods| running(pods, |node| node != name) >= replicas;
        let moving = async {
            watch.until("pods elsewhere", elsewhere).await?;
            Ok(from.elapsed())
        };
        tokio::try_join!(writing, moving)
    })?;
    keys.extend(written.keys);
    report.acknowledged += ours.run(all_there(store, via, prefix, keys))?;

    if let Some(cut) = cut {
        ensure!(cut.heal()? > 0, "the cut links carried nothing");
    }
    if loss == Loss::WithLeader {
        ours.bring_back(leader)?;
    }
    victim.let_up(HOLD)?;
    ours.whole(ours.cluster.workers().count())?;
    workload.settled(ours)?;
    Ok((moved, written.after))
}
