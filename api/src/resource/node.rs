//! Nodes.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, items, section, text},
    names::{check_label_value, check_qualified},
    or_none,
};

/// The strategy of nodes.
pub static STRATEGY: Strategy = Strategy {
    default: |node| {
        section(node, "spec");
    },
    validate,
    columns: &[
        Column::text("Status"),
        Column::text("Roles"),
        Column::text("Age"),
        Column::text("Version"),
        Column::wide("Internal-IP"),
        Column::wide("External-IP"),
        Column::wide("OS-Image"),
        Column::wide("Kernel-Version"),
        Column::wide("Container-Runtime"),
    ],
    cells,
    selectable: &["spec.unschedulable"],
    status: true,
    ..Strategy::PASSIVE
};

/// What a node has for pods is what it has, unless it says otherwise.
pub(super) fn prepare_status(node: &mut Value) {
    let status = section(node, "status");
    if let Some(capacity) = status.get("capacity").cloned() {
        status.entry("allocatable").or_insert(capacity);
    }
}

fn validate(node: &Value, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, taint) in items(&node["spec"], "taints") {
        let path = format!("spec.taints[{at}]");
        let (key, effect) = (text(taint, "key"), text(taint, "effect"));
        for wrong in check_qualified(key) {
            errors.invalid_text(&format!("{path}.key"), key, &wrong);
        }
        for wrong in check_label_value(text(taint, "value")) {
            errors.invalid_text(&format!("{path}.value"), text(taint, "value"), &wrong);
        }
        if effect.is_empty() {
            errors.required(&format!("{path}.effect"), "");
        } else {
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.one_of(&format!("{path}.effect"), &taint["effect"], &effects);
        }
        if !seen.insert((key, effect)) {
            errors.duplicate(&path, &json!({"key": key, "effect": effect}));
        }
    }
}

fn cells(node: &Value, now_ms: i64) -> Vec<Value> {
    let (spec, status) = (&node["spec"], &node["status"]);
    let ready = items(status, "conditions").map(|(_, c)| c).find(|c| text(c, "type") == "Ready");
    let mut state = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if spec["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        match (key.strip_prefix("node-role.kubernetes.io/"), key.as_str()) {
            (Some(role), _) if !role.is_empty() => roles.push(role),
            (_, "kubernetes.io/role") => roles.extend(value.as_str()),
            _ => {}
        }
    }
    roles.sort_unstable();
    let address = |kind: &str| {
        let found = items(status, "addresses").map(|(_, a)| a).find(|a| text(a, "type") == kind);
        or_none(found.map_or("", |a| text(a, "address")))
    };
    let info = |key: &str| match text(at(status, &["nodeInfo"]), key) {
        "" => Value::from("<unknown>"),
        text => text.into(),
    };
    vec![
        state.into(),
        or_none(&roles.join(",")),
        age(node, now_ms),
        text(&status["nodeInfo"], "kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}
