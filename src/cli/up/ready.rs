//! Waiting until the cluster is what the plan says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use kontiki_actors::object::NodeDigest;
use kontiki_actors::Document;
use kontiki_proto::cluster::Empty;
use tokio::time::{Instant, sleep};

use super::plan::{Plan, Planned};
use super::process;
use crate::cli::access::Access;

/// A cluster that is not ready by then has a problem that waiting does not solve.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(25);

/// Until one controller leads and all vote.
pub(super) async fn controllers(dir: &Path, plan: &Plan, access: &Access) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        check_alive(dir, &plan.controllers)?;
        let missing = match access.try_call(|mut client| async move { client.members(Empty {}).await }).await {
            Err(error) => format!("{error:#}"),
            Ok(list) => {
                let voters: BTreeSet<&str> =
                    list.members.iter().filter(|m| m.voter).map(|m| m.name.as_str()).collect();
                let missing: Vec<&str> =
                    plan.controllers.iter().map(|p| p.name.as_str()).filter(|name| !voters.contains(name)).collect();
                let leader = list.members.iter().find(|m| Some(m.id) == list.leader_id);
                match leader {
                    Some(leader) if missing.is_empty() => {
                        return Ok(format!("{} controllers vote, {} leads", plan.controllers.len(), leader.name));
                    }
                    None => "no controller leads".to_owned(),
                    Some(_) => format!("no vote yet: {}", missing.join(", ")),
                }
            }
        };
        if Instant::now() > end {
            bail!("the controllers are not ready after {} s: {missing}; see {}", PATIENCE.as_secs(), logs(dir));
        }
        sleep(PAUSE).await;
    }
}

/// Until every worker is Ready.
pub(super) async fn workers(dir: &Path, plan: &Plan, access: &Access) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        check_alive(dir, &plan.workers)?;
        let missing = match access.list("/api/v1/nodes").await {
            Err(error) => format!("{error:#}"),
            Ok(nodes) => {
                let ready = |node: &serde_json::Value| {
                    NodeDigest::of(&Document::from_value(node.clone())).ready == "True"
                };
                let ready: BTreeSet<&str> =
                    nodes.iter().filter(|node| ready(node)).filter_map(|n| n["metadata"]["name"].as_str()).collect();
                let missing: Vec<&str> =
                    plan.workers.iter().map(|p| p.name.as_str()).filter(|name| !ready.contains(name)).collect();
                if missing.is_empty() {
                    return Ok(format!("{} workers ready", plan.workers.len()));
                }
                format!("not ready: {}", missing.join(", "))
            }
        };
        if Instant::now() > end {
            bail!("the workers are not ready after {} s: {missing}; see {}", PATIENCE.as_secs(), logs(dir));
        }
        sleep(PAUSE).await;
    }
}

/// A process that dies while it is waited for says why in its log.
fn check_alive(dir: &Path, planned: &[Planned]) -> anyhow::Result<()> {
    for Planned { name, .. } in planned {
        if process::running(dir, name).is_none() {
            let log = process::log_file(dir, name);
            bail!("{name} ended while it was starting; the end of {}:\n{}", log.display(), process::log_tail(dir, name));
        }
    }
    Ok(())
}

fn logs(dir: &Path) -> String {
    dir.join("logs").display().to_string()
}
