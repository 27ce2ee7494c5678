//! What grows while something is broken grows no further than its bounds say, in every controller that runs: a log that nobody
//! shortens ends a controller in the end, however well everything else goes.

use std::{collections::BTreeMap, time::Duration};

use kontiki_chaos_plan::names;
use tokio::time::Instant;

use super::cluster::Cluster;

/// What may be added to a log while a snapshot is made and the entries before it are purged, which goes in steps.
const UNDERWAY: u64 = 300;
/// A log that was just replaced by a snapshot is purged a moment later, and so is that of a slow disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// F6: since when a controller's log is too long, and in which of its lives.
#[derive(Default)]
pub(super) struct Growth(BTreeMap<u32, (u64, Instant)>);

impl Growth {
    /// Looks at all of them.
    pub(super) fn look(&mut self, cluster: &Cluster) {
        let snapshot = cluster.shape.snapshot_entries.max(1);
        // As the controllers' limits are set: what is kept behind a snapshot, and the way to the next one and its making.
        let most = snapshot / 2 + 2 * snapshot + UNDERWAY;
        for site in &cluster.sites {
            let status = site.running().map(|running| running.node.status());
            let entries = status
                .map_or(0, |status| status.last_log.unwrap_or(0).saturating_sub(status.purged.unwrap_or(0)));
            if entries <= most {
                self.0.remove(&site.number);
                continue;
            }
            let (life, since) = *self.0.entry(site.number).or_insert((site.life(), Instant::now()));
            if life != site.life() {
                self.0.remove(&site.number);
            } else if since.elapsed() > PATIENCE {
                let name = names::controller(site.number);
                let words = format!(
                    "the log of {name} holds {entries} entries and more than {most} for {} s, with a snapshot every {snapshot}",
                    since.elapsed().as_secs()
                );
                cluster.book.broken("F6", words);
                self.0.remove(&site.number);
            }
        }
    }
}
