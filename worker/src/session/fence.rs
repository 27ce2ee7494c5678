//! The fence: a worker that has obeyed a leader never again obeys an earlier one, not even after a restart.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use kontiki_hooks::{Defect, Mark, planted, reached};

use crate::agent::disk::{self, Durability};

/// The highest term that was accepted.
#[derive(Debug)]
pub(super) struct Fence {
    path: PathBuf,
    term: u64,
}

/// Whether a term counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Older,
}

impl Fence {
    /// Reads what was accepted. A file that cannot be read is an error: guessing 0 would open the fence.
    pub(super) fn open(path: PathBuf) -> io::Result<Fence> {
        let term = match disk::read(&path)? {
            None => 0,
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| {
                    io::Error::new(ErrorKind::InvalidData, "it does not hold a term: it must not be guessed")
                })?,
        };
        Ok(Fence { path, term })
    }

    /// The highest term that was accepted.
    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Judges a term. A newer one is on disk when this returns: before anything of it is done.
    pub(super) fn judge(&mut self, term: u64) -> io::Result<Verdict> {
        if term < self.term {
            if planted(Defect::TermNotChecked) {
                return Ok(Verdict::Accepted);
            }
            reached(Mark::OlderTermRefused);
            return Ok(Verdict::Older);
        }
        if term > self.term {
            if !planted(Defect::TermNotPersisted) {
                disk::write(&self.path, format!("{term}\n").as_bytes(), Durability::Machine)?;
            }
            self.term = term;
        }
        Ok(Verdict::Accepted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_older_term_is_refused_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("term");
        let mut fence = Fence::open(path.clone()).unwrap();
        assert_eq!(fence.judge(7).unwrap(), Verdict::Accepted);
        assert_eq!(fence.judge(6).unwrap(), Verdict::Older);
        let mut fence = Fence::open(path.clone()).unwrap();
        assert_eq!(fence.judge(6).unwrap(), Verdict::Older);
        assert_eq!(fence.judge(7).unwrap(), Verdict::Accepted);
        std::fs::write(&path, "").unwrap();
        assert!(Fence::open(path).is_err());
    }
}
