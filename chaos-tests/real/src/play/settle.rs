//! After everything is healed: the cluster comes back, and how long that takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use kontiki_chaos_plan::history::Settled;
use serde_json::{Value, json};

use super::tend::tend;
use crate::{
    client::{Book, Gauges, Rest, Sent, gauges},
    nemesis::Field,
};

/// A cluster of processes on a busy machine is whole again by then, or it is stuck.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// What is looked at, in this order.
const LISTS: [&str; 5] = [
    "/apis/apps/v1/deployments",
    "/api/v1/pods",
    "/api/v1/nodes",
    "/apis/apps/v1/statefulsets",
    "/apis/batch/v1/jobs",
];
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Waits until everything is as it should be, or the limit is reached.
pub(super) fn settle(field: &Field, book: &Book) -> anyhow::Result<Settled> {
    let begun = Instant::now();
    let limit_ns = u64::try_from(LIMIT.as_nanos())?;
    let mut settled = Settled { healed_ns: field.clock.now_ns(), limit_ns, ..Settled::default() };
    while begun.elapsed() < LIMIT {
        tend(field)?;
        // Before it looks: what they do last may take a moment to have its effect.
        let left = book.left();
        settled.missing = look(field, &mut settled, begun);
        if left > 0 {
            settled.missing.push(format!("clients have {left} things to do"));
        }
        if settled.missing.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(settled)
}

/// Looks once. What is as it should be has the time since which it is.
fn look(field: &Field, settled: &mut Settled, begun: Instant) -> Vec<String> {
    let now = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut missing = Vec::new();
    // What was and is no more has not settled.
    let mut note = |since: &mut Option<u64>, problem: Option<String>| match problem {
        None => *since = since.or_else(|| Some(now())),
        Some(words) => {
            *since = None;
            missing.push(words);
        }
    };
    let said = said(field);
    let leads = said.iter().flatten().filter(|said| said.leads).count() == 1;
    note(&mut settled.leader_ns, (!leads).then(|| format!("not one leader: {said:?}")));
    if leads {
        note(&mut settled.replicas_ns, replicas(field, &said));
        note(&mut settled.workload_ns, in_contact(field, &said).or_else(|| workload(field)));
        note(&mut settled.served_ns, field.runtime.block_on(served(field)));
    }
    missing
}

/// Every controller's own numbers; none from one that does not answer.
fn said(field: &Field) -> Vec<Option<Gauges>> {
    let Ok(identity) = field.cluster.identity() else { return Vec::new() };
    let addresses: Vec<String> = field.cluster.controllers().map(|host| host.address.clone()).collect();
    let asking = field.runtime.spawn(async move { gauges(&identity, &addresses).await });
    field.runtime.block_on(asking).unwrap_or_default()
}

/// F2. While heartbeats of workers change nothing, all stand at the same entry.
fn replicas(field: &Field, said: &[Option<Gauges>]) -> Option<String> {
    let places: BTreeSet<_> =
        said.iter().map(|said| said.as_ref().map(|s| (s.applied, s.committed, s.last))).collect();
    if places.len() != 1 || places.contains(&None) {
        return Some(format!("the replicas differ: {said:?}"));
    }
    let members = match field.cluster.members() {
        Ok(members) => members,
        Err(error) => return Some(format!("the members: {error:#}")),
    };
    let voters: Vec<_> = members.iter().filter(|member| member["voter"] == true).collect();
    let wanted = field.cluster.shape.controllers as usize;
    (voters.len() != wanted || members.len() != wanted).then(|| format!("the members are {members:?}"))
}

/// Every worker is in contact with the leader: one that is not runs what it ran when it was cut off, and the API says so, until it is
/// given up. That looks settled and is not.
fn in_contact(field: &Field, said: &[Option<Gauges>]) -> Option<String> {
    let leader = said.iter().flatten().find(|said| said.leads)?;
    let workers = u64::from(field.cluster.shape.workers);
    (leader.workers != workers).then(|| format!("the leader hears {} of {workers} workers", leader.workers))
}

/// F3: what is desired, what the API says, and what runs in truth are the same.
fn workload(field: &Field) -> Option<String> {
    let asking = field.runtime.block_on(async {
        let (identity, controllers) = (field.cluster.identity()?, field.cluster.controllers());
        let address = controllers.map(|host| host.address.clone()).next().unwrap_or_default();
        tokio::spawn(async move {
            let rest = Rest::connect(&identity, &address).await?;
            let mut lists = Vec::new();
            for path in LISTS {
                match rest.send(Method::GET, path, None).await {
                    Sent::Answered(reply) if reply.code == 200 => {
                        lists.push(reply.body["items"].as_array().cloned().unwrap_or_default());
                    }
                    other => anyhow::bail!("{path}: {other:?}"),
                }
            }
            Ok(lists)
        })
        .await?
    });
    let lists: Vec<Vec<Value>> = match asking {
        Ok(lists) => lists,
        Err(error) => return Some(format!("the workload cannot be read: {error:#}")),
    };
    let (deployments, pods, nodes) = (&lists[0], &lists[1], &lists[2]);
    for deployment in deployments {
        let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
        let is = |name: &str| status[name].as_u64().unwrap_or(0) == wanted.as_u64().unwrap_or(1);
        if !(is("replicas") && is("readyReplicas") && is("updatedReplicas")) && fits(nodes) {
            return Some(format!("deployment {}: wanted {wanted}, {status}", deployment["metadata"]["name"]));
        }
    }
    if let Some(words) = sets_and_jobs(&lists[3], &lists[4]).filter(|_| fits(nodes)) {
        return Some(words);
    }
    let ready = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    if nodes.iter().filter(ready).count() != field.cluster.shape.workers as usize {
        return Some("not all nodes are ready".into());
    }
    // A deployment that is gone may have left them.
    let begins = |pod: &&Value| {
        let assigned = pod["spec"]["nodeName"].is_string() && pod["metadata"]["deletionTimestamp"].is_null();
        assigned && !["Running", "Succeeded", "Failed"].map(Value::from).contains(&pod["status"]["phase"])
    };
    if let Some(pod) = pods.iter().find(begins) {
        return Some(format!(
            "pod {} on {} is {}",
            pod["metadata"]["name"], pod["spec"]["nodeName"], pod["status"]
        ));
    }
    // Where no node takes pods a Job may stay open; what runs of it ends all the same.
    let of_job = |pod: &&Value| {
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        pod["status"]["phase"] == "Running" && owners.into_iter().any(|owner| owner["kind"] == "Job")
    };
    if let Some(pod) = pods.iter().find(of_job) {
        return Some(format!("pod {} of a Job has not ended", pod["metadata"]["name"]));
    }
    // One that its worker ends is still where it was; finalizers may hold others for ever.
    let ends = |pod: &&Value| {
        let metadata = &pod["metadata"];
        pod["spec"]["nodeName"].is_string()
            && metadata["deletionTimestamp"].is_string()
            && metadata["finalizers"].is_null()
    };
    if let Some(pod) = pods.iter().find(ends) {
        let (name, node) = (&pod["metadata"]["name"], &pod["spec"]["nodeName"]);
        return Some(format!("pod {name} on {node} is being deleted"));
    }
    let place = |uid: &str, node: &str| format!("{uid} on {node}");
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
    let said: BTreeMap<String, &Value> = running
        .map(|pod| {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            (place(uid, pod["spec"]["nodeName"].as_str().unwrap_or_default()), &pod["metadata"]["name"])
        })
        .collect();
    let truth = field.truth.running();
    let runs: BTreeSet<String> = truth.values().map(|event| place(&event.pod_uid, &event.node)).collect();
    let said: BTreeSet<String> = said.into_keys().collect();
    (runs != said || truth.len() != runs.len()).then(|| {
        let (more, less): (Vec<_>, Vec<_>) =
            (runs.difference(&said).collect(), said.difference(&runs).collect());
        format!("{} containers run; not in the API: {more:?}; only there: {less:?}", truth.len())
    })
}

/// A StatefulSet whose pods are not all there, ready and of its template, or a Job without an end.
fn sets_and_jobs(sets: &[Value], jobs: &[Value]) -> Option<String> {
    for set in sets {
        let (wanted, status) = (&set["spec"]["replicas"], &set["status"]);
        let is = |name: &str| status[name].as_u64().unwrap_or(0) == wanted.as_u64().unwrap_or(1);
        if !["replicas", "readyReplicas", "updatedReplicas"].into_iter().all(is) {
            return Some(format!("stateful set {}: wanted {wanted}, {status}", set["metadata"]["name"]));
        }
    }
    let ended = |job: &&Value| {
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        let ends = |c: &Value| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True";
        conditions.into_iter().any(ends)
    };
    let open = jobs.iter().find(|job| !ended(job))?;
    Some(format!("job {} has not ended: {}", open["metadata"]["name"], open["status"]))
}

/// Whether there is a node that takes pods: plans may drain or taint all of them, and then nothing can be ready.
fn fits(nodes: &[Value]) -> bool {
    nodes.iter().any(|node| node["spec"]["unschedulable"] != true && node["spec"]["taints"].is_null())
}

/// F4: a write, a read and a watch through each controller.
async fn served(field: &Field) -> Option<String> {
    let identity = field.cluster.identity().ok()?;
    for host in field.cluster.controllers() {
        let (identity, address) = (identity.clone(), host.address.clone());
        let asked = tokio::spawn(async move { serve(&identity, &address).await });
        if let Err(error) = asked.await.map_err(anyhow::Error::from).and_then(|served| served) {
            return Some(format!("{} does not serve: {error:#}", host.name));
        }
    }
    None
}

async fn serve(identity: &kontiki_pki::Identity, address: &str) -> anyhow::Result<()> {
    let rest = Rest::connect(identity, address).await?;
    let name = format!("settled-{:08x}", rand::random::<u32>());
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let Sent::Answered(reply) = rest.send(Method::POST, MAPS, Some(&body)).await else {
        anyhow::bail!("no answer to a write")
    };
    anyhow::ensure!(reply.code == 201, "a write: {} {}", reply.code, reply.body["message"]);
    let path = format!("{MAPS}/{name}");
    let Sent::Answered(read) = rest.send(Method::GET, &path, None).await else {
        anyhow::bail!("no answer to a read")
    };
    anyhow::ensure!(read.code == 200, "a read: {} {}", read.code, read.body["message"]);
    let revision = reply.body["metadata"]["resourceVersion"].as_str().unwrap_or_default().parse::<u64>()?;
    let watch = format!("{MAPS}?watch=true&resourceVersion={}", revision - 1);
    let response = rest.open(Method::GET, &watch, None).await?;
    let mut stream = response.into_body().into_data_stream();
    let first = tokio::time::timeout(Duration::from_secs(5), stream.next()).await?;
    anyhow::ensure!(matches!(first, Some(Ok(_))), "a watch delivers nothing");
    let _ = rest.send(Method::DELETE, &path, None).await;
    Ok(())
}
