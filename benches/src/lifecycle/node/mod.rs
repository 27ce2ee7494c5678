//! What a node owes its pods: how fast they start, what they cost beside their processes, how fast one gets into them.
//!
//! ```text
//!   ground (one worker, asked over REST) -> start  one pod after the other, beside a daemon where one is given
//!                                        -> many   a hundred at once, and what agent and shims take then
//!                                        -> enter  exec, and the throughput of a forwarded port
//! ```

mod enter;
mod ground;
mod many;
mod start;

use std::path::Path;

use kontiki_chaos_tests::Plan;

use self::ground::Ground;

/// Measures and prints all of it. With a daemon's CRI socket, pods start on its runtime in turn.
pub(super) async fn measure(plan: &Plan, daemon: Option<&Path>, n: usize) -> anyhow::Result<()> {
    let own = Ground::start(plan, None).await?;
    let mut grounds = vec![own];
    if let Some(socket) = daemon {
        grounds.push(Ground::start(plan, Some(socket)).await?);
    }
    start::measure(&mut grounds, n).await?;
    // What the daemon's cluster does from time to time would be in the figures.
    grounds.truncate(1);
    let Some(own) = grounds.first_mut() else { return Ok(()) };
    enter::exec(own, n).await?;
    enter::forward(own).await?;
    many::measure(own, n.min(5)).await
}
