//! The objects that clients make.

use kontiki_chaos_plan::{
    names::{self, FINALIZER, NAMESPACE},
    plan::Op,
};
use serde_json::{Value, json};

use super::Book;
use crate::truth::{RUNS_S, SOCKET};

/// The image that containers name; what runs is the harness's own program, on the host.
const IMAGE: &str = "kontiki.local/web:1";
/// Changing this annotation of a template rolls a Deployment out.
pub(super) const BUILD: &str = "chaos.kontiki.io/build";

/// What runs in a pod: a process of the host that tells the truth about itself.
fn pod_spec(book: &Book, cpu_m: u64) -> Value {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    json!({
        "runtimeClassName": "host",
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": book.container,
            "env": [
                {"name": SOCKET, "value": book.socket},
                field("NODE", "spec.nodeName"),
                field("POD_UID", "metadata.uid"),
                field("POD_NAME", "metadata.name"),
                field("POD_NAMESPACE", "metadata.namespace"),
            ],
            "resources": {"requests": {"cpu": format!("{cpu_m}m")}},
        }],
    })
}

/// A bare pod.
pub(super) fn pod(book: &Book, n: u32, cpu_m: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": names::pod(n).name, "namespace": NAMESPACE},
        "spec": pod_spec(book, cpu_m),
    })
}

/// A Deployment.
pub(crate) fn deployment(
    book: &Book,
    n: u32,
    replicas: u32,
    cpu_m: u64,
    max_surge: u32,
    max_unavailable: u32,
) -> Value {
    let name = names::deployment(n).name.clone();
    // Both zero is refused; a plan may not know that.
    let max_unavailable = if max_surge == 0 { max_unavailable.max(1) } else { max_unavailable };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"rollingUpdate": {"maxSurge": max_surge, "maxUnavailable": max_unavailable}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {BUILD: "first"}},
                "spec": pod_spec(book, cpu_m),
            },
        },
    })
}

/// A StatefulSet.
pub(super) fn stateful_set(book: &Book, n: u32, replicas: u32, cpu_m: u64, parallel: bool) -> Value {
    let name = names::stateful_set(n).name.clone();
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "podManagementPolicy": if parallel { "Parallel" } else { "OrderedReady" },
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {BUILD: "first"}},
                "spec": pod_spec(book, cpu_m),
            },
        },
    })
}

/// A Job, each of whose pods ends well after some seconds; none for another operation.
pub(super) fn job(book: &Book, op: &Op) -> Option<Value> {
    let Op::Job { name, completions, parallelism, indexed, runs_s, backoff_limit, ttl_s, cpu_m } = op else {
        return None;
    };
    let mut pod = pod_spec(book, *cpu_m);
    pod["restartPolicy"] = "Never".into();
    if let Some(env) = pod["containers"][0]["env"].as_array_mut() {
        env.push(json!({"name": RUNS_S, "value": runs_s.to_string()}));
    }
    Some(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": names::job(*name).name, "namespace": NAMESPACE},
        "spec": {
            "completions": completions, "parallelism": parallelism, "backoffLimit": backoff_limit,
            "completionMode": if *indexed { "Indexed" } else { "NonIndexed" },
            "ttlSecondsAfterFinished": ttl_s, "template": {"spec": pod},
        },
    }))
}

/// A ConfigMap that a finalizer holds.
pub(super) fn held(key: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names::finalized(key).name, "namespace": NAMESPACE, "finalizers": [FINALIZER]},
    })
}

/// A namespace.
pub(super) fn namespace(n: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names::namespace(n).name}})
}
