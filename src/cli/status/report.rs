//! What the status says, gathered from the Cluster service and the Kubernetes API.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use kontiki_actors::object::{Meta, NodeDigest, PodDigest, parse_time_ms};
use kontiki_actors::{Document, level::FIRST};
use kontiki_proto::cluster::{ControllerStatus, Empty, MemberRole, PodCounts, StatusReply};
use serde::Serialize;
use serde_json::Value;

use crate::cli::access::Access;
use crate::cli::table;
use crate::cli::up::process;
use crate::controller::cluster::state_of;

const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
const ZONE: &str = "topology.kubernetes.io/zone";

/// How the cluster is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    cluster_id: String,
    leader: Option<String>,
    /// What the cluster may hold, as the controller that answered has folded it.
    level: u32,
    controllers: Vec<Controller>,
    workers: Vec<Worker>,
    pods: BTreeMap<String, u64>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Controller {
    id: u64,
    name: String,
    zone: String,
    role: &'static str,
    term: u64,
    applied: u64,
    committed: u64,
    lag: u64,
    address: String,
    pid: Option<u32>,
    reachable: bool,
    version: String,
    /// What its build knows.
    level: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Worker {
    name: String,
    zone: String,
    state: &'static str,
    /// Since when it is in this state, RFC 3339.
    since: Option<String>,
    pods: u64,
    capacity: Capacity,
    schedulable: bool,
    /// Of a process on this machine.
    pid: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Capacity {
    cpu_milli: i64,
    memory_bytes: i64,
    pods: i64,
}

impl Report {
    /// Asks the cluster. What cannot be read is a problem in words, not a failure of the whole.
    pub(crate) async fn collect(access: &Access) -> anyhow::Result<Report> {
        let reply = access.try_call(|mut client| async move { client.status(Empty {}).await }).await?;
        let nodes = access.list("/api/v1/nodes").await;
        // A build before this one does not count: then all are read.
        let pods = match &reply.pods {
            Some(counts) => Ok(counts.clone()),
            None => access.list("/api/v1/pods").await.map(|pods| count(&pods)),
        };
        let mut report = Report::of(reply);
        match (nodes, pods) {
            (Ok(nodes), Ok(pods)) => report.add_objects(&nodes, &pods, access.local_dir()),
            (Err(error), _) | (_, Err(error)) => {
                report.problems.push(format!("workers and pods cannot be read now: {error:#}"));
            }
        }
        Ok(report)
    }

    fn of(reply: StatusReply) -> Report {
        let leader = reply.controllers.iter().find(|c| Some(c.id) == reply.leader_id).map(|c| c.name.clone());
        Report {
            cluster_id: reply.cluster_id,
            leader,
            level: reply.level.max(FIRST),
            controllers: reply.controllers.into_iter().map(Controller::of).collect(),
            workers: Vec::new(),
            pods: PHASES.iter().map(|phase| ((*phase).to_owned(), 0)).collect(),
            problems: reply.advice,
        }
    }

    fn add_objects(&mut self, nodes: &[Value], pods: &PodCounts, local_dir: Option<&Path>) {
        for (phase, count) in &pods.phases {
            *self.pods.entry(phase.clone()).or_default() += count;
        }
        self.workers = nodes.iter().map(|node| Worker::of(node, &pods.on_nodes, local_dir)).collect();
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let mut controllers =
            table::table(&["CONTROLLER", "ZONE", "ROLE", "TERM", "APPLIED", "LAG", "ADDRESS", "PID"]);
        for c in &self.controllers {
            let number = |number: u64| if c.reachable { number.to_string() } else { "-".into() };
            let pid = c.pid.map_or("-".into(), |pid| pid.to_string());
            let row = [
                c.name.clone(),
                c.zone.clone(),
                c.role.to_owned(),
                number(c.term),
                number(c.applied),
                number(c.lag),
                c.address.clone(),
                pid,
            ];
            controllers.add_row(row);
        }
        out += &table::text(&mut controllers);
        let mut workers = table::table(&["WORKER", "ZONE", "STATE", "SINCE", "PODS", "CPU", "MEMORY", "PID"]);
        let now_s =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        for w in &self.workers {
            let since =
                w.since.as_deref().and_then(parse_time_ms).and_then(|ms| u64::try_from(ms / 1000).ok());
            let cordoned = if w.schedulable { "" } else { ",cordoned" };
            let row = [
                w.name.clone(),
                w.zone.clone(),
                format!("{}{cordoned}", w.state),
                since.map_or("-".into(), |since| table::age(now_s.saturating_sub(since))),
                format!("{}/{}", w.pods, w.capacity.pods),
                format!("{:.1}", w.capacity.cpu_milli as f64 / 1000.0),
                format!("{:.1}GiB", w.capacity.memory_bytes as f64 / f64::from(1 << 30)),
                w.pid.map_or("-".into(), |pid| pid.to_string()),
            ];
            workers.add_row(row);
        }
        out += "\n";
        out += &if self.workers.is_empty() { "no workers\n".to_owned() } else { table::text(&mut workers) };
        let pods: Vec<String> =
            self.pods.iter().filter(|(_, n)| **n > 0).map(|(phase, n)| format!("{n} {phase}")).collect();
        out += &format!("\npods: {}\n", if pods.is_empty() { "none".into() } else { pods.join(", ") });
        match self.problems.as_slice() {
            [] => out += "no problems\n",
            problems => {
                out += "problems:\n";
                problems.iter().for_each(|problem| out += &format!("  - {problem}\n"));
            }
        }
        out
    }
}

fn count(pods: &[Value]) -> PodCounts {
    let mut counts = PodCounts::default();
    for pod in pods {
        let digest = PodDigest::of(&Document::from_value(pod.clone()));
        // Of a pod on a lost node nobody knows; kubectl shows it so, too.
        let lost = pod["status"]["reason"] == "NodeLost";
        let phase = if lost { "Unknown".to_owned() } else { digest.phase.to_string() };
        *counts.phases.entry(phase).or_default() += 1;
        if let Some(node) = digest.node.as_ref().filter(|_| !digest.terminal()) {
            *counts.on_nodes.entry(node.to_string()).or_default() += 1;
        }
    }
    counts
}

impl Controller {
    fn of(status: ControllerStatus) -> Controller {
        let role = match status.role() {
            MemberRole::Leader => "leader",
            MemberRole::Follower => "follower",
            MemberRole::Learner => "learner",
            MemberRole::Candidate => "candidate",
            MemberRole::Unspecified => "unreachable",
        };
        let ControllerStatus {
            id,
            name,
            zone,
            term,
            applied,
            committed,
            lag,
            address,
            pid,
            reachable,
            version,
            level,
            ..
        } = status;
        let pid = (pid != 0).then_some(pid);
        let level = reachable.then_some(level.max(FIRST));
        Controller {
            id,
            name,
            zone,
            role,
            term,
            applied,
            committed,
            lag,
            address,
            pid,
            reachable,
            version,
            level,
        }
    }
}

impl Worker {
    fn of(node: &Value, placed: &HashMap<String, u64>, local_dir: Option<&Path>) -> Worker {
        let document = Document::from_value(node.clone());
        let (digest, meta) = (NodeDigest::of(&document), Meta::of(&document.metadata));
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Worker {
            zone: meta.labels.get(ZONE).map(ToString::to_string).unwrap_or_default(),
            state: state_of(&digest),
            since: digest.ready_since.clone(),
            pods: placed.get(&name).copied().unwrap_or(0),
            capacity: Capacity {
                cpu_milli: digest.allocatable.cpu_milli,
                memory_bytes: digest.allocatable.memory,
                pods: digest.max_pods,
            },
            schedulable: !digest.unschedulable,
            pid: local_dir.and_then(|dir| process::running(dir, &name)),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let controller = |id, name: &str, role: MemberRole| ControllerStatus {
            id,
            name: name.into(),
            zone: "a".into(),
            role: role.into(),
            term: 3,
            applied: 40,
            address: "127.0.0.1:6444".into(),
            pid: 77,
            reachable: true,
            ..ControllerStatus::default()
        };
        let mut lost = controller(2, "c2", MemberRole::Unspecified);
        (lost.pid, lost.reachable) = (0, false);
        let mut report = Report::of(StatusReply {
            cluster_id: "test".into(),
            leader_id: Some(1),
            controllers: vec![controller(1, "c1", MemberRole::Leader), lost],
            advice: vec!["controller c2 does not answer".into()],
            ..StatusReply::default()
        });
        let node = json!({ "metadata": { "name": "w1", "labels": { ZONE: "b" } },
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "110" },
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
        let pod = |phase: &str| json!({ "spec": { "nodeName": "w1" }, "status": { "phase": phase } });
        report.add_objects(&[node], &count(&[pod("Running"), pod("Succeeded")]), None);
        report
    }

    #[test]
    fn programs_find_the_promised_fields() {
        let value = serde_json::to_value(report()).unwrap_or_default();
        assert_eq!(value["controllers"][0]["role"], "leader");
        for field in ["name", "zone", "role", "term", "applied", "lag", "address", "pid"] {
            assert!(!value["controllers"][0][field].is_null(), "{field}");
        }
        assert!(value["controllers"][1]["pid"].is_null());
        // A build that says nothing of levels knows the first one; of one that does not answer nothing is known.
        assert_eq!((&value["level"], &value["controllers"][0]["level"]), (&json!(1), &json!(1)));
        assert!(value["controllers"][1]["level"].is_null());
        let worker = &value["workers"][0];
        assert_eq!(
            (&worker["state"], &worker["zone"], &worker["pods"]),
            (&json!("Ready"), &json!("b"), &json!(1))
        );
        assert_eq!((&value["pods"]["Running"], &value["pods"]["Pending"]), (&json!(1), &json!(0)));
        assert_eq!(value["problems"][0], "controller c2 does not answer");
    }

    #[test]
    fn people_see_a_table() {
        let table = report().table();
        assert!(table.contains("c2          a     unreachable  -"), "{table}");
        assert!(
            table.contains("pods: 1 Running, 1 Succeeded") && table.contains("  - controller c2"),
            "{table}"
        );
    }
}
