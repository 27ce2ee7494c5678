//! What a pod gets from the RuntimeClass that it names, as Kubernetes' admission of that name has it: overhead and scheduling.

use serde_json::{Value, json};

use crate::{kind::Kind, object::ObjectKey, quantity, state::State};

/// The class of plain processes, which workers know without an object.
const HOST: &str = "host";

/// Completes a pod's spec by its RuntimeClass. An error says, in Kubernetes' words, why the pod is refused: the class does not exist, or says
/// otherwise than the pod does. Done again, it changes nothing.
pub fn apply_runtime_class(state: &State, spec: &mut Value) -> Result<(), String> {
    if !spec.is_object() {
        return Ok(());
    }
    let name = spec["runtimeClassName"].as_str().unwrap_or_default().to_owned();
    let class = match state.get(&ObjectKey::new(Kind::RUNTIME_CLASS, "", &name)) {
        _ if name.is_empty() => Value::Null,
        Some(class) => class.document.rest_value(),
        None if name == HOST => Value::Null,
        None => return Err(format!("pod rejected: RuntimeClass {name:?} not found")),
    };
    set_overhead(spec, &class["overhead"]["podFixed"], class["overhead"].is_object())?;
    select_nodes(spec, &class["scheduling"]["nodeSelector"])?;
    bear_taints(spec, &class["scheduling"]["tolerations"]);
    Ok(())
}

fn set_overhead(spec: &mut Value, fixed: &Value, defined: bool) -> Result<(), String> {
    match (spec["overhead"].is_object(), defined) {
        (false, false) => {}
        (true, false) => {
            return Err(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into()
            );
        }
        (true, true) if !same_amounts(&spec["overhead"], fixed) => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
        (true, true) => {}
        (false, true) => spec["overhead"] = if fixed.is_object() { fixed.clone() } else { json!({}) },
    }
    Ok(())
}

fn same_amounts(one: &Value, other: &Value) -> bool {
    let count = |list: &Value| list.as_object().map_or(0, serde_json::Map::len);
    count(one) == count(other)
        && one.as_object().into_iter().flatten().all(|(name, amount)| {
            other.get(name).is_some_and(|o| quantity::wide_of(o) == quantity::wide_of(amount))
        })
}

fn select_nodes(spec: &mut Value, selector: &Value) -> Result<(), String> {
    for (key, value) in selector.as_object().into_iter().flatten() {
        let own = &spec["nodeSelector"][key];
        if !own.is_null() && own != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(own)
            ));
        }
        // What is no map is refused by its field; here it must only not end the turn.
        if spec["nodeSelector"].is_null() {
            spec["nodeSelector"] = json!({});
        }
        if let Some(all) = spec["nodeSelector"].as_object_mut() {
            all.insert(key.clone(), value.clone());
        }
    }
    Ok(())
}

fn bear_taints(spec: &mut Value, tolerations: &Value) {
    let Some(more) = tolerations.as_array().filter(|list| !list.is_empty()) else { return };
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    for toleration in more {
        if !list.contains(toleration) {
            list.push(toleration.clone());
        }
    }
}
