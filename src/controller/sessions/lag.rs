//! How late this controller is with its own work. What came in meanwhile was not heard, and that is no silence of those who spoke.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// How often it is looked.
const PERIOD: Duration = Duration::from_millis(100);

/// The longest delay of late, of the threads on which [`Lag::watch`] runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    /// When it is its turn next, while it waits for that.
    due: Option<Instant>,
    /// The longest delay that is over.
    longest: Duration,
}

impl Lag {
    /// Watches for ever, among the tasks that read what workers send: it waits for its turn as they do.
    pub(crate) async fn watch(self) {
        loop {
            sleep_until(self.wait()).await;
            self.note();
        }
    }

    /// When it is its turn next.
    fn wait(&self) -> Instant {
        let due = Instant::now() + PERIOD;
        self.0.lock().due = Some(due);
        due
    }

    /// It is its turn.
    fn note(&self) {
        let mut watched = self.0.lock();
        let late = late(watched.due.take());
        watched.longest = watched.longest.max(late);
    }

    /// The longest since it was asked last. One that lasts counts, as long as it is by now.
    pub(super) fn take(&self) -> Duration {
        let mut watched = self.0.lock();
        std::mem::take(&mut watched.longest).max(late(watched.due))
    }
}

fn late(due: Option<Instant>) -> Duration {
    due.map_or(Duration::ZERO, |due| Instant::now().saturating_duration_since(due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_has_no_time_is_late() {
        let lag = Lag::default();
        let watching = tokio::spawn(lag.clone().watch());
        tokio::time::sleep(PERIOD * 3 / 2).await;
        assert_eq!(lag.take(), Duration::ZERO);
        // The time passes while nobody else gets his turn.
        tokio::time::advance(PERIOD * 7).await;
        tokio::task::yield_now().await;
        assert!(lag.take() >= PERIOD * 6);
        assert_eq!(lag.take(), Duration::ZERO);
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_counts_while_it_lasts() {
        let lag = Lag::default();
        assert_eq!(lag.take(), Duration::ZERO, "nobody watches yet");
        let _ = lag.wait();
        tokio::time::advance(PERIOD * 4).await;
        assert_eq!(lag.take(), PERIOD * 3);
        tokio::time::advance(PERIOD).await;
        assert_eq!(lag.take(), PERIOD * 4, "the same delay, of which more is over");
        lag.note();
        let _ = lag.wait();
        assert_eq!(lag.take(), PERIOD * 4, "as long as it was in the end");
        assert_eq!(lag.take(), Duration::ZERO);
    }
}
