//! Tells how far it is: on a terminal one line that changes, else a line now and then.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// Where nobody watches, so often.
const SELDOM: Duration = Duration::from_secs(15);

/// The progress of a run.
pub(super) struct Progress {
    terminal: bool,
    told: Option<Instant>,
}

impl Progress {
    /// Nothing was told yet.
    pub(super) fn new() -> Progress {
        Progress { terminal: stderr().is_terminal(), told: None }
    }

    /// What is going on now.
    pub(super) fn now(&mut self, words: &str) {
        if self.terminal {
            // Nobody is there to be told that nobody can be told.
            let _ = write!(stderr(), "\r\x1b[K{words}");
            let _ = stderr().flush();
        } else if self.told.is_none_or(|at| at.elapsed() > SELDOM) {
            eprintln!("{words}");
        }
        if self.terminal || self.told.is_none_or(|at| at.elapsed() > SELDOM) {
            self.told = Some(Instant::now());
        }
    }

    /// Something that stays.
    pub(super) fn say(&mut self, words: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{words}");
    }
}
