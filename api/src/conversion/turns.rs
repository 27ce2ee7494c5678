//! Whose turn it is to ask a webhook: not too many at once, and hardly anybody while it does not answer.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Questions to one webhook at once; others wait for these.
const ASKING: usize = 32;
/// Questions at once to a webhook that let the last one wait for so long in vain, until it answers again. All others are refused at once:
/// each of them would keep its seat among the requests of all kinds for as long as a webhook may take.
const PROBES: usize = 2;
const SLOW: Duration = Duration::from_secs(5);

/// The turns of one webhook.
#[derive(Debug)]
pub(super) struct Turns {
    asking: Semaphore,
    probes: Semaphore,
    /// Whether the last question had no answer for long.
    silent: AtomicBool,
}

impl Turns {
    pub(super) fn new() -> Turns {
        let (asking, probes) = (Semaphore::new(ASKING), Semaphore::new(PROBES));
        Turns { asking, probes, silent: AtomicBool::new(false) }
    }

    /// Waits for a turn for at most so long. It lasts as long as what is returned is held.
    ///
    /// # Errors
    /// In words: there is none.
    pub(super) async fn take(&self, patience: Duration) -> Result<SemaphorePermit<'_>, String> {
        if self.silent.load(Ordering::Relaxed) {
            return self.probes.try_acquire().map_err(|_| {
                format!("it does not answer, and until it does, not more than {PROBES} requests wait for it")
            });
        }
        let waited = timeout(patience, self.asking.acquire()).await;
        let waited = waited.map_err(|_| format!("{ASKING} requests wait for it already"))?;
        waited.map_err(|closed| closed.to_string())
    }

    /// A question came to an end, after so long.
    pub(super) fn ended(&self, answered: bool, after: Duration) {
        self.silent.store(!answered && after >= SLOW, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_ask_at_once_and_few_ask_who_does_not_answer() {
        let turns = Turns::new();
        let patience = Duration::from_secs(30);
        let mut held = Vec::new();
        for _ in 0..ASKING {
            held.push(turns.take(patience).await.unwrap());
        }
        assert_eq!(turns.take(patience).await.unwrap_err(), "32 requests wait for it already");
        held.pop();
        held.push(turns.take(patience).await.unwrap());
        // A refusal that comes soon holds up nobody.
        turns.ended(false, Duration::from_secs(1));
        assert!(turns.take(patience).await.unwrap_err().starts_with("32 requests"));
        turns.ended(false, SLOW);
        let probes = [turns.take(patience).await.unwrap(), turns.take(patience).await.unwrap()];
        let refused = turns.take(patience).await.unwrap_err();
        assert_eq!(refused, "it does not answer, and until it does, not more than 2 requests wait for it");
        drop((probes, held));
        turns.ended(true, SLOW);
        let all: Vec<_> = futures_util::future::join_all((0..ASKING).map(|_| turns.take(patience))).await;
        assert!(all.iter().all(Result::is_ok), "as before");
    }
}
