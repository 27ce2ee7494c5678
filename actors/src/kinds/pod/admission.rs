//! A pod made from a template: what the API does to a client's pod, for the pods that actors make.

use serde_json::{Value, json};

use super::{apply_runtime_class, bear_memory_pressure, complete, qos_class};
use crate::{
    candidates,
    kind::Kind,
    limits,
    object::{Object, ObjectKey},
    pod_security, quota, service_accounts,
    state::State,
    turn::Turn,
};

/// A generated name's prefix is cut to this, so that the whole is a valid label.
const PREFIX_MAX: usize = 58;
/// How often a name is tried.
const NAME_TRIES: usize = 8;
/// The priority classes that exist without an object.
const BUILT_IN: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// A pod of the owner's template with a name of its own, ready to be created: labels, annotations and finalizers of the
/// template, the owner as its managing owner, status and priority as the API sets them on a client's pod. Says why when
/// the API would refuse it.
pub fn new_from_template(turn: &mut Turn, owner: &Object, template: &Value) -> Result<Value, String> {
    let prefix = format!("{}-", owner.key.name);
    new_with_prefix(turn, owner, template, &prefix)
}

/// The same with a name that begins with this.
pub fn new_with_prefix(
    turn: &mut Turn,
    owner: &Object,
    template: &Value,
    prefix: &str,
) -> Result<Value, String> {
    let mut pod = without_name(turn, owner, template, prefix)?;
    pod["metadata"]["name"] = free_name(turn, &owner.key.namespace, prefix)
        .ok_or_else(|| {
            format!("pods {prefix:?} already exists: no free name was found in {NAME_TRIES} tries")
        })?
        .into();
    admit(turn, &mut pod)?;
    Ok(pod)
}

/// The same with just this name. Whether it is free is seen when the pod is created.
pub fn new_named(turn: &mut Turn, owner: &Object, template: &Value, name: &str) -> Result<Value, String> {
    let prefix = format!("{}-", owner.key.name);
    let mut pod = without_name(turn, owner, template, &prefix)?;
    pod["metadata"]["name"] = name.into();
    admit(turn, &mut pod)?;
    Ok(pod)
}

/// Completes what it asks for by the limit ranges of its namespace, and by its account, and looks whether the namespace enforces a standard
/// that the pod violates, and whether there is room for it in its quotas.
pub(crate) fn admit(turn: &mut Turn, pod: &mut Value) -> Result<(), String> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let key = ObjectKey::new(Kind::POD, text("namespace"), text("name"));
    limits::admit(turn.state(), &key, pod)
        .and_then(|()| service_accounts::admit(turn, &key.namespace, &mut pod["spec"]))
        .and_then(|()| {
            let parts = || (pod["metadata"].clone(), pod["spec"].clone());
            pod_security::admit(turn.state(), &key, None, None, parts)
        })
        .and_then(|()| quota::admit_value(turn, &key, pod))
        .map_err(|why| format!("pods {:?} is forbidden: {why}", key.name))
}

/// All of it but the name.
fn without_name(turn: &mut Turn, owner: &Object, template: &Value, prefix: &str) -> Result<Value, String> {
    let namespace = owner.key.namespace.as_str();
    let mut spec = template["spec"].clone();
    complete(&mut spec);
    // What fails for every pod of the template is said of all of them: the same words each time.
    let forbidden = |why| format!("pods {prefix:?} is forbidden: {why}");
    service_accounts::find(turn.state(), namespace, &spec).map_err(forbidden)?;
    set_priority(turn.state(), &mut spec).map_err(forbidden)?;
    apply_runtime_class(turn.state(), &mut spec).map_err(forbidden)?;
    let mut metadata = json!({
        "generateName": prefix,
        "namespace": namespace,
        "ownerReferences": [Turn::controller_reference(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata[field] = value.clone();
        }
    }
    let class = qos_class(&spec);
    bear_memory_pressure(&mut spec, class);
    let status = json!({"phase": "Pending", "qosClass": class});
    Ok(json!({"metadata": metadata, "spec": spec, "status": status}))
}

fn free_name(turn: &mut Turn, namespace: &str, prefix: &str) -> Option<String> {
    let mut end = prefix.len().min(PREFIX_MAX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    for _ in 0..NAME_TRIES {
        let name = format!("{}{}", &prefix[..end], turn.context().name_suffix());
        let state = turn.state();
        if state.get(&ObjectKey::new(Kind::POD, namespace, &name)).is_none()
            && state.get(&candidates::key(Kind::POD, namespace, &name)).is_none()
        {
            return Some(name);
        }
    }
    None
}

/// Sets the priority that the class means, or that of the default class.
fn set_priority(state: &State, spec: &mut Value) -> Result<(), String> {
    if !spec.is_object() {
        return Ok(());
    }
    let name = spec["priorityClassName"].as_str().unwrap_or_default().to_string();
    let built_in = BUILT_IN.iter().find(|(class, _)| *class == name);
    let (priority, policy) = if let Some((_, priority)) = built_in {
        (*priority, None)
    } else if name.is_empty() {
        match default_class(state) {
            Some((class, rest)) => {
                spec["priorityClassName"] = class.into();
                (rest["value"].as_i64().unwrap_or(0), rest["preemptionPolicy"].as_str().map(String::from))
            }
            None => (0, None),
        }
    } else {
        let class = state
            .get(&ObjectKey::new(Kind::PRIORITY_CLASS, "", &name))
            .ok_or_else(|| format!("no PriorityClass with name {name} was found"))?;
        let rest = class.document.rest_value();
        (rest["value"].as_i64().unwrap_or(0), rest["preemptionPolicy"].as_str().map(String::from))
    };
    spec["priority"] = priority.into();
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = policy.unwrap_or_else(|| "PreemptLowerPriority".into()).into();
    }
    Ok(())
}

/// The class for pods that name none: of several the one with the lowest priority.
fn default_class(state: &State) -> Option<(String, Value)> {
    state
        .list(Kind::PRIORITY_CLASS, None)
        .map(|class| (class.key.name.to_string(), class.document.rest_value()))
        .filter(|(_, rest)| rest["globalDefault"] == true)
        .min_by_key(|(_, rest)| rest["value"].as_i64().unwrap_or(0))
}
