//! A closed load: a client asks again when it has its answer, so a slow server is asked less and its latencies are not those of a queue
//! that the generator has made.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::Samples;

/// One request of a client: which client asks, and how many times it has asked before.
pub type Ask = Arc<dyn Fn(usize, u64) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// How a closed load runs.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// So many ask at the same time.
    pub clients: usize,
    /// Before this is over nothing counts: connections and caches warm up.
    pub warm_up: Duration,
    /// How long is measured.
    pub span: Duration,
}

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// What clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of all answers that came after the warm-up, also of those that came after the end: a request that hangs must not vanish.
    pub samples: Samples,
    /// Those that came within the measured span.
    pub answered: u64,
    /// Requests that failed after the warm-up.
    pub errors: u64,
    /// Why one of them did.
    pub last_error: Option<anyhow::Error>,
}

/// Runs a load. An error of single requests is counted; if all fail, that is an error.
pub async fn closed(shape: Shape, ask: Ask) -> anyhow::Result<Seen> {
    let from = Instant::now() + shape.warm_up;
    let to = from + shape.span;
    let mut clients = JoinSet::new();
    for client in 0..shape.clients {
        clients.spawn(one(client, from, to, ask.clone()));
    }
    sleep_until(to).await;
    let mut all = Seen::default();
    while let Some(seen) = clients.join_next().await {
        let seen = seen?;
        all.samples.append(seen.samples);
        all.answered += seen.answered;
        all.errors += seen.errors;
        all.last_error = seen.last_error.or(all.last_error);
    }
    match all.last_error {
        Some(error) if all.samples.count() == 0 => Err(error.context("every request failed")),
        _ => Ok(all),
    }
}

async fn one(client: usize, from: Instant, to: Instant, ask: Ask) -> Seen {
    let mut seen = Seen::default();
    for n in 0.. {
        let began = Instant::now();
        if began >= to {
            break;
        }
        let answer = tokio::time::timeout(PATIENCE, ask(client, n)).await;
        let ended = Instant::now();
        if ended < from {
            continue;
        }
        match answer {
            Ok(Ok(())) => {
                seen.samples.add(ended - began);
                seen.answered += u64::from(ended <= to);
            }
            failed => {
                seen.errors += 1;
                let error = failed.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
                seen.last_error = error.err();
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;

    fn shape(clients: usize) -> Shape {
        Shape { clients, warm_up: Duration::from_secs(1), span: Duration::from_secs(10) }
    }

    /// Its clock goes on only while everybody waits: a busy machine changes nothing.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    #[test]
    fn failures_are_counted_and_told_apart_from_answers() {
        let ask: Ask = Arc::new(|_, n| {
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if n % 2 == 0 { Ok(()) } else { Err(anyhow::anyhow!("odd")) }
            }
            .boxed()
        });
        let shape = Shape { clients: 3, warm_up: Duration::ZERO, span: Duration::from_millis(300) };
        let seen = runtime().block_on(closed(shape, ask)).unwrap();
        assert!(seen.answered > 0 && seen.errors > 0, "{seen:?}");
        assert!(seen.answered.abs_diff(seen.errors) <= 3, "{seen:?}");
        assert_eq!(seen.last_error.unwrap().to_string(), "odd");
    }

    #[test]
    fn a_request_that_hangs_counts_among_the_times() {
        let ask: Ask = Arc::new(|client, _| {
            let time = Duration::from_millis(if client == 0 { 400 } else { 1 });
            tokio::time::sleep(time).map(Ok).boxed()
        });
        let shape =
            Shape { clients: 2, warm_up: Duration::from_millis(50), span: Duration::from_millis(100) };
        let mut seen = runtime().block_on(closed(shape, ask)).unwrap();
        assert!(seen.samples.at(1.0) >= 400.0, "{seen:?}");
        assert_eq!(seen.samples.count() as u64, seen.answered + 1, "the one that hung came after the end");
    }

    #[test]
    fn a_load_that_only_fails_is_no_figure() {
        let ask: Ask = Arc::new(|_, _| {
            async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Err(anyhow::anyhow!("refused"))
            }
            .boxed()
        });
        let shape = Shape { span: Duration::from_millis(50), warm_up: Duration::ZERO, ..shape(2) };
        let error = runtime().block_on(closed(shape, ask)).unwrap_err();
        assert!(format!("{error:#}").contains("every request failed: refused"), "{error:#}");
    }
}
