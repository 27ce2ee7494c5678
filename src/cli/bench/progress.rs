//! What somebody who waits sees: a bar on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);
/// Steps of a bar.
const STEPS: u64 = 1000;

/// The bar.
pub(super) struct Progress {
    bar: Mutex<ProgressBar>,
}

impl Progress {
    /// None yet.
    pub(super) fn new() -> Progress {
        Progress { bar: Mutex::new(ProgressBar::hidden()) }
    }

    /// Something begins that takes so long, or nobody knows how long.
    pub(super) fn begin(&self, what: &str, lasts: Option<Duration>) {
        self.end();
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = ProgressBar::with_draw_target(lasts.map(|_| STEPS), target);
        let form = match lasts {
            Some(_) => "{msg:34} {bar:30} {elapsed:>4}",
            None => "{msg:34} {spinner} {elapsed:>4}",
        };
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        *self.bar.lock() = bar;
    }

    /// Lets the bar go on while this is under way.
    pub(super) async fn during<T>(&self, what: &str, lasts: Duration, work: impl Future<Output = T>) -> T {
        self.begin(what, Some(lasts));
        let mut ticks = tokio::time::interval(TICK);
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = ticks.tick() => {
                    let bar = self.bar.lock();
                    let share = bar.elapsed().as_secs_f64() / lasts.as_secs_f64().max(f64::EPSILON);
                    bar.set_position((share * STEPS as f64) as u64);
                }
            }
        };
        self.end();
        done
    }

    /// It is over, and leaves no trace.
    pub(super) fn end(&self) {
        self.bar.lock().finish_and_clear();
    }
}
