//! Waiting until the cluster is what the plan says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use kontiki_actors::Document;
use kontiki_actors::object::NodeDigest;
use kontiki_pki::Identity;
use kontiki_proto::cluster::Empty;
use tokio::time::{Instant, sleep};

use super::plan::{Plan, Planned};
use super::process;
use super::trust::home;
use crate::cli::access::Access;
use crate::cli::run::identity_dir;

/// A cluster that is not ready by then has a problem that waiting does not solve.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(25);

/// Until one controller leads and all vote.
pub(super) async fn controllers(dir: &Path, plan: &Plan, access: &Access) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let ended = ended(dir, &plan.controllers);
        // A cluster that has begun goes on without a few of its controllers. A new one wants all.
        let enough = plan.begun && ended.len() * 2 < plan.controllers.len();
        if let Some(name) = ended.first().filter(|_| !enough) {
            bail!(why(dir, name));
        }
        let missing = match access.try_call(|mut client| async move { client.members(Empty {}).await }).await
        {
            Err(error) => format!("{error:#}"),
            Ok(list) => {
                let voters: BTreeSet<u64> = list.members.iter().filter(|m| m.voter).map(|m| m.id).collect();
                // By number: one that joins anew has the name of a voter that is lost.
                let votes = |planned: &&Planned| number(dir, planned).is_some_and(|id| voters.contains(&id));
                let missing: Vec<&str> =
                    plan.controllers.iter().filter(|p| !votes(p)).map(|p| p.name.as_str()).collect();
                let leader = list.members.iter().find(|m| Some(m.id) == list.leader_id);
                match leader {
                    Some(leader) if missing.is_empty() => {
                        return Ok(format!(
                            "{} controllers vote, {} leads",
                            plan.controllers.len(),
                            leader.name
                        ));
                    }
                    None => "no controller leads".to_owned(),
                    Some(_) => format!("no vote yet: {}", missing.join(", ")),
                }
            }
        };
        if Instant::now() > end {
            bail!(
                "the controllers are not ready after {} s: {missing}; see {}",
                PATIENCE.as_secs(),
                logs(dir)
            );
        }
        sleep(PAUSE).await;
    }
}

/// A controller's number in the consensus, once it has its identity.
fn number(dir: &Path, planned: &Planned) -> Option<u64> {
    Identity::load(&identity_dir(&home(dir, &planned.name))).ok()?.peer().node_id
}

/// Until every worker is Ready.
pub(super) async fn workers(dir: &Path, plan: &Plan, access: &Access) -> anyhow::Result<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(name) = ended(dir, &plan.workers).first() {
            bail!(why(dir, name));
        }
        let missing = match access.list("/api/v1/nodes").await {
            Err(error) => format!("{error:#}"),
            Ok(nodes) => {
                let ready = |node: &serde_json::Value| {
                    NodeDigest::of(&Document::from_value(node.clone())).ready == "True"
                };
                let ready: BTreeSet<&str> = nodes
                    .iter()
                    .filter(|node| ready(node))
                    .filter_map(|n| n["metadata"]["name"].as_str())
                    .collect();
                let missing: Vec<&str> = plan
                    .workers
                    .iter()
                    .map(|p| p.name.as_str())
                    .filter(|name| !ready.contains(name))
                    .collect();
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

/// Those that do not run any more.
pub(super) fn ended<'a>(dir: &Path, planned: &'a [Planned]) -> Vec<&'a str> {
    let names = planned.iter().map(|planned| planned.name.as_str());
    names.filter(|name| process::running(dir, name).is_none()).collect()
}

/// A process that dies while it is waited for says why in its log.
pub(super) fn why(dir: &Path, name: &str) -> String {
    let log = process::log_file(dir, name);
    format!(
        "{name} ended while it was starting; the end of {}:\n{}",
        log.display(),
        process::log_tail(dir, name)
    )
}

fn logs(dir: &Path) -> String {
    dir.join("logs").display().to_string()
}
