//! Ends changes of voters whose leader was lost between their two steps. Whoever makes a change takes its second step at once: one that
//! stays half done has nobody any more, and until it is ended both the old and the new voters must have a majority, so that the loss
//! of one can stop the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use kontiki_hooks::{Defect, Mark, planted, reached};
use openraft::ServerState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Node;
use super::membership::{Change, bounded, failed};
use super::status::is_joint;
use crate::types::LogId;

/// How often it is looked for.
const TICK: Duration = Duration::from_millis(100);
/// A change that stays half done for this long is ended by the leader.
const HALF_DONE: Duration = Duration::from_secs(1);

/// Looks for one, and ends it when it is this node that leads.
pub(super) async fn finish_changes(node: Node) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<(LogId, Instant)> = None;
    loop {
        ticks.tick().await;
        seen = match (half_done(&node), seen) {
            (Some(id), Some((same, since))) if id == same && since.elapsed() < HALF_DONE => seen,
            (Some(id), Some((same, _))) if id == same => {
                finish(&node).await;
                None
            }
            (Some(id), _) => Some((id, Instant::now())),
            (None, _) => None,
        };
    }
}

/// The first step of a change, committed and without its second, if this node leads.
fn half_done(node: &Node) -> Option<LogId> {
    let metrics = node.metrics();
    let half = metrics.state == ServerState::Leader && is_joint(&metrics) && !planted(Defect::JointLeft);
    (*metrics.membership_config.log_id()).filter(|id| half && Some(*id) <= metrics.local_committed)
}

async fn finish(node: &Node) {
    let raft = node.inner.raft.clone();
    let none = Change::AddVoterIds(BTreeSet::new());
    // Those that lose their vote were removed, as only removing takes votes.
    match bounded(async move { raft.change_membership(none, false).await.map(drop).map_err(failed) }).await {
        Ok(()) => {
            reached(Mark::ChangeFinished);
            tracing::info!("ended a change of members that a lost leader had begun");
        }
        Err(error) => {
            tracing::warn!(%error, "a change of members that a lost leader had begun is not ended yet");
        }
    }
}
