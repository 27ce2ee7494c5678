//! An issuer's keys, kept current by a task of its own: no request fetches anything, and what is slow or down elsewhere holds up only
//! tokens of that issuer which need what is not here yet.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{config::Place, fetch, keys::KeySet};

/// Requests that wait for an issuer's keys at once; others are refused, as those are that have waited in vain.
const WAITING: usize = 64;

/// When keys are fetched, and how long anybody waits for them.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// They are fetched anew after so long, so that one that was withdrawn ends.
    pub refresh: Duration,
    /// After a failure, after so long.
    pub retry: Duration,
    /// No sooner than so long after the last time, whoever shows a token of a key that is not known.
    pub pause: Duration,
    /// One answer of the issuer may take so long.
    pub answer: Duration,
    /// A request waits so long for keys.
    pub wait: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            refresh: Duration::from_secs(300),
            retry: Duration::from_secs(10),
            pause: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            wait: Duration::from_secs(5),
        }
    }
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct Provider {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    timings: Timings,
    stand: watch::Sender<Stand>,
    /// Somebody needs keys that are not here.
    wanted: Notify,
    waiting: Semaphore,
}

/// What is known of an issuer now.
#[derive(Clone, Debug, Default)]
pub(super) struct Stand {
    /// The keys that were fetched last; they count on while the issuer cannot be reached.
    pub(super) keys: Option<Arc<KeySet>>,
    /// Why the last attempt failed; none if it did not.
    pub(super) failure: Option<String>,
    /// Attempts that succeeded, and that failed.
    pub(super) fetched: u64,
    pub(super) failed: u64,
    /// When the last attempt ended.
    tried: Option<Instant>,
}

impl Stand {
    fn attempts(&self) -> u64 {
        self.fetched + self.failed
    }

    /// Whether the last attempt succeeded.
    pub(super) fn is_healthy(&self) -> bool {
        self.keys.is_some() && self.failure.is_none()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Begins to fetch keys, and does so for as long as it lives.
    pub(super) fn start(place: Place, timings: Timings) -> Provider {
        let shared = Arc::new(Shared {
            place,
            timings,
            stand: watch::Sender::new(Stand::default()),
            wanted: Notify::new(),
            waiting: Semaphore::new(WAITING),
        });
        Provider { task: tokio::spawn(keep(shared.clone())), shared }
    }

    pub(super) fn place(&self) -> &Place {
        &self.shared.place
    }

    pub(super) fn stand(&self) -> Stand {
        self.shared.stand.borrow().clone()
    }

    /// What is known after one more attempt than before; none if there is none in time, or there was one a moment ago.
    pub(super) async fn newer(&self, than: &Stand) -> Option<Stand> {
        let Timings { pause, wait, .. } = self.shared.timings;
        if than.tried.is_some_and(|tried| tried.elapsed() < pause) {
            return None;
        }
        let _place = self.shared.waiting.try_acquire().ok()?;
        self.shared.wanted.notify_one();
        self.until(wait, |stand| stand.attempts() > than.attempts()).await
    }

    /// Waits until keys are here.
    ///
    /// # Errors
    /// They are not, in this time: why.
    pub(super) async fn healthy(&self, patience: Duration) -> Result<(), String> {
        match self.until(patience, Stand::is_healthy).await {
            Some(_) => Ok(()),
            None => Err(self.stand().failure.unwrap_or_else(|| "there is no answer yet".into())),
        }
    }

    async fn until(&self, patience: Duration, is: impl Fn(&Stand) -> bool) -> Option<Stand> {
        let mut stands = self.shared.stand.subscribe();
        let there = timeout(patience, stands.wait_for(|stand| is(stand))).await;
        there.ok().and_then(Result::ok).map(|stand| stand.clone())
    }
}

async fn keep(shared: Arc<Shared>) {
    let Timings { refresh, retry, pause, answer, .. } = shared.timings;
    loop {
        let fetched = fetch::keys(&shared.place, answer).await;
        let ended = Instant::now();
        note(&shared, fetched, ended);
        let healthy = shared.stand.borrow().is_healthy();
        let due = ended + if healthy { refresh } else { retry };
        tokio::select! {
            () = sleep_until(due) => {}
            () = shared.wanted.notified() => sleep_until(due.min(ended + pause)).await,
        }
    }
}

/// Notes what came of an attempt. It is told once, not each time.
fn note(shared: &Shared, fetched: Result<KeySet, String>, ended: Instant) {
    let issuer = &shared.place.issuer;
    shared.stand.send_modify(|stand| {
        stand.tried = Some(ended);
        match fetched {
            Ok(keys) => {
                stand.fetched += 1;
                if stand.failure.take().is_some() {
                    tracing::info!(issuer, "the issuer's keys can be fetched again");
                }
                // The same ones stay the same: what was proven by them is remembered by them.
                if stand.keys.as_deref() != Some(&keys) {
                    tracing::info!(issuer, keys = keys.len(), "the issuer's keys are known");
                    stand.keys = Some(Arc::new(keys));
                }
            }
            Err(why) => {
                stand.failed += 1;
                if stand.failure.as_ref() != Some(&why) {
                    let known = stand.keys.is_some();
                    tracing::error!(
                        issuer,
                        error = why,
                        retry_s = shared.timings.retry.as_secs(),
                        "the keys of an OpenID Connect issuer cannot be fetched: {}",
                        if known {
                            "those that are known count on"
                        } else {
                            "its tokens are refused until they can"
                        },
                    );
                    stand.failure = Some(why);
                }
            }
        }
    });
}
