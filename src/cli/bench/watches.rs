//! From a write to all who watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method as Verb;
use kontiki_load::{Event, Samples, Watch};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Method;
use super::figures::{Figure, Report};
use super::ground::Ground;
use super::progress::Progress;
use super::work::config_map;

/// Writes in a second: each is an event for every watch.
const RATE: u32 = 20;
/// Events that are not there by then are missing.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// What the names of the objects begin with; their numbers follow.
const PREFIX: &str = "watched-";

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Meta,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
}

/// When each object was sent, by its number.
type Sent = Arc<Mutex<Vec<Instant>>>;

/// Objects are created at a steady rate while many watch the collection, at all controllers in turns.
pub(super) async fn watches(
    ground: &Ground,
    method: &Method,
    progress: &Progress,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (sent, total) = (Sent::default(), watch::Sender::new(None));
    let path = ground.path("configmaps");
    // From now on: what is there already would stand in the way of what comes.
    let list = ground.leader().send(Verb::GET, &format!("{path}?limit=1"), Bytes::new()).await?;
    let revision = serde_json::from_slice::<List>(&list)?.metadata.resource_version;
    let from_now = format!("{path}?resourceVersion={revision}");
    let mut watchers = JoinSet::new();
    for rest in ground.all().iter().cycle().take(method.watchers) {
        let watch = Watch::open(rest, &from_now).await?;
        watchers.spawn(watcher(watch, sent.clone(), total.subscribe()));
    }
    let what = "write to its event, each watch";
    let writing = write(ground, &path, &sent, method.span);
    let (written, refused) = progress.during(what, method.span, writing).await;
    total.send_replace(Some(written));
    progress.begin("waiting for the last events", None);
    let (mut samples, mut last_error) = (Samples::default(), refused);
    let unsent = sent.lock().len() - written;
    while let Some(watcher) = watchers.join_next().await {
        let (times, error) = watcher?;
        samples.append(times);
        last_error = last_error.or(error.map(|error| format!("{error:#}")));
    }
    progress.end();
    let seen = samples.count() as u64;
    let missing = ((written * method.watchers) as u64).saturating_sub(seen);
    if missing > 0 && last_error.is_none() {
        last_error = Some(format!("{missing} events did not come within {} s", STRAGGLERS.as_secs()));
    }
    let figure = Figure::of(what, method.watchers, method.span, seen, &mut samples);
    report.event = Some(Figure { errors: missing + unsent as u64, last_error, ..figure });
    Ok(())
}

/// Creates objects for this long. Gives how many were acknowledged, and why one was not.
async fn write(ground: &Ground, path: &str, sent: &Sent, span: Duration) -> (usize, Option<String>) {
    let mut beats = interval(Duration::from_secs(1) / RATE);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (end, mut written, mut refused) = (Instant::now() + span, 0, None);
    for n in 0.. {
        let now = beats.tick().await;
        if now > end {
            break;
        }
        sent.lock().push(Instant::now());
        let map = config_map(&format!("{PREFIX}{n}"));
        match ground.leader().send(Verb::POST, path, map).await {
            Ok(_) => written += 1,
            Err(error) => refused = Some(format!("{error:#}")),
        }
    }
    (written, refused)
}

/// Reads events until all that were written have come, or no more come.
async fn watcher(
    mut watch: Watch,
    sent: Sent,
    mut total: watch::Receiver<Option<usize>>,
) -> (Samples, Option<anyhow::Error>) {
    let (mut samples, mut ends) = (Samples::default(), None);
    loop {
        if let Some(total) = *total.borrow_and_update() {
            if samples.count() >= total {
                return (samples, None);
            }
            ends.get_or_insert(Instant::now() + STRAGGLERS);
        }
        let over = async {
            match ends {
                Some(ends) => sleep_until(ends).await,
                None => drop(total.changed().await),
            }
        };
        tokio::select! {
            event = watch.next::<Object>() => match event {
                Ok(Event::Put(object)) => {
                    let number = object.metadata.name.strip_prefix(PREFIX).and_then(|n| n.parse().ok());
                    let began = number.and_then(|n: usize| sent.lock().get(n).copied());
                    samples.extend(began.map(|began| began.elapsed()));
                }
                Ok(Event::Deleted(_) | Event::Bookmark) => {}
                Err(error) => return (samples, Some(error)),
            },
            () = over => if ends.is_some() {
                return (samples, None);
            },
        }
    }
}
