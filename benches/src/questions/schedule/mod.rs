//! Pods that are placed per second, on kube-scheduler's own workloads: clients create pods one by one as fast as they are answered, and a
//! watch sees them get their nodes. Measured from the first POST to the last placement, by three controllers with all that a placement
//! is here: decided, agreed on, on the disks of a majority. The nodes are simulated workers with real sessions, which never say that a
//! pod runs: kube-scheduler's test has no kubelets either. Its figures are of a scheduler, an API server and an etcd on one machine.

mod workloads;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method as Verb;
use kontiki_load::{Pods, Rest, Samples};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) use self::workloads::Workload;
use self::workloads::{NAMESPACES, Shape, URGENT};
use super::{Asked, Method, Question};
use crate::{
    limits::Look,
    load::Meter,
    peers::{Crowd, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Round, Setting, Side},
};

/// Nodes, unless asked for others.
const NODES: usize = 5000;
/// Clients that create at the same time.
const CLIENTS: usize = 256;
/// Pods that one entry of the log places.
const PER_ENTRY: f64 = 500.0;
/// All are placed by then, or the round fails.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn answer(workload: Workload, method: &Method) -> anyhow::Result<Outcome> {
    let shape = workload.shape();
    let floor =
        shape.floor.map(|floor| format!("; kube-scheduler's own test asks for {floor}")).unwrap_or_default();
    let asked = Asked {
        question: Question::Schedule(workload),
        what: format!("{}, pods placed per second{floor}", shape.title),
        figure: Figure::PerSecond,
        goal: Goal::PerSecondAtLeast { goal: shape.goal },
    };
    let nodes = method.nodes.unwrap_or(NODES);
    let setting = Setting::begin(&method.note);
    let mut look = Look::default();
    let (mut side, end) = (None, Instant::now() + Duration::from_secs(method.seconds));
    for round in 0..method.rounds {
        look.again().await?;
        let (name, seen) = once(workload, &shape, method, nodes).await?;
        let side = side.get_or_insert_with(|| Side::of(format!("{name}, {nodes} simulated workers")));
        side.say(round, method.rounds, &seen);
        side.rounds.push(seen);
        if Instant::now() > end {
            break;
        }
    }
    let physics = look.physics();
    let limit = Limit {
        value: PER_ENTRY * 1000.0 / physics.write_ms(),
        words: "500 pods in an entry, one entry after the other: two TLS round trips and one fdatasync; the processors end sooner".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, side.into_iter().collect()))
}

/// A cluster of its own: what one round leaves behind must not be in the way of the next.
async fn once(
    workload: Workload,
    shape: &Shape,
    method: &Method,
    nodes: usize,
) -> anyhow::Result<(String, Round)> {
    let mut ours = Kontiki::start(&method.binary).await?;
    ours.crowd(&method.binary, &Crowd::like_scheduler_perf(nodes, shape.zones)).await?;
    for namespace in NAMESPACES {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        post(ours.leader(), "/api/v1/namespaces", &body).await?;
    }
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": URGENT}, "value": 10});
    post(ours.leader(), "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;

    let [before, measured] = NAMESPACES;
    let make = Arc::new(move |n: usize| workload.before(&format!("before-{n}")));
    place(&ours, before, shape.before, make).await.context("the pods that are there already")?;
    let meanwhile = Meanwhile::begin(&ours, workload).await?;
    let (meter, began) = (Meter::start(ours.servers())?, Instant::now());
    let make = Arc::new(move |n: usize| workload.measured(&format!("pod-{n}")));
    let mut samples = place(&ours, measured, shape.measured, make).await?;
    let (took, cost) = (began.elapsed(), meter.stop()?);
    meanwhile.end().await?;
    Ok((ours.name(), Round::of(&mut samples, shape.measured as u64, took, cost)))
}

async fn post(rest: &Rest, path: &str, body: &Value) -> anyhow::Result<Bytes> {
    rest.send(Verb::POST, path, serde_json::to_vec(body)?.into()).await
}

type Make = Arc<dyn Fn(usize) -> Value + Send + Sync>;

/// Creates so many pods and waits until each has a node. Gives the times from each POST to its placement seen.
async fn place(ours: &Kontiki, namespace: &'static str, pods: usize, make: Make) -> anyhow::Result<Samples> {
    let mut watch = Pods::watch(&ours.another().await?, namespace).await?;
    let (next, path) = (Arc::new(AtomicUsize::new(0)), format!("/api/v1/namespaces/{namespace}/pods"));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS.min(pods) {
        let (next, path, make, rest) =
            (next.clone(), path.clone(), make.clone(), ours.connection(client).clone());
        clients.spawn(async move {
            let mut begun = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= pods {
                    return Ok::<_, anyhow::Error>(begun);
                }
                let pod = make(n);
                let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                begun.push((name, Instant::now()));
                post(&rest, &path, &pod).await?;
            }
        });
    }
    let mut placed: HashMap<String, Instant> = HashMap::with_capacity(pods);
    let seeing = async {
        while placed.len() < pods {
            if let (name, Some(pod)) = watch.next().await?
                && pod.placed
            {
                placed.entry(name).or_insert_with(Instant::now);
            }
        }
        anyhow::Ok(())
    };
    let creating = async {
        let mut all = Vec::with_capacity(pods);
        while let Some(begun) = clients.join_next().await {
            all.extend(begun??);
        }
        anyhow::Ok(all)
    };
    let both = tokio::time::timeout(PATIENCE, async { tokio::try_join!(seeing, creating) });
    let Ok(both) = both.await else { bail!("{} of {pods} pods are placed after {PATIENCE:?}", placed.len()) };
    let ((), begun) = both?;
    let mut samples = Samples::default();
    for (name, at) in begun {
        samples.add(placed.get(&name).map_or(PATIENCE, |seen| seen.saturating_duration_since(at)));
    }
    Ok(samples)
}

/// What goes on beside what is measured.
struct Meanwhile(Option<tokio::task::JoinHandle<anyhow::Result<()>>>);

impl Meanwhile {
    async fn begin(ours: &Kontiki, workload: Workload) -> anyhow::Result<Meanwhile> {
        let Some((_, per_second)) = workload.meanwhile("one") else { return Ok(Meanwhile(None)) };
        let rest = ours.another().await?;
        let mixed = workload == Workload::MixedChurn;
        Ok(Meanwhile(Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            for n in 0.. {
                ticks.tick().await;
                let Some((pod, _)) = workload.meanwhile(&format!("churn-{n}")) else { break };
                post(&rest, "/api/v1/namespaces/default/pods", &pod).await?;
                if mixed {
                    churn(&rest, n).await?;
                }
            }
            Ok(())
        }))))
    }

    /// Ends it. An error if it ended before by itself.
    async fn end(self) -> anyhow::Result<()> {
        let Some(task) = self.0 else { return Ok(()) };
        if task.is_finished() {
            return task.await?.context("what goes on meanwhile");
        }
        task.abort();
        Ok(())
    }
}

/// A node and a Service come, and go again.
async fn churn(rest: &Rest, n: usize) -> anyhow::Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("churn-{n}")}});
    post(rest, "/api/v1/nodes", &node).await?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("churn-{n}")},
        "spec": {"selector": {"app": "foo"}, "ports": [{"port": 8080}]}});
    post(rest, "/api/v1/namespaces/default/services", &service).await?;
    for path in ["/api/v1/nodes", "/api/v1/namespaces/default/services", "/api/v1/namespaces/default/pods"] {
        rest.send(Verb::DELETE, &format!("{path}/churn-{n}"), Bytes::new()).await?;
    }
    Ok(())
}
