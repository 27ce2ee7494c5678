//! One pod after the other: from its POST to the moment at which a watch shows it with a node, on simulated workers. The next one comes
//! when the last one runs. Peer: a single put into etcd, of which Kubernetes needs at least four in a row for the same.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use http::Method as Verb;
use kontiki_load::{Pods, Rest, Samples};
use serde_json::json;

use super::{Asked, Doing, Method, NODES, Question, WARM_UP, ask};
use crate::{
    limits::Look,
    load::{Meter, closed},
    peers::{self, Crowd, Kontiki, Store},
    report::{Figure, Goal, Limit, Outcome, Round, Setting, Side},
};

const PODS: &str = "/api/v1/namespaces/default/pods";

pub(super) async fn answer(method: &Method) -> anyhow::Result<Outcome> {
    let asked = Asked {
        question: Question::PlaceOne,
        what: "one pod, POST to its committed placement seen by a watch, p50".into(),
        figure: Figure::P50,
        goal: Goal::TimesAtMost { goal: 1.5, aim: None },
    };
    let setting = Setting::begin(&method.note);
    let mut ours = Kontiki::start(&method.binary).await?;
    let nodes = method.nodes.unwrap_or(NODES);
    ours.crowd(&method.binary, &Crowd::roomy(nodes)).await?;
    let theirs: Option<Arc<dyn Store>> = peers::etcd(method.etcd).await?;
    let mut sides = vec![Side::of(format!("{}, {nodes} simulated workers", ours.name()))];
    sides.extend(theirs.iter().map(|store| Side::of(store.name())));
    let span = method.span(sides.len());
    let mut watch = Pods::watch(&ours.another().await?, "default").await?;
    let mut look = Look::default();
    for round in 0..method.rounds {
        look.again().await?;
        let seen = place(&ours, &mut watch, round, span).await?;
        sides[0].say(round, method.rounds, &seen);
        sides[0].rounds.push(seen);
        if let Some(store) = &theirs {
            let shape = method.shape(2, 1);
            let seen = closed(shape, store.servers(), ask(store, Doing::Creating, round)).await?;
            sides[1].say(round, method.rounds, &seen);
            sides[1].rounds.push(seen);
        }
    }
    let physics = look.physics();
    let limit = Limit {
        value: physics.write_ms(),
        words: "two TLS round trips (client, follower) and one fdatasync".into(),
        physics,
    };
    Ok(asked.outcome(setting, limit, sides))
}

async fn place(ours: &Kontiki, watch: &mut Pods, round: usize, span: Duration) -> anyhow::Result<Round> {
    let end = Instant::now() + WARM_UP;
    for n in 0.. {
        one(ours.leader(), watch, &format!("warm-{round}-{n}")).await?;
        if Instant::now() > end {
            break;
        }
    }
    let (mut samples, meter, began) = (Samples::default(), Meter::start(ours.servers())?, Instant::now());
    for n in 0.. {
        samples.add(one(ours.leader(), watch, &format!("pod-{round}-{n}")).await?);
        if began.elapsed() > span {
            break;
        }
    }
    let answered = samples.count() as u64;
    Ok(Round::of(&mut samples, answered, began.elapsed(), meter.stop()?))
}

/// Creates a pod. Gives the time until it is seen with a node, and returns when it runs.
async fn one(leader: &Rest, watch: &mut Pods, name: &str) -> anyhow::Result<Duration> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{
            "name": "main", "image": "kontiki.local/web:1", "resources": {"requests": {"cpu": "10m"}},
        }]},
    });
    let body = serde_json::to_vec(&pod)?.into();
    let from = Instant::now();
    // The placement may be seen before the answer; it counts when both are there.
    let seen = async {
        let placed = watch.until("the pod's node", |all| all.get(name).is_some_and(|pod| pod.placed));
        placed.await.map(|()| from.elapsed())
    };
    let posted = async {
        leader.send(Verb::POST, PODS, body).await.context("the pod")?;
        Ok(from.elapsed())
    };
    let (seen, posted) = tokio::try_join!(seen, posted)?;
    watch.until("the pod to run", |all| all.get(name).is_some_and(|pod| pod.running)).await?;
    Ok(seen.max(posted))
}
