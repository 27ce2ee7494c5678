//! What physics allows on this machine: measured in the same run as what is compared with it.

mod disk;
mod loopback;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use kontiki_load::Samples;

/// Times of the two things that every acknowledged write waits for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Physics {
    /// Overwriting 1 KiB in place and fdatasync, median, in milliseconds.
    pub(crate) sync_p50_ms: f64,
    /// The 99th percentile of the same.
    pub(crate) sync_p99_ms: f64,
    /// So many of them per second, one after the other.
    pub(crate) syncs_per_second: f64,
    /// 1 KiB there and back between two threads over TLS on loopback, median, in milliseconds.
    pub(crate) trip_p50_ms: f64,
    /// The 99th percentile of the same.
    pub(crate) trip_p99_ms: f64,
}

/// The size of what is written and sent.
const BYTES: usize = 1024;
/// So long each of the two is looked at in every round.
const SPAN: Duration = Duration::from_millis(250);

/// Looks at the machine between the rounds: a disk that others use, too, is not the same all the time.
#[derive(Default)]
pub(crate) struct Look {
    syncs: Samples,
    syncing: Duration,
    trips: Samples,
}

impl Look {
    /// Looks for about half a second, at the disk on which all sides have their data.
    pub(crate) async fn again(&mut self) -> anyhow::Result<()> {
        let (syncs, took) = disk::syncs(&std::env::temp_dir(), SPAN)?;
        self.syncs.append(syncs);
        self.syncing += took;
        self.trips.append(loopback::trips(SPAN).await?);
        Ok(())
    }

    /// What was seen.
    pub(crate) fn physics(mut self) -> Physics {
        Physics {
            sync_p50_ms: self.syncs.at(0.5),
            sync_p99_ms: self.syncs.at(0.99),
            syncs_per_second: self.syncs.count() as f64 / self.syncing.as_secs_f64(),
            trip_p50_ms: self.trips.at(0.5),
            trip_p99_ms: self.trips.at(0.99),
        }
    }
}

impl Physics {
    /// No write through a leader is acknowledged sooner: the client's round trip, the leader's to a follower, one fdatasync.
    pub(crate) fn write_ms(&self) -> f64 {
        2.0 * self.trip_p50_ms + self.sync_p50_ms
    }
}
