//! The row of a pod in `kubectl get`.

use kontiki_actors::object::parse_time_ms;
use serde_json::Value;

use crate::resource::{
    age, duration,
    fields::{at, items, number, text},
    or_none,
};

pub(super) fn cells(pod: &Value, now_ms: i64) -> Vec<Value> {
    let summary = summary(pod, now_ms);
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let gates = items(spec, "readinessGates").count();
    let passed = items(spec, "readinessGates")
        .filter(|(_, gate)| {
            condition(status, text(gate, "conditionType")).is_some_and(|c| text(c, "status") == "True")
        })
        .count();
    let ip = text(status, "podIP");
    vec![
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.into(),
        age(pod, now_ms),
        or_none(ip),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        if gates == 0 { "<none>".into() } else { format!("{passed}/{gates}").into() },
    ]
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: String,
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    items(status, "conditions").map(|(_, c)| c).find(|c| text(c, "type") == kind)
}

fn terminated(state: &Value, prefix: &str) -> String {
    let state = &state["terminated"];
    match (text(state, "reason"), number(state, "signal")) {
        ("", 0) => format!("{prefix}ExitCode:{}", number(state, "exitCode")),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    }
}

fn summary(pod: &Value, now_ms: i64) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecar = |name: &str| {
        items(spec, "initContainers")
            .any(|(_, c)| text(c, "name") == name && text(c, "restartPolicy") == "Always")
    };
    let sidecars =
        items(spec, "initContainers").filter(|(_, c)| text(c, "restartPolicy") == "Always").count();
    let total = items(spec, "containers").count() + sidecars;
    let phase = text(status, "phase");
    let mut reason = match text(status, "reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    if condition(status, "PodScheduled").is_some_and(|c| text(c, "reason") == "SchedulingGated") {
        reason = "SchedulingGated".into();
    }
    let (mut restarts, mut last_restart, mut ready) = (0, None, 0);
    let mut count = |container: &Value| {
        restarts += number(container, "restartCount");
        let ended = text(at(container, &["lastState", "terminated"]), "finishedAt");
        last_restart = last_restart.max(parse_time_ms(ended));
    };
    let mut initializing = false;
    let inits = items(spec, "initContainers").count();
    for (at, container) in items(status, "initContainerStatuses") {
        count(container);
        let state = &container["state"];
        let restartable = sidecar(text(container, "name"));
        if restartable && container["started"] == true {
            ready += usize::from(container["ready"] == true);
            continue;
        }
        if state.get("terminated").is_some_and(|t| number(t, "exitCode") == 0) || initializing {
            continue;
        }
        reason = if state.get("terminated").is_some() {
            terminated(state, "Init:")
        } else if !matches!(text(&state["waiting"], "reason"), "" | "PodInitializing") {
            format!("Init:{}", text(&state["waiting"], "reason"))
        } else {
            format!("Init:{at}/{inits}")
        };
        initializing = true;
    }
    if !initializing || condition(status, "Initialized").is_some_and(|c| text(c, "status") == "True") {
        let mut running = false;
        let statuses: Vec<&Value> = items(status, "containerStatuses").map(|(_, c)| c).collect();
        for container in statuses.into_iter().rev() {
            count(container);
            let state = &container["state"];
            if !text(&state["waiting"], "reason").is_empty() {
                reason = text(&state["waiting"], "reason").to_owned();
            } else if state.get("terminated").is_some() {
                reason = terminated(state, "");
            } else if container["ready"] == true && state.get("running").is_some() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            let is_ready = condition(status, "Ready").is_some_and(|c| text(c, "status") == "True");
            reason = if is_ready { "Running".into() } else { "NotReady".into() };
        }
    }
    if pod["metadata"].get("deletionTimestamp").is_some_and(|t| !t.is_null()) {
        if text(status, "reason") == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".into();
        }
    }
    let restarts = match last_restart {
        Some(then) if restarts > 0 => format!("{restarts} ({} ago)", duration::human((now_ms - then) / 1000)),
        _ => restarts.to_string(),
    };
    Summary { ready, total, reason, restarts }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(pod: &Value) -> (String, String) {
        let summary = summary(pod, 1_700_000_300_000);
        (format!("{}/{}", summary.ready, summary.total), format!("{} {}", summary.reason, summary.restarts))
    }

    #[test]
    fn the_status_column_tells_the_worst_of_it() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        for (status_, metadata, ready, text) in [
            (json!({"phase": "Pending"}), json!({}), "0/1", "Pending 0"),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                json!({}),
                "0/1",
                "SchedulingGated 0",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                json!({}),
                "0/1",
                "Init:0/1 0",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 2,
                "state": {"terminated": {"exitCode": 3}}}]}),
                json!({}),
                "0/1",
                "Init:ExitCode:3 2",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": false, "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"finishedAt": "2023-11-14T22:13:20Z"}}}]}),
                json!({}),
                "0/1",
                "CrashLoopBackOff 4 (5m ago)",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true,
                "state": {"running": {}}}]}),
                json!({}),
                "1/1",
                "Running 0",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true,
                "state": {"running": {}}}]}),
                json!({"deletionTimestamp": "2023-11-14T22:13:20Z"}),
                "1/1",
                "Terminating 0",
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), json!({}), "0/1", "Evicted 0"),
            (
                json!({"phase": "Succeeded", "containerStatuses": [{"name": "a",
                "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}),
                json!({}),
                "0/1",
                "Completed 0",
            ),
        ] {
            let pod = json!({"metadata": metadata, "spec": spec, "status": status_});
            assert_eq!(status(&pod), (ready.to_owned(), text.to_owned()), "{status_}");
        }
    }
}
