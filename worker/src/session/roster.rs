//! The roster: all controllers that this worker has heard of. The last list from a leader is kept on disk, so that a
//! worker finds its cluster again when those it was started with are gone.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kontiki_proto::worker::Controller;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::agent::disk::{self, Durability};

/// More controllers than a cluster may have.
const CONTROLLERS_MAX: usize = 64;

/// All controllers that this worker has heard of.
#[derive(Debug)]
pub(super) struct Roster {
    path: PathBuf,
    given: Vec<String>,
    learned: Learned,
    at: usize,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Learned {
    controllers: Vec<String>,
    lease_ms: u64,
}

impl Roster {
    /// Those that the worker was started with, and those on disk.
    pub(super) fn open(path: PathBuf, given: &[String]) -> io::Result<Roster> {
        let learned = match disk::read(&path)? {
            None => Learned::default(),
            Some(json) => serde_json::from_slice(&json).unwrap_or_else(|error| {
                // The list can be learned again, so it is not worth dying for.
                warn!(path = %path.display(), %error, "the list of controllers cannot be read");
                Learned::default()
            }),
        };
        Ok(Roster { path, given: given.to_vec(), learned, at: 0 })
    }

    /// The lease of the last session.
    pub(super) fn lease(&self) -> Option<Duration> {
        (self.learned.lease_ms > 0).then(|| Duration::from_millis(self.learned.lease_ms))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all().count()
    }

    /// The next to try, each in its turn.
    pub(super) fn next(&mut self) -> String {
        let at = self.at;
        self.at = self.at.wrapping_add(1);
        let count = self.len().max(1);
        let address = self.all().nth(at % count).map(str::to_owned);
        address.unwrap_or_default()
    }

    /// All but this one, beginning with another one each time.
    pub(super) fn others(&mut self, address: &str) -> Vec<String> {
        let first = self.next();
        let mut all: Vec<String> = self.all().map(str::to_owned).collect();
        if let Some(at) = all.iter().position(|other| *other == first) {
            all.rotate_left(at);
        }
        all.retain(|other| other != address);
        all
    }

    /// A leader or one who knows it has named all controllers.
    pub(super) fn learn(&mut self, controllers: &[Controller], lease_ms: Option<u32>) {
        let mut learned = Learned {
            controllers: self.learned.controllers.clone(),
            lease_ms: lease_ms.map_or(self.learned.lease_ms, u64::from),
        };
        if !controllers.is_empty() {
            let addresses = controllers.iter().map(|controller| controller.address.clone());
            learned.controllers =
                addresses.filter(|address| !address.is_empty()).take(CONTROLLERS_MAX).collect();
        }
        if learned == self.learned {
            return;
        }
        let written = serde_json::to_vec(&learned).map_err(io::Error::from);
        let written = written.and_then(|json| disk::write(&self.path, &json, Durability::Machine));
        if let Err(error) = written {
            warn!(path = %self.path.display(), %error, "the list of controllers cannot be remembered");
        }
        self.learned = learned;
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let learned = &self.learned.controllers;
        let given = self.given.iter().filter(|address| !learned.contains(address));
        learned.iter().chain(given).map(String::as_str)
    }
}
