//! What `up` says while it works: each step when it is done, and how long everything took until then.

use std::time::Instant;

use crate::cli::say::say;

/// Tells steps with times.
pub(super) struct Progress {
    began: Instant,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { began: Instant::now() }
    }

    /// A step is done.
    pub(super) fn step(&self, what: &str) {
        say(format_args!("{:>6.2}s  {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Everything is done.
    pub(super) fn done(&self, what: &str) {
        self.step(&format!("{what}."));
    }
}
