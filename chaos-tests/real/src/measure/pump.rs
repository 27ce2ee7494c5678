//! Writes in a tight stream until one is acknowledged. A new attempt begins every few milliseconds whatever became of those before:
//! so one that waits in vain at a member that still follows the dead leader hides nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};

use super::store::Store;

/// Between two attempts.
const STEP: Duration = Duration::from_millis(10);
/// More than this is a failure and no figure.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// What came of it.
pub(super) struct Acknowledged {
    /// From the fault to the first acknowledgement.
    pub(super) after: Duration,
    /// All keys that were acknowledged.
    pub(super) keys: Vec<String>,
}

/// Writes through these members until the first acknowledgement; `from` is when the fault was done.
pub(super) async fn until_acknowledged(
    store: Arc<dyn Store>,
    via: Vec<usize>,
    prefix: String,
    from: Instant,
) -> anyhow::Result<Acknowledged> {
    let (tell, mut told) = mpsc::unbounded_channel();
    // Attempts that are still under way at the end are given up with it: whether they were done is not known.
    let mut attempts = JoinSet::new();
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0_usize.. {
        tokio::select! {
            // What was acknowledged is looked at first.
            biased;
            first = told.recv() => {
                let Some((at, key)) = first else { bail!("no attempt is left") };
                let mut keys = vec![key];
                let mut least: Instant = at;
                while let Ok((at, key)) = told.try_recv() {
                    keys.push(key);
                    least = least.min(at);
                }
                return Ok(Acknowledged { after: least.saturating_duration_since(from), keys });
            }
            _ = tick.tick() => {
                let (key, tell) = (format!("{prefix}{n}"), tell.clone());
                let writing = store.write(via[n % via.len()], key.clone());
                attempts.spawn(async move {
                    if writing.await {
                        // The one that waits may have what it wanted already.
                        let _ = tell.send((Instant::now(), key));
                    }
                });
                while attempts.try_join_next().is_some() {}
            }
        }
        if from.elapsed() > LIMIT {
            bail!("no write was acknowledged within {LIMIT:?}");
        }
    }
    bail!("there is no end of numbers")
}

/// So many writes, one after the other; all must be acknowledged.
pub(super) async fn some(
    store: Arc<dyn Store>,
    members: usize,
    prefix: String,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for n in 0..count {
        let key = format!("{prefix}{n}");
        if !store.write(n % members, key.clone()).await {
            bail!("a write through member {} of a whole cluster was not acknowledged", n % members);
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Every acknowledged write must be there.
pub(super) async fn all_there(
    store: Arc<dyn Store>,
    via: usize,
    prefix: String,
    acknowledged: Vec<String>,
) -> anyhow::Result<usize> {
    let there = store.keys(via, prefix).await?;
    let lost: Vec<&String> = acknowledged.iter().filter(|key| !there.contains(*key)).collect();
    if !lost.is_empty() {
        bail!("{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
    }
    Ok(acknowledged.len())
}
