//! What may change in a pod that exists: images, deadline, grace, added tolerations, gates that go. Everything else
//! of the spec is fixed, since the pod may be running.

use std::collections::HashSet;

use serde_json::Value;

use crate::resource::{
    field::Errors,
    fields::{at, items, same, text},
};

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (new, old) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(new, list).count() != items(old, list).count() {
            errors.forbidden(&format!("spec.{list}"), "pod updates may not add or remove containers");
            return;
        }
    }
    let deadline = |spec: &Value| spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    match (deadline(new), deadline(old)) {
        (Some(now), Some(before)) if now > before => {
            let detail = "must be less than or equal to previous value";
            errors.invalid("spec.activeDeadlineSeconds", &new["activeDeadlineSeconds"], detail);
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.invalid("spec.activeDeadlineSeconds", &Value::Null, detail);
        }
        _ => {}
    }
    tolerations(new, old, errors);
    let known: HashSet<&str> = items(old, "schedulingGates").map(|(_, gate)| text(gate, "name")).collect();
    for (at, gate) in items(new, "schedulingGates") {
        if !known.contains(text(gate, "name")) {
            errors.forbidden(
                &format!("spec.schedulingGates[{at}].name"),
                "only deletion is allowed, but found new scheduling gate",
            );
        }
    }
    // A gated pod has not been placed, so what only the scheduler reads may still be narrowed.
    let gated = items(old, "schedulingGates").next().is_some();
    if !same(&fixed(new, gated), &fixed(old, gated)) {
        errors.forbidden("spec", FORBIDDEN);
    }
}

fn tolerations(new: &Value, old: &Value, errors: &mut Errors) {
    let plain = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept: HashSet<Value> = items(new, "tolerations").map(|(_, t)| plain(t)).collect();
    for (_, before) in items(old, "tolerations") {
        if !kept.contains(&plain(before)) {
            errors.forbidden(
                "spec.tolerations",
                "existing toleration can not be modified except its tolerationSeconds",
            );
            return;
        }
    }
}

/// The spec without what may change.
fn fixed(spec: &Value, gated: bool) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.remove("image");
                // Its default comes from the image.
                container.remove("imagePullPolicy");
            }
        }
    }
    let negative = at(&spec, &["terminationGracePeriodSeconds"]).as_i64().is_some_and(|n| n < 0);
    if let Some(map) = spec.as_object_mut() {
        for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            map.remove(key);
        }
        if negative {
            map.remove("terminationGracePeriodSeconds");
        }
        if gated {
            map.remove("nodeSelector");
            map.remove("affinity");
        }
    }
    spec
}
