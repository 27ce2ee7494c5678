//! The end: everything is healed, and then the cluster must come back by itself.

use std::{collections::BTreeSet, time::Duration};

use kontiki_actors::{Kind, Object, State};
use kontiki_chaos_plan::{
    history::{Answer, Call, Settled, WatchStep},
    names,
    plan::Op,
};
use tokio::{task::JoinHandle, time::Instant};

use super::{Clients, cluster::Cluster};
use crate::client::{Client, Watcher};

/// It has so long.
const LIMIT: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(50);
/// Who puts the nodes in order.
const ADMINISTRATOR: u32 = 20_000;
/// The register through which each controller shows that it serves, and those after it.
const REGISTER: u32 = 900;

pub(super) async fn settle(cluster: &mut Cluster, clients: &mut Clients) -> Settled {
    cluster.heal();
    let healed = Instant::now();
    let ns = |at: Instant| u64::try_from((at - healed).as_nanos()).unwrap_or(u64::MAX);
    let mut settled =
        Settled { healed_ns: cluster.book.now_ns(), limit_ns: ns(healed + LIMIT), ..Settled::default() };
    let mut service: Option<Vec<JoinHandle<()>>> = None;
    let mut order: Option<JoinHandle<()>> = None;
    while Instant::now() < healed + LIMIT {
        cluster.look_after_until(Instant::now() + STEP).await;
        let now = ns(Instant::now());
        let mut missing = Vec::new();
        let mut see = |slot: &mut Option<u64>, found: Result<(), String>| match found {
            Ok(()) => *slot = slot.or(Some(now)),
            Err(words) => {
                *slot = None;
                missing.push(words);
            }
        };
        see(&mut settled.leader_ns, leader(cluster));
        see(&mut settled.replicas_ns, replicas(cluster));
        let in_order = clients.done() && order.get_or_insert_with(|| put_in_order(cluster)).is_finished();
        let workload = if in_order { workload(cluster) } else { Err("clients have more to do".into()) };
        see(&mut settled.workload_ns, workload);
        if settled.leader_ns.is_some()
            && settled.replicas_ns.is_some()
            && settled.workload_ns.is_some()
            && service.is_none()
        {
            service = Some(serve(cluster));
        }
        if settled.served_ns.is_none() && service.is_some() {
            see(&mut settled.served_ns, served(cluster));
        }
        settled.missing = missing;
        if settled.served_ns.is_some() && settled.missing.is_empty() {
            break;
        }
    }
    for task in service.into_iter().flatten().chain(order) {
        task.abort();
        // It writes down what it had sent and has no answer to.
        let _ = task.await;
    }
    settled
}

/// Nothing that clients did keeps pods away from nodes any more: what is wanted could not run otherwise, through no fault of the cluster.
/// After all of them: one who is late, or has no answer, would undo what its plan does at the end.
fn put_in_order(cluster: &Cluster) -> JoinHandle<()> {
    let mut client = Client::new(ADMINISTRATOR, cluster.outside());
    let workers = cluster.shape.workers;
    tokio::spawn(async move {
        for worker in 0..workers {
            client.insist(worker, &Op::Uncordon { worker }).await;
            client.insist(worker, &Op::Taint { worker, on: false }).await;
        }
    })
}

/// F1.
fn leader(cluster: &Cluster) -> Result<(), String> {
    cluster.leader().map(|_| ()).ok_or_else(|| "nobody leads".into())
}

/// F2.
fn replicas(cluster: &Cluster) -> Result<(), String> {
    let mut places = BTreeSet::new();
    for site in &cluster.sites {
        let name = names::controller(site.number);
        let running = site.running().ok_or_else(|| format!("{name} does not run"))?;
        let status = running.node.status();
        places.insert((status.applied, running.replica.view().revision()));
        let voters = status.members.iter().filter(|member| member.voter).count();
        if voters != cluster.sites.len() || status.members.len() != voters {
            return Err(format!("{name} knows {voters} voters among {} members", status.members.len()));
        }
    }
    if places.len() == 1 { Ok(()) } else { Err(format!("the replicas are at {places:?}")) }
}

/// F3: what is desired is placed, what is placed runs, and nothing else does.
fn workload(cluster: &Cluster) -> Result<(), String> {
    let leader = cluster.leader().and_then(|site| site.running()).ok_or("nobody leads")?;
    let view = leader.replica.view();
    let running = running(cluster);
    let mut wanted = BTreeSet::new();
    for pod in view.list(Kind::POD, None) {
        let Some(digest) = pod.pod() else { continue };
        let name = format!("{}/{}", pod.key.namespace, pod.key.name);
        if pod.meta.deleting() {
            return Err(format!("pod {name} is being deleted"));
        }
        if digest.terminal() {
            continue;
        }
        let Some(node) = &digest.node else { return Err(homeless(&name, pod)) };
        if !digest.ready {
            return Err(format!("pod {name} on {node} is not ready"));
        }
        wanted.insert((node.to_string(), pod.meta.uid.to_string()));
    }
    if let Some((node, uid)) = wanted.difference(&running).next() {
        return Err(format!("pod {uid} does not run on {node}, and the state says that it is ready"));
    }
    if let Some((node, uid)) = running.difference(&wanted).next() {
        return Err(format!("pod {uid} runs on {node} and should not"));
    }
    deployments(&view)?;
    stateful_sets(&view)?;
    jobs(&view)
}

/// A pod without a place, with the reason that the state tells its user.
fn homeless(name: &str, pod: &Object) -> String {
    let status = pod.document.status_value();
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let why = conditions
        .filter(|condition| condition["type"] == "PodScheduled")
        .find_map(|condition| condition["message"].as_str());
    format!("pod {name} has no place: {}", why.unwrap_or("no reason is told"))
}

/// What runs, by the runtimes' own account: node and pod.
fn running(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let of = |machine: &crate::worker::Machine| {
        let name = machine.name.clone();
        machine.runtime.running_containers().into_iter().map(move |(uid, _)| (name.clone(), uid))
    };
    cluster.machines.iter().flat_map(of).collect()
}

fn deployments(view: &State) -> Result<(), String> {
    for deployment in view.list(Kind::DEPLOYMENT, None) {
        let (spec, status) = (deployment.document.spec_value(), deployment.document.status_value());
        let number = |of: &serde_json::Value, field: &str| of[field].as_u64().unwrap_or(0);
        let wanted = number(&spec, "replicas");
        let (ready, updated) = (number(&status, "readyReplicas"), number(&status, "updatedReplicas"));
        let all = number(&status, "replicas");
        if (ready, updated, all) != (wanted, wanted, wanted) {
            let name = &deployment.key.name;
            return Err(format!(
                "deployment {name} has {ready} ready, {updated} updated of {all}, and wants {wanted}"
            ));
        }
    }
    Ok(())
}

fn stateful_sets(view: &State) -> Result<(), String> {
    for set in view.list(Kind::STATEFUL_SET, None) {
        let Some(spec) = set.stateful_set() else { continue };
        let status = set.document.status_value();
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let counts = ["replicas", "readyReplicas", "updatedReplicas"].map(number);
        if counts != [spec.replicas; 3] || spec.status.observed_generation != set.meta.generation {
            let (name, wanted) = (&set.key.name, spec.replicas);
            return Err(format!("stateful set {name} wants {wanted}: there, ready, updated are {counts:?}"));
        }
    }
    Ok(())
}

fn jobs(view: &State) -> Result<(), String> {
    let open = |job: &&std::sync::Arc<Object>| job.job().is_some_and(|spec| spec.status.finished().is_none());
    match view.list(Kind::JOB, None).find(open) {
        Some(job) => Err(format!("job {} has not ended: {}", job.key.name, job.document.status_value())),
        None => Ok(()),
    }
}

/// A write, a read and a watch through each controller.
fn serve(cluster: &Cluster) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for n in 0..cluster.shape.controllers {
        let client = cluster.around.fabric.clients() - 1;
        tasks.push(tokio::spawn(Watcher::new(client, n, n, None, cluster.outside()).run()));
        let mut client = Client::new(10_000 + n, cluster.outside());
        tasks.push(tokio::spawn(async move {
            loop {
                client.act(n, &Op::Put { key: REGISTER + n }).await;
                client.act(n, &Op::Get { key: REGISTER + n }).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
    }
    tasks
}

/// F4.
fn served(cluster: &Cluster) -> Result<(), String> {
    let watcher = cluster.around.fabric.clients() - 1;
    cluster.book.read(|pages| {
        for n in 0..cluster.shape.controllers {
            let key = names::text(&names::register(REGISTER + n));
            let by = |op: &&kontiki_chaos_plan::history::OpRecord| op.client == 10_000 + n;
            let wrote = pages.ops.iter().filter(by).any(|op| matches!(op.answer, Answer::Done { .. }));
            let read = pages.ops.iter().filter(by).any(|op| {
                matches!((&op.call, &op.answer), (Call::Get { .. }, Answer::Value { value: Some(_) }))
            });
            let watches = pages.watches.iter().filter(|watch| watch.client == watcher);
            let seen = |watch: &&kontiki_chaos_plan::history::WatchRecord| {
                let here =
                    |step: &WatchStep| matches!(step, WatchStep::Opened { server, .. } if *server == n);
                let opened = watch.steps.iter().position(|(_, step)| here(step));
                let put = |step: &WatchStep| matches!(step, WatchStep::Put { key: k, .. } if *k == key);
                opened.is_some_and(|at| watch.steps[at..].iter().any(|(_, step)| put(step)))
            };
            if !(wrote && read && watches.into_iter().any(|watch| seen(&watch))) {
                return Err(format!("controller {n} does not serve: wrote {wrote}, read {read}"));
            }
        }
        Ok(())
    })
}
