//! Round trips, writes and reads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Method as Verb;
use kontiki_load::{Ask, Rest, Shape, closed};
use serde_json::json;

use super::Method;
use super::figures::{Figure, Report};
use super::ground::Ground;
use super::progress::Progress;

/// The size of a value.
const VALUE: usize = 1024;
/// Values that are read.
const READABLE: usize = 100;
/// Before this is over nothing counts: connections and caches warm up.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long round trips are looked at.
const TRIPS: Duration = Duration::from_secs(1);

/// Runs a load, and shows how it goes.
async fn load(
    what: &str,
    clients: usize,
    span: Duration,
    progress: &Progress,
    ask: Ask,
) -> anyhow::Result<Figure> {
    let shape = Shape { clients, warm_up: WARM_UP, span };
    let seen = progress.during(what, WARM_UP + span, closed(shape, ask)).await?;
    Ok(Figure::of_load(what, clients, span, seen))
}

/// A ConfigMap of 1 KiB.
pub(super) fn config_map(name: &str) -> Bytes {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": "x".repeat(VALUE)}});
    map.to_string().into()
}

/// How long an answer takes for which the leader asks nobody: what lies between here and there.
pub(super) async fn trips(ground: &Ground, progress: &Progress) -> anyhow::Result<Figure> {
    let leader = ground.leader().clone();
    let ask: Ask = Arc::new(move |_, _| {
        let leader = leader.clone();
        async move { leader.send(Verb::GET, "/livez", Bytes::new()).await.map(drop) }.boxed()
    });
    load("round trip to the leader", 1, TRIPS, progress, ask).await
}

/// Creations: by one client at the leader, then by many at all controllers.
pub(super) async fn writes(
    ground: &Ground,
    method: &Method,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path = ground.path("configmaps");
    let create = |connections: Vec<Rest>, prefix: &'static str| -> Ask {
        let path = path.clone();
        Arc::new(move |client, n| {
            let (rest, path) = (connections[client % connections.len()].clone(), path.clone());
            let map = config_map(&format!("{prefix}-{client}-{n}"));
            async move { rest.send(Verb::POST, &path, map).await.map(drop) }.boxed()
        })
    };
    let one = create(vec![ground.leader().clone()], "one");
    report.write = Some(load("write, at the leader", 1, method.span, progress, one).await?);

    let before = written(ground.leader()).await;
    let many = create(ground.all().to_vec(), "many");
    let what = "writes, at all controllers";
    report.more.push(load(what, method.clients, method.span, progress, many).await?);
    if let (Some(before), Some(after)) = (before, written(ground.leader()).await) {
        let (writes, syncs) = (after.0 - before.0, after.1 - before.1);
        report.writes_per_sync = (syncs > 0.0).then(|| writes / syncs);
    }
    Ok(())
}

/// Writes and fdatasync calls of a controller so far.
async fn written(rest: &Rest) -> Option<(f64, f64)> {
    let text = rest.send(Verb::GET, "/metrics", Bytes::new()).await.ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok())
    };
    number("kontiki_state_revision").zip(number("kontiki_log_syncs"))
}

/// Linearizable reads: by one client at the leader, then by many at all controllers.
pub(super) async fn reads(
    ground: &Ground,
    method: &Method,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path = ground.path("configmaps");
    for n in 0..READABLE {
        ground.leader().send(Verb::POST, &path, config_map(&format!("read-{n}"))).await?;
    }
    let read = |connections: Vec<Rest>| -> Ask {
        let path = path.clone();
        Arc::new(move |client, n| {
            let rest = connections[client % connections.len()].clone();
            // Not all at the same place of the keys at once.
            let path = format!("{path}/read-{}", (client * 31 + n as usize) % READABLE);
            async move {
                let map = rest.send(Verb::GET, &path, Bytes::new()).await?;
                ensure!(map.len() > VALUE, "{path} has {} bytes only", map.len());
                Ok(())
            }
            .boxed()
        })
    };
    let (one, many) = (read(vec![ground.leader().clone()]), read(ground.all().to_vec()));
    report.read = Some(load("read, at the leader", 1, method.span, progress, one).await?);
    let what = "reads, at all controllers";
    report.more.push(load(what, method.clients, method.span, progress, many).await?);
    Ok(())
}
