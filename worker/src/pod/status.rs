//! The PodStatus that the worker reports, and the conditions in it.
//!
//! A pod has an address only if it is in the machine's network: pods with a network of their own have nothing but a
//! loopback yet, so `podIP` stays unset for them rather than naming an address that no one can reach.

use serde_json::{Map, Value, json};

use super::document::{Container, Pod, Role};
use super::env::Machine;
use super::observed::{Condition, Ended, Observed, Outcome, Record, State, restarts};
use super::step::main_ran;
use crate::runtime::RuntimeError;

/// RFC 3339 with whole seconds, as Kubernetes' times are.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map(|time| time.to_string()).unwrap_or_default()
}

/// Brings the conditions up to date; their times change only with them.
pub fn settle_conditions(pod: &Pod, seen: &mut Observed, now_ms: i64) {
    let initialized = initialized(pod, seen);
    let containers_ready = unready(pod, seen).is_empty() && seen.outcome(pod).is_none();
    let ready = containers_ready && closed_gates(pod).is_empty();
    let states = [
        ("PodReadyToStartContainers", seen.sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
    ];
    for (name, status) in states {
        let fresh = Condition { status, since_ms: now_ms };
        let condition = seen.conditions.entry(name.to_owned()).or_insert(fresh);
        if condition.status != status {
            *condition = fresh;
        }
    }
}

/// The whole PodStatus.
pub fn document(pod: &Pod, seen: &Observed, machine: &Machine) -> Value {
    let outcome = seen.outcome(pod).filter(|_| !seen.anything_runs());
    let mut status = Map::new();
    let mut put = |name: &str, value: Value| status.insert(name.to_owned(), value);
    put("phase", Value::from(phase(pod, seen, outcome)));
    put("conditions", Value::from(conditions(pod, seen, outcome)));
    if let Some(ending) = &seen.ending {
        put("reason", Value::from(ending.reason.as_str()));
        put("message", Value::from(ending.message.as_str()));
    }
    put("hostIP", Value::from(machine.address.as_str()));
    put("hostIPs", json!([{ "ip": machine.address }]));
    if pod.is_on_machine_network() {
        put("podIP", Value::from(machine.address.as_str()));
        put("podIPs", json!([{ "ip": machine.address }]));
    }
    if let Some(start_ms) = seen.start_ms {
        put("startTime", Value::from(time(start_ms)));
    }
    if let Some(qos_class) = &pod.status.qos_class {
        put("qosClass", Value::from(qos_class.as_str()));
    }
    let statuses = |containers: &[Container], role: Role| -> Value {
        containers.iter().map(|container| container_status(pod, seen, container, role)).collect()
    };
    if !pod.spec.init_containers.is_empty() {
        put("initContainerStatuses", statuses(&pod.spec.init_containers, Role::Init));
    }
    put("containerStatuses", statuses(&pod.spec.containers, Role::Main));
    if !pod.spec.ephemeral_containers.is_empty() {
        let statuses = statuses(&pod.spec.ephemeral_containers, Role::Ephemeral);
        put("ephemeralContainerStatuses", statuses);
    }
    Value::Object(status)
}

fn phase(pod: &Pod, seen: &Observed, outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Succeeded) => return "Succeeded",
        Some(Outcome::Failed) => return "Failed",
        None => {}
    }
    let begun = |container: &Container| {
        let record = seen.record(&container.name);
        record.run().is_some() || record.ended().is_some()
    };
    if initialized(pod, seen) && pod.spec.containers.iter().all(begun) { "Running" } else { "Pending" }
}

fn initialized(pod: &Pod, seen: &Observed) -> bool {
    main_ran(pod, seen)
        || pod.spec.init_containers.iter().all(|container| {
            let record = seen.record(&container.name);
            if container.is_sidecar() { record.started } else { record.completed() }
        })
}

fn unready<'a>(pod: &'a Pod, seen: &Observed) -> Vec<&'a str> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| container.is_sidecar());
    let counted = sidecars.chain(&pod.spec.containers);
    counted
        .filter(|container| !seen.record(&container.name).ready)
        .map(|container| container.name.as_str())
        .collect()
}

/// Readiness gates whose condition somebody else has not set to True.
fn closed_gates(pod: &Pod) -> Vec<&str> {
    let open = |gate: &str| {
        pod.status
            .conditions
            .iter()
            .any(|condition| condition["type"] == gate && condition["status"] == "True")
    };
    pod.spec
        .readiness_gates
        .iter()
        .map(|gate| gate.condition_type.as_str())
        .filter(|gate| !open(gate))
        .collect()
}

const DISRUPTED: &str = "DisruptionTarget";
const OURS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

fn conditions(pod: &Pod, seen: &Observed, outcome: Option<Outcome>) -> Vec<Value> {
    let unready = unready(pod, seen);
    let over = match outcome {
        Some(Outcome::Succeeded) => Some("PodCompleted"),
        Some(Outcome::Failed) => Some("PodFailed"),
        None => None,
    };
    let incomplete: Vec<&str> = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| !seen.record(&container.name).completed())
        .map(|container| container.name.as_str())
        .collect();
    let why = |name: &str| -> Option<(String, String)> {
        let not_ready = || {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            ("ContainersNotReady".to_owned(), message)
        };
        match (name, over) {
            ("Ready" | "ContainersReady", Some(over)) => Some((over.to_owned(), String::new())),
            ("Ready", None) if unready.is_empty() => {
                let gates: Vec<String> = closed_gates(pod)
                    .iter()
                    .map(|gate| format!("corresponding condition of pod readiness gate \"{gate}\" does not exist or is not True."))
                    .collect();
                Some(("ReadinessGatesNotReady".to_owned(), gates.join(", ")))
            }
            ("Ready" | "ContainersReady", None) => Some(not_ready()),
            ("Initialized", _) => Some((
                "ContainersNotInitialized".to_owned(),
                format!("containers with incomplete status: [{}]", incomplete.join(" ")),
            )),
            _ => None,
        }
    };
    let mut all = Vec::new();
    for name in OURS {
        let condition = seen.conditions.get(name).copied().unwrap_or_default();
        let mut value = json!({
            "type": name,
            "status": if condition.status { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": time(condition.since_ms),
        });
        let completed = name == "Initialized" && over == Some("PodCompleted");
        let reason = if completed { Some(("PodCompleted".to_owned(), String::new())) } else { why(name) };
        if let Some((reason, message)) = reason.filter(|_| !condition.status || completed) {
            value["reason"] = reason.into();
            if !message.is_empty() {
                value["message"] = message.into();
            }
        }
        all.push(value);
    }
    let disrupted = seen.ending.as_ref().and_then(|ending| Some((ending, ending.disrupted_ms?)));
    if let Some((ending, since_ms)) = disrupted {
        all.push(json!({
            "type": DISRUPTED, "status": "True", "lastProbeTime": null, "lastTransitionTime": time(since_ms),
            "reason": "TerminationByKubelet", "message": ending.message,
        }));
    }
    // What others have set, PodScheduled among it, is passed on as it came.
    let theirs = |condition: &&Value| {
        let ours = OURS.iter().any(|name| condition["type"] == *name);
        !ours && (disrupted.is_none() || condition["type"] != DISRUPTED)
    };
    all.extend(pod.status.conditions.iter().filter(theirs).cloned());
    all
}

fn container_status(pod: &Pod, seen: &Observed, container: &Container, role: Role) -> Value {
    let record = seen.record(&container.name);
    let (state, last) = states(pod, seen, container, record, role);
    let current = record.run().or(record.ended().map(|ended| &ended.run));
    let image = current.map_or(container.image.as_str(), |run| run.image.name.as_str());
    let image_id = current.map(|run| image_id(&run.image.name, &run.image.digest)).unwrap_or_default();
    let completed_init = role == Role::Init && !container.is_sidecar() && record.completed();
    let mut status = json!({
        "name": container.name,
        "state": state,
        "lastState": last,
        "ready": record.ready || completed_init,
        "restartCount": record.restart_count(),
        "image": image,
        "imageID": image_id,
        "started": record.started,
    });
    if let Some(run) = current {
        status["containerID"] = run.container_id.as_str().into();
    }
    if let (Role::Ephemeral, Some(status)) = (role, status.as_object_mut()) {
        // Nobody asks whether it is ready.
        status.insert("ready".into(), false.into());
        status.remove("started");
    }
    status
}

/// `repository@digest`, as Kubernetes shows what a name stood for.
fn image_id(name: &str, digest: &str) -> String {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let end = name[slash..].find(':').map_or(name.len(), |at| slash + at);
    if digest.is_empty() { String::new() } else { format!("{}@{digest}", &name[..end]) }
}

fn states(pod: &Pod, seen: &Observed, container: &Container, record: &Record, role: Role) -> (Value, Value) {
    let last =
        record.last.as_ref().map_or_else(|| json!({}), |ended| json!({ "terminated": terminated(ended) }));
    let waiting = |reason: &str, message: &str| {
        let mut waiting = json!({ "reason": reason });
        if !message.is_empty() {
            waiting["message"] = message.into();
        }
        json!({ "waiting": waiting })
    };
    match &record.state {
        State::Running(run) => (json!({ "running": { "startedAt": time(run.started_ms) } }), last),
        State::Waiting { reason, message } if !reason.is_empty() => (waiting(reason, message), last),
        State::Waiting { .. } => {
            let initializing = !pod.spec.init_containers.is_empty();
            (waiting(if initializing { "PodInitializing" } else { "ContainerCreating" }, ""), last)
        }
        State::Ended(ended) => {
            let again = restarts(pod.spec.restart_policy, container, role, ended.exit.code)
                && seen.stop_by_ms().is_none();
            let terminated = json!({ "terminated": terminated(ended) });
            if again && record.crash_delay_ms > 0 {
                (waiting("CrashLoopBackOff", &crash_message(pod, container, record)), terminated)
            } else if again && ended.reason == RuntimeError::START_ERROR {
                // It never ran, and is about to be tried again.
                (waiting("RunContainerError", &ended.exit.message), terminated)
            } else {
                (terminated, last)
            }
        }
    }
}

/// What Kubernetes says of a container that waits for its next restart.
pub fn crash_message(pod: &Pod, container: &Container, record: &Record) -> String {
    let seconds = record.crash_delay_ms / 1000;
    let pause = match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    let metadata = &pod.metadata;
    format!(
        "back-off {pause} restarting failed container={} pod={}_{}({})",
        container.name, metadata.name, metadata.namespace, metadata.uid
    )
}

fn terminated(ended: &Ended) -> Value {
    let mut value = json!({
        "exitCode": ended.exit.code,
        "reason": ended.reason,
        "startedAt": time(ended.exit.started_at_ms),
        "finishedAt": time(ended.exit.finished_at_ms),
        "containerID": ended.run.container_id,
    });
    if !ended.exit.message.is_empty() {
        value["message"] = ended.exit.message.as_str().into();
    }
    value
}
