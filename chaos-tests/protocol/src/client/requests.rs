//! The REST requests of a plan's operations on workloads and nodes.

use http::Method;
use kontiki_chaos_plan::{names, plan::Op};
use serde_json::{Value, json};

use super::Ask;

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";

/// The collection that an object is in.
pub(super) fn collection(key: &kontiki_actors::ObjectKey) -> String {
    let info = key.kind.info();
    let version = key.kind.api_version();
    let root = if version.contains('/') { "apis" } else { "api" };
    if info.namespaced {
        format!("/{root}/{version}/namespaces/{}/{}", key.namespace, info.plural)
    } else {
        format!("/{root}/{version}/{}", info.plural)
    }
}

/// An object.
pub(super) fn object(key: &kontiki_actors::ObjectKey) -> String {
    format!("{}/{}", collection(key), key.name)
}

fn node(n: u32) -> String {
    format!("/api/v1/nodes/{}", names::worker(n))
}

fn container(cpu_m: u64, template: u64) -> Value {
    let requests = if cpu_m > 0 { json!({"cpu": format!("{cpu_m}m")}) } else { json!({}) };
    json!({"name": "main", "image": format!("registry.local/web:{template}"), "resources": {"requests": requests}})
}

/// The deployment as a whole.
fn deployment(name: u32, replicas: u32, cpu_m: u64, max_surge: u32, max_unavailable: u32) -> Value {
    let key = names::deployment(name);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": key.name}},
            "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": max_surge, "maxUnavailable": max_unavailable}},
            "template": {
                "metadata": {"labels": {"app": key.name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(cpu_m, 0)]},
            },
        },
    })
}

/// A StatefulSet as a whole.
fn stateful_set(name: u32, replicas: u32, cpu_m: u64, parallel: bool) -> Value {
    let key = names::stateful_set(name);
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "replicas": replicas,
            "serviceName": key.name,
            "selector": {"matchLabels": {"app": key.name}},
            "podManagementPolicy": if parallel { "Parallel" } else { "OrderedReady" },
            "template": {
                "metadata": {"labels": {"app": key.name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(cpu_m, 0)]},
            },
        },
    })
}

/// A Job, each of whose pods ends well after some seconds.
fn job(op: &Op) -> Option<Value> {
    let Op::Job { name, completions, parallelism, indexed, runs_s, backoff_limit, ttl_s, cpu_m } = op else {
        return None;
    };
    let key = names::job(*name);
    let mut container = container(*cpu_m, 0);
    container["command"] = json!(["sleep", runs_s.to_string()]);
    Some(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "completions": completions, "parallelism": parallelism, "backoffLimit": backoff_limit,
            "completionMode": if *indexed { "Indexed" } else { "NonIndexed" },
            "ttlSecondsAfterFinished": ttl_s,
            "template": {"spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container],
            }},
        },
    }))
}

/// How something is deleted with what it has made, or without.
fn delete_with(policy: &str) -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy})
}

/// Without waiting for the worker.
fn delete_at_once() -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})
}

/// What an operation asks for, in turn: the next only if the one before was refused with this code. None for registers and watches.
pub(super) fn of(op: &Op, unique: u64) -> Option<Vec<(Option<u16>, Ask)>> {
    let ask = |method: Method, path: String| Ask::new(method, path, "");
    let patch = |path: String, media, body: Value| Ask { media, ..ask(Method::PATCH, path).with(body) };
    let one = |ask: Ask| Some(vec![(None, ask)]);
    match op {
        Op::Deploy { name, replicas, cpu_m, max_surge, max_unavailable } => {
            let key = names::deployment(*name);
            let body = deployment(*name, *replicas, *cpu_m, *max_surge, *max_unavailable);
            let create = ask(Method::POST, collection(&key)).with(body.clone());
            let change = json!({"spec": {"replicas": replicas, "strategy": body["spec"]["strategy"],
                "template": {"spec": {"containers": [{"name": "main", "resources": container(*cpu_m, 0)["resources"]}]}}}});
            Some(vec![(None, create), (Some(409), patch(object(&key), STRATEGIC, change))])
        }
        Op::Scale { name, replicas } => {
            one(patch(object(&names::deployment(*name)), MERGE, json!({"spec": {"replicas": replicas}})))
        }
        Op::Rollout { name } => {
            let annotations = json!({"kontiki.io/rollout": unique.to_string()});
            let body = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
            one(patch(object(&names::deployment(*name)), STRATEGIC, body))
        }
        // What a client does who goes back: the template without what the last rollout brought.
        Op::Undo { name } => {
            let body = json!({"spec": {"template": {"metadata": {"annotations": null}}}});
            one(patch(object(&names::deployment(*name)), MERGE, body))
        }
        Op::Undeploy { name, orphan } => {
            let policy = if *orphan { "Orphan" } else { "Background" };
            one(ask(Method::DELETE, object(&names::deployment(*name))).with(delete_with(policy)))
        }
        Op::StatefulSet { name, replicas, cpu_m, parallel } => {
            let key = names::stateful_set(*name);
            let body = stateful_set(*name, *replicas, *cpu_m, *parallel);
            let create = ask(Method::POST, collection(&key)).with(body);
            let change = json!({"spec": {"replicas": replicas}});
            Some(vec![(None, create), (Some(409), patch(object(&key), MERGE, change))])
        }
        Op::ScaleStatefulSet { name, replicas } => {
            one(patch(object(&names::stateful_set(*name)), MERGE, json!({"spec": {"replicas": replicas}})))
        }
        Op::RolloutStatefulSet { name } => {
            let annotations = json!({"kontiki.io/rollout": unique.to_string()});
            let body = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
            one(patch(object(&names::stateful_set(*name)), STRATEGIC, body))
        }
        Op::DeleteStatefulSet { name } => {
            one(ask(Method::DELETE, object(&names::stateful_set(*name))).with(delete_with("Background")))
        }
        Op::Job { name, .. } => one(ask(Method::POST, collection(&names::job(*name))).with(job(op)?)),
        Op::DeleteJob { name } => {
            one(ask(Method::DELETE, object(&names::job(*name))).with(delete_with("Background")))
        }
        Op::Pod { name, cpu_m } => {
            let key = names::pod(*name);
            one(ask(Method::POST, collection(&key)).with(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": key.name, "namespace": key.namespace},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(*cpu_m, 0)]},
            })))
        }
        Op::DeletePod { name, at_once } => {
            let ask = ask(Method::DELETE, object(&names::pod(*name)));
            one(if *at_once { ask.with(delete_at_once()) } else { ask })
        }
        Op::Drain { worker } => {
            one(patch(node(*worker), STRATEGIC, json!({"spec": {"unschedulable": true}})))
        }
        Op::Uncordon { worker } => {
            one(patch(node(*worker), STRATEGIC, json!({"spec": {"unschedulable": null}})))
        }
        Op::Taint { worker, on: true } => {
            let taint = json!({"key": names::TAINT, "value": "", "effect": "NoSchedule"});
            one(patch(node(*worker), STRATEGIC, json!({"spec": {"taints": [taint]}})))
        }
        Op::Taint { worker, on: false } => {
            let taint = json!({"$patch": "delete", "key": names::TAINT});
            one(patch(node(*worker), STRATEGIC, json!({"spec": {"taints": [taint]}})))
        }
        Op::Finalize { key, add: true } => {
            let key = names::finalized(*key);
            one(ask(Method::POST, collection(&key)).with(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": key.name, "namespace": key.namespace, "finalizers": [names::FINALIZER]},
            })))
        }
        Op::Finalize { key, add: false } => {
            let body = json!({"metadata": {"finalizers": null}});
            one(patch(object(&names::finalized(*key)), MERGE, body))
        }
        Op::Namespace { name, create: true } => {
            let key = names::namespace(*name);
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": key.name}});
            one(ask(Method::POST, collection(&key)).with(body))
        }
        Op::Namespace { name, create: false } => one(ask(Method::DELETE, object(&names::namespace(*name)))),
        _ => None,
    }
}
