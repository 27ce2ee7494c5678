//! One Deployment of 1,000 replicas: from its POST to the moment at which a watch shows all its pods with a node, on simulated workers.
//! Then it is deleted, and the next one comes when all is gone. No peer is asked: what etcd's users need for this is all of Kubernetes.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::Method as Verb;
use kontiki_load::{Pods, Samples};
use serde_json::json;

use super::{Asked, Method, NODES, Question};
use crate::{
    limits::Look,
    load::Meter,
    peers::{Crowd, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Round, Setting, Side},
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICAS: usize = 1000;

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::Deploy,
        what: "one Deployment of 1,000 replicas, POST to all placed".into(),
        figure: Figure::P50,
        goal: Goal::MillisecondsAtMost { goal: 500.0 },
    };
    let setting = Setting::begin(&method.note);
    let mut ours = Kontiki::start(&method.binary).await?;
    let nodes = method.nodes.unwrap_or(NODES);
    ours.crowd(&method.binary, &Crowd::roomy(nodes)).await?;
    let mut side = Side::of(format!("{}, {nodes} simulated workers", ours.name()));
    let mut watch = Pods::watch(&ours.another().await?, "default").await?;
    let end = Instant::now() + Duration::from_secs(method.seconds);
    let mut look = Look::default();
    for round in 0..method.rounds {
        look.again().await?;
        let seen = once(&ours, &mut watch, &format!("wide-{round}")).await?;
        side.say(round, method.rounds, &seen);
        side.rounds.push(seen);
        if Instant::now() > end {
            break;
        }
    }
    let physics = look.physics();
    let limit = Limit {
        value: physics.write_ms(),
        words: "all of it in one turn: two TLS round trips and one fdatasync; the processors take longer to decide and to tell".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, vec![side]))
}

async fn once(ours: &Kontiki, watch: &mut Pods, name: &str) -> anyhow::Result<Round> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "main", "image": "kontiki.local/web:1",
                    "resources": {"requests": {"cpu": "10m"}},
                }]},
            },
        },
    });
    let body = serde_json::to_vec(&deployment)?.into();
    let (meter, from) = (Meter::start(ours.servers())?, Instant::now());
    ours.leader().send(Verb::POST, DEPLOYMENTS, body).await.context("the Deployment")?;
    watch
        .until("all pods to be placed", |all| all.values().filter(|pod| pod.placed).count() == REPLICAS)
        .await?;
    let took = from.elapsed();
    let cost = meter.stop()?;
    let mut samples = Samples::default();
    samples.add(took);
    watch.until("all pods to run", |all| all.values().filter(|pod| pod.running).count() == REPLICAS).await?;
    let path = format!("{DEPLOYMENTS}/{name}?propagationPolicy=Background");
    ours.leader().send(Verb::DELETE, &path, Bytes::new()).await.context("deleting the Deployment")?;
    watch.until("all pods to be gone", |all| all.is_empty()).await?;
    Ok(Round::of(&mut samples, 1, took, cost))
}
