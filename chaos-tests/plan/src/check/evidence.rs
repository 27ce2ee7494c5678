//! A run with what all checks derive from it, derived once.

use std::cell::OnceCell;

use super::{Log, Verdict};
use crate::Run;

/// A run under judgement.
pub struct Evidence<'a> {
    /// What happened.
    pub run: &'a Run,
    log: OnceCell<Result<Log, String>>,
}

impl<'a> Evidence<'a> {
    /// Of this run.
    pub fn new(run: &'a Run) -> Evidence<'a> {
        Evidence { run, log: OnceCell::new() }
    }

    /// The log, decoded and replayed; the verdict, if it cannot be.
    pub fn log(&self) -> Result<&Log, Verdict> {
        let log = self.log.get_or_init(|| {
            let mut log = Log::of(&self.run.log)?;
            log.date(&self.run.ops);
            Ok(log)
        });
        log.as_ref().map_err(|words| Verdict::Unknown { words: words.clone() })
    }
}
