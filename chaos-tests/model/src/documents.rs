//! The documents that clients write, as a person would: the API completes them.

use kontiki_actors::{Kind, ObjectKey, State};
use kontiki_chaos_plan::{names, plan::Op};
use serde_json::{Value, json};

/// A node.
pub(crate) fn node(worker: u32) -> ObjectKey {
    ObjectKey::new(Kind::NODE, "", &names::worker(worker))
}

fn pod_spec(cpu_m: u64, image: u64, grace_s: u64) -> Value {
    json!({
        "containers": [{
            "name": "main", "image": format!("model:{image}"),
            "resources": {"requests": {"cpu": format!("{cpu_m}m"), "memory": "64Mi"}},
        }],
        "terminationGracePeriodSeconds": grace_s,
    })
}

/// A Deployment with its bounds: surge and unavailable.
pub(crate) fn deployment(key: &ObjectKey, replicas: u32, cpu_m: u64, bounds: (u32, u32)) -> Value {
    let (surge, unavailable) = bounds;
    // Both 0 is refused.
    let surge = if surge + unavailable == 0 { 1 } else { surge };
    json!({
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": key.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": {"metadata": {"labels": {"app": key.name}}, "spec": pod_spec(cpu_m, 0, 3)},
        },
    })
}

/// A StatefulSet.
pub(crate) fn stateful_set(key: &ObjectKey, replicas: u32, cpu_m: u64, parallel: bool) -> Value {
    json!({
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": key.name}},
            "podManagementPolicy": if parallel { "Parallel" } else { "OrderedReady" },
            "template": {"metadata": {"labels": {"app": key.name}}, "spec": pod_spec(cpu_m, 0, 2)},
        },
    })
}

/// A Job whose pods end well after some seconds.
pub(crate) fn job(key: &ObjectKey, job: &Op) -> Option<Value> {
    let Op::Job { completions, parallelism, indexed, runs_s, backoff_limit, ttl_s, cpu_m, .. } = job else {
        return None;
    };
    let mut pod = pod_spec(*cpu_m, 0, 2);
    pod["containers"][0]["command"] = json!(["sleep", runs_s.to_string()]);
    pod["restartPolicy"] = "Never".into();
    Some(json!({
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "completions": completions, "parallelism": parallelism, "backoffLimit": backoff_limit,
            "completionMode": if *indexed { "Indexed" } else { "NonIndexed" },
            "ttlSecondsAfterFinished": ttl_s, "template": {"spec": pod},
        },
    }))
}

/// A bare pod.
pub(crate) fn pod(key: &ObjectKey, cpu_m: u64) -> Value {
    json!({"metadata": {"name": key.name, "namespace": key.namespace}, "spec": pod_spec(cpu_m, 0, 2)})
}

/// A ConfigMap with a finalizer.
pub(crate) fn held(key: &ObjectKey) -> Value {
    json!({
        "metadata": {"name": key.name, "namespace": key.namespace, "finalizers": [names::FINALIZER]},
        "data": {},
    })
}

/// Takes the finalizer off.
pub(crate) fn release(object: &mut Value, _: &State, _: u64) {
    if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
        list.retain(|finalizer| finalizer != names::FINALIZER);
    }
}

/// A template that never was.
pub(crate) fn other_template(object: &mut Value, _: &State, number: u64) {
    object["spec"]["template"]["spec"]["containers"][0]["image"] = format!("model:{number}").into();
}

/// The template of the revision before, as a person undoes a rollout.
pub(crate) fn template_before(object: &mut Value, state: &State, _: u64) {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let revision = |set: &kontiki_actors::Object| -> u64 {
        let text = set.meta.annotations.get("deployment.kubernetes.io/revision");
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let mut sets: Vec<_> = state.dependents(uid).filter(|o| o.key.kind == Kind::REPLICA_SET).collect();
    sets.sort_by_key(|set| std::cmp::Reverse(revision(set)));
    if let Some(before) = sets.get(1) {
        let mut template = before.document.spec_value()["template"].clone();
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        object["spec"]["template"] = template;
    }
}

/// Cordons or not.
pub(crate) fn cordon(object: &mut Value, _: &State, on: u64) {
    object["spec"]["unschedulable"] = (on == 1).into();
}

/// Taints or not.
pub(crate) fn taint(object: &mut Value, _: &State, on: u64) {
    if !object["spec"]["taints"].is_array() {
        object["spec"]["taints"] = json!([]);
    }
    if let Some(list) = object["spec"]["taints"].as_array_mut() {
        list.retain(|taint| taint["key"] != names::TAINT);
        if on == 1 {
            list.push(json!({"key": names::TAINT, "effect": "NoSchedule"}));
        }
    }
}
