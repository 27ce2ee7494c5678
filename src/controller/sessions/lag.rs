//! How late this controller is with its own work. What came in meanwhile was not heard, and that is no silence of those who spoke.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// How often it is looked.
const PERIOD: Duration = Duration::from_millis(100);

/// The longest delay of late, of the threads on which [`Lag::watch`] runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag(Arc<AtomicU64>);

impl Lag {
    /// Watches for ever, among the tasks that read what workers send: it waits for its turn as they do.
    pub(crate) async fn watch(self) {
        loop {
            let due = Instant::now() + PERIOD;
            sleep_until(due).await;
            self.note(due.elapsed());
        }
    }

    fn note(&self, late: Duration) {
        self.0.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The longest since it was asked last.
    pub(super) fn take(&self) -> Duration {
        Duration::from_micros(self.0.swap(0, Ordering::Relaxed))
    }
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
}
