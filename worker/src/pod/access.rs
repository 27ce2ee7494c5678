//! What a pod gets to reach the API: the tokens of its account, which are kept fresh for as long as it runs, and where the API is.
//!
//! A worker that starts again has no tokens, and asks anew for those of all its pods: they are on disk only where their pods read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::backoff::SETUP;
use super::document::{Pod, TokenSource};
use super::host::Host;
use super::inbox::Inbox;
use super::observed::Observed;
use crate::volume::MountError;

/// A token is renewed when so much of its life has passed, in hundredths ...
const RENEW_AT: i64 = 80;
/// ... or after this, as the kubelet has it ...
const RENEW_AFTER_S: i64 = 24 * 3600;
/// ... or up to so much earlier, each pod at a time of its own.
const JITTER_MS: i64 = 10_000;
/// It is looked at so often: time that a machine slept counts, too.
const PATROL: Duration = Duration::from_secs(60);
/// It is not looked at more often, whatever lives the leader gives its tokens.
const LEAST: Duration = Duration::from_secs(1);

/// Which token: for whom, and for how many seconds. The same one serves all that ask for the same.
pub type Which = (String, i64);

/// Tokens by what was asked for.
pub type PodTokens = Arc<BTreeMap<Which, String>>;

/// What a pod gets to reach the API and the Services of its namespace.
#[derive(Clone, Default)]
pub struct Access {
    /// The tokens that its volumes ask for; none where nobody could see them.
    pub tokens: Option<PodTokens>,
    /// The variables by which clients find Services, and the API where it can be reached; the later one counts.
    pub variables: Vec<(String, String)>,
}

// Tokens are not for logs.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens.as_ref().map(|tokens| tokens.keys().collect::<Vec<_>>());
        f.debug_struct("Access").field("tokens", &tokens).field("variables", &self.variables).finish()
    }
}

/// Which token a source asks for.
pub fn which(source: &TokenSource) -> Which {
    (source.audience.clone(), source.expiration_seconds.unwrap_or(TokenSource::EXPIRATION_S))
}

/// The tokens that a pod's volumes ask for, each with the name of the first such volume.
fn wanted(pod: &Pod) -> BTreeMap<Which, String> {
    let mut wanted = BTreeMap::new();
    for volume in &pod.spec.volumes {
        let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
        for source in sources.filter_map(|source| source.service_account_token.as_ref()) {
            wanted.entry(which(source)).or_insert_with(|| volume.name.clone());
        }
    }
    wanted
}

/// Whether a pod's containers see its volumes.
pub(super) fn sees_volumes(host: &Host, pod: &Pod) -> bool {
    host.runtime.shows_volumes() && !pod.is_host_class()
}

/// Whether a pod waits for tokens before it can begin.
pub(super) fn wants_tokens(host: &Host, pod: &Pod) -> bool {
    sees_volumes(host, pod) && !wanted(pod).is_empty()
}

/// Who keeps a pod's tokens fresh.
#[derive(Default)]
pub(super) struct Keeper(Option<AbortOnDropHandle<()>>);

impl Keeper {
    /// Begins with it, or ends it.
    pub(super) fn tend(&mut self, host: &Arc<Host>, inbox: &Arc<Inbox>, pod: &Arc<Pod>, seen: &Observed) {
        let lives = !seen.over_before && seen.outcome(pod).is_none();
        match (lives && wants_tokens(host, pod), &self.0) {
            (true, None) => {
                let (uid, wanted) = (pod.metadata.uid.clone(), wanted(pod));
                let task = keep(host.clone(), inbox.clone(), uid, wanted);
                self.0 = Some(AbortOnDropHandle::new(tokio::spawn(task)));
            }
            (false, Some(_)) => self.0 = None,
            _ => {}
        }
    }
}

/// A token that was given, and the times of both clocks: the machine's may be set, the other one stands still while it sleeps.
struct Held {
    text: String,
    renew_ms: i64,
    renew_at: Instant,
    until_ms: i64,
    until: Instant,
}

impl Held {
    fn is_due(&self, now_ms: i64) -> bool {
        now_ms >= self.renew_ms || Instant::now() >= self.renew_at
    }

    fn is_good(&self, now_ms: i64) -> bool {
        now_ms < self.until_ms && Instant::now() < self.until
    }
}

async fn keep(host: Arc<Host>, inbox: Arc<Inbox>, uid: String, wanted: BTreeMap<Which, String>) {
    let mut held: BTreeMap<Which, Held> = BTreeMap::new();
    let mut pause_ms = 0;
    loop {
        let mut refusal = None;
        let mut renewed = false;
        for (which, volume) in &wanted {
            let (asked_ms, asked) = (host.clock.now_ms(), Instant::now());
            if held.get(which).is_some_and(|token| !token.is_due(asked_ms)) {
                continue;
            }
            match host.tokens.get(&uid, &which.0, which.1).await {
                Ok(token) => {
                    let renew_ms = renewal_ms(token.lifetime_s, &uid);
                    let lives_ms = token.lifetime_s.saturating_mul(1000);
                    let given = Held {
                        text: token.text,
                        renew_ms: asked_ms.saturating_add(renew_ms),
                        renew_at: after(asked, renew_ms),
                        until_ms: asked_ms.saturating_add(lives_ms),
                        until: after(asked, lives_ms),
                    };
                    held.insert(which.clone(), given);
                    renewed = true;
                }
                Err(why) => {
                    let cause = format!("failed to fetch token: {why}");
                    refusal.get_or_insert(MountError { volume: volume.clone(), cause });
                }
            }
        }
        let now_ms = host.clock.now_ms();
        let good = wanted.keys().all(|which| held.get(which).is_some_and(|token| token.is_good(now_ms)));
        if good && renewed {
            let texts = held.iter().map(|(which, token)| (which.clone(), token.text.clone())).collect();
            inbox.tell(|news| news.tokens = Some(Ok(Arc::new(texts))));
        }
        let rest = match refusal {
            None => {
                pause_ms = 0;
                PATROL
            }
            Some(error) => {
                pause_ms = SETUP.next(pause_ms);
                if good {
                    warn!(pod = uid, %error, "a token that is still good could not be renewed: trying again");
                } else {
                    inbox.tell(|news| news.tokens = Some(Err(error)));
                }
                Duration::from_millis(pause_ms.unsigned_abs()).min(PATROL)
            }
        };
        let due_ms = held.values().map(|token| token.renew_ms).filter(|ms| *ms > now_ms).min();
        let until_due = due_ms.map_or(PATROL, |ms| host.clock.until(ms));
        tokio::time::sleep(rest.min(until_due).max(LEAST)).await;
    }
}

/// Milliseconds after which a token is renewed that lives for so many seconds.
fn renewal_ms(lifetime_s: i64, uid: &str) -> i64 {
    let renew_ms = lifetime_s.saturating_mul(1000 * RENEW_AT / 100).min(RENEW_AFTER_S * 1000);
    let hash = uid.bytes().fold(0_i64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    renew_ms - hash.rem_euclid(JITTER_MS)
}

fn after(begin: Instant, ms: i64) -> Instant {
    // So far away that it does not matter: a century.
    const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    begin + Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_after_most_of_its_life_and_never_later_than_after_a_day() {
        for (lifetime_s, latest_ms) in [(600, 480_000), (3607, 2_885_600), (1 << 32, 86_400_000)] {
            for uid in ["", "a", "0f1e2d3c-4b5a-4c6d-8e7f-001122334455"] {
                let renew_ms = renewal_ms(lifetime_s, uid);
                assert!(
                    renew_ms <= latest_ms && renew_ms > latest_ms - JITTER_MS,
                    "{lifetime_s} {uid}: {renew_ms}"
                );
            }
        }
    }
}
