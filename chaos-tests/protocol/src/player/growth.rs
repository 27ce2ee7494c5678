//! What grows while something is broken grows no further than its bounds say, in every controller that runs: a log that nobody
//! shortens, or a history for watches that nobody forgets, ends a controller in the end, however well everything else goes.

use kontiki_chaos_plan::names;

use super::cluster::Cluster;

/// What may be added to a log while a snapshot is made and the entries before it are purged, which goes in steps.
const UNDERWAY: u64 = 300;

/// F6.
pub(super) fn look(cluster: &Cluster) {
    let snapshot = cluster.shape.snapshot_entries.max(1);
    // As the controllers' limits are set: what is kept behind a snapshot, and the way to the next one and its making.
    let most = snapshot / 2 + 2 * snapshot + UNDERWAY;
    for site in &cluster.sites {
        let Some(running) = site.running() else { continue };
        let status = running.node.status();
        let entries = status.last_log.unwrap_or(0).saturating_sub(status.purged.unwrap_or(0));
        if entries > most {
            let words = format!(
                "the log of {} holds {entries} entries, with a snapshot every {snapshot} it should be no more than {most}",
                names::controller(site.number)
            );
            cluster.book.broken("F6", words);
        }
    }
}
