//! Many watchers: 10,000 watches of 1,000 objects, ten of each, over all controllers, while 1,000 updates per second are made. Each
//! update carries its hour, and each watcher tells how old it is when it comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use http::Method;
use kontiki_load::{Event, Rest, Samples, Watch};
use serde::Deserialize;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::stage::{Stage, post};

const WATCHERS: usize = 10_000;
const OBJECTS: usize = 1000;
/// Updates per second.
const RATE: u32 = 1000;
/// Watches that share a connection.
const PER_CONNECTION: usize = 100;
/// Before anything counts.
const WARM_UP: Duration = Duration::from_secs(3);
const SPAN: Duration = Duration::from_secs(15);
/// Updates that wait for their answers at most: what is slower is not asked more.
const CLIENTS: usize = 64;
/// All watches are open by then.
const PATIENCE: Duration = Duration::from_secs(120);
const MAPS: &str = "/api/v1/namespaces/watched/configmaps";

#[derive(Deserialize)]
struct Map {
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    at: String,
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The delay that one event in a hundred exceeds, in milliseconds.
pub(super) async fn measure(stage: &Stage) -> anyhow::Result<f64> {
    let rest = stage.leader().await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched"}});
    post(&rest, "/api/v1/namespaces", &namespace).await?;
    for n in 0..OBJECTS {
        post(&rest, MAPS, &map(n, "")).await?;
    }
    let controllers = stage.controllers()?;
    let (open, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let from = Arc::new(std::sync::OnceLock::new());
    let mut watchers = JoinSet::new();
    let mut connection: Option<Rest> = None;
    for n in 0..WATCHERS {
        if n % PER_CONNECTION == 0 {
            let at = &controllers[n / PER_CONNECTION % controllers.len()];
            connection = Some(stage.rest(&at.address).await?);
        }
        let Some(rest) = connection.clone() else { bail!("no connection") };
        let (open, over, from) = (open.clone(), over.clone(), from.clone());
        watchers.spawn(async move {
            let path = format!("{MAPS}?fieldSelector=metadata.name=map-{}", n % OBJECTS);
            let mut watch = Watch::open(&rest, &path).await?;
            open.fetch_add(1, Ordering::Relaxed);
            let mut samples = Samples::default();
            while !over.load(Ordering::Relaxed) {
                let Ok(event) = tokio::time::timeout(Duration::from_secs(1), watch.next::<Map>()).await
                else {
                    continue;
                };
                let Event::Put(map) = event? else { continue };
                let Ok(at) = map.data.at.parse::<u64>() else { continue };
                if from.get().is_some_and(|from| at >= *from) {
                    samples.add(Duration::from_micros(now_us().saturating_sub(at)));
                }
            }
            Ok::<_, anyhow::Error>(samples)
        });
    }
    let end = Instant::now() + PATIENCE;
    while open.load(Ordering::Relaxed) < WATCHERS {
        if let Some(ended) = watchers.try_join_next() {
            ended??;
            bail!("a watch ended");
        }
        if Instant::now() > end {
            bail!("{} of {WATCHERS} watches are open after {PATIENCE:?}", open.load(Ordering::Relaxed));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = updates(stage, &from).await?;
    // What was written last is on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    over.store(true, Ordering::Relaxed);
    let mut samples = Samples::default();
    while let Some(seen) = watchers.join_next().await {
        samples.append(seen??);
    }
    let expected = sent * WATCHERS / OBJECTS;
    eprintln!(
        "  {sent} updates in {SPAN:?}, {} of {expected} events, p50 {:.1} ms",
        samples.count(),
        samples.at(0.5)
    );
    if samples.count() < expected {
        bail!("{} events came of {expected}", samples.count());
    }
    Ok(samples.at(0.99))
}

/// Makes updates at that rate. Gives how many were made in the span that counts.
async fn updates(stage: &Stage, from: &std::sync::OnceLock<u64>) -> anyhow::Result<usize> {
    let rest = stage.leader().await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let (began, mut clients, mut counted) = (Instant::now(), JoinSet::new(), 0);
    for n in 0.. {
        ticks.tick().await;
        if began.elapsed() >= WARM_UP + SPAN {
            break;
        }
        if clients.len() == CLIENTS
            && let Some(done) = clients.join_next().await
        {
            done??;
        }
        let at = now_us();
        if began.elapsed() >= WARM_UP {
            from.get_or_init(|| at);
            counted += 1;
        }
        let (rest, body) = (rest.clone(), map(n % OBJECTS, &at.to_string()));
        clients.spawn(async move {
            let path = format!("{MAPS}/map-{}", n % OBJECTS);
            rest.send(Method::PUT, &path, serde_json::to_vec(&body)?.into()).await.map(drop)
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(counted)
}

fn map(n: usize, at: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{n}")}, "data": {"at": at}})
}
