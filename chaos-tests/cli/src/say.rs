//! Words while it goes on.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// A file or a pipe is told so often.
const SELDOM: Duration = Duration::from_secs(15);

/// The line that says how far it is: rewritten on a terminal, now and then a new one elsewhere.
pub(crate) struct Progress {
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), last: None }
    }

    /// How far it is now.
    pub(crate) fn now(&mut self, words: &str) {
        let mut out = std::io::stderr();
        if self.terminal {
            let _ = write!(out, "\r\x1b[2K{words}");
            let _ = out.flush();
        } else if self.last.is_none_or(|last| last.elapsed() >= SELDOM) {
            let _ = writeln!(out, "{words}");
            self.last = Some(Instant::now());
        }
    }

    /// Something that stays.
    pub(crate) fn say(&mut self, words: &str) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
        println!("{words}");
    }
}
