//! Ephemeral containers: what is added to a pod that runs, to look into it. They come by their own subresource only, and stay as they are.
//!
//! Source: Kubernetes' `validateEphemeralContainers` and `ValidatePodEphemeralContainersUpdate`.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    containers::{self, Pod, Role},
    defaults, security,
};
use crate::resource::{
    field::Errors,
    fields::{items, same, section, text},
};

const LIST: &str = "ephemeralContainers";
const NEVER: &str = "cannot be set for an Ephemeral Container";

/// What only containers have that a pod was made with, in the order of Kubernetes' type.
const NOT_ALLOWED: [&str; 8] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks the ephemeral containers of a spec, after all others: no name stands twice.
pub(super) fn validate<'a>(pod: &mut Pod<'a>, spec: &'a Value, path: &str, errors: &mut Errors) {
    let others = items(spec, "initContainers").chain(items(spec, "containers"));
    let others: HashSet<&str> = others.map(|(_, container)| text(container, "name")).collect();
    for (index, container) in items(spec, LIST) {
        let path = format!("{path}.{LIST}[{index}]");
        containers::validate(pod, container, &path, Role::Ephemeral, errors);
        security::of_container(spec, container, &path, errors);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&format!("{path}.targetContainerName"), target);
        }
        for field in NOT_ALLOWED.into_iter().filter(|field| is_set(&container[*field])) {
            errors.forbidden(&format!("{path}.{field}"), NEVER);
        }
        for (index, mount) in items(container, "volumeMounts") {
            for field in ["subPath", "subPathExpr"].into_iter().filter(|field| is_set(&mount[*field])) {
                errors.forbidden(&format!("{path}.volumeMounts[{index}].{field}"), NEVER);
            }
        }
    }
}

/// Pods begin without.
pub(super) fn not_on_create(pod: &Value, errors: &mut Errors) {
    if items(&pod["spec"], LIST).next().is_some() {
        errors.forbidden(&format!("spec.{LIST}"), "cannot be set on create");
    }
}

/// Pods of a template begin without, too.
pub(in crate::resource) fn not_in_templates(spec: &Value, path: &str, errors: &mut Errors) {
    if items(spec, LIST).next().is_some() {
        errors.forbidden(&format!("{path}.{LIST}"), "ephemeral containers not allowed in pod template");
    }
}

/// Makes `pod` the old one with the ephemeral containers that it lists, completed. Those that were there must be among them as they are.
/// Answers whether there are others now.
pub(in crate::resource) fn only_added(pod: &mut Value, old: &Value, errors: &mut Errors) -> bool {
    let asked = pod["spec"].get_mut(LIST).map(Value::take).filter(Value::is_array);
    *pod = old.clone();
    let spec = section(pod, "spec");
    match asked {
        Some(asked) => spec.insert(LIST.into(), asked),
        None => spec.remove(LIST),
    };
    defaults::default_ephemeral(spec);
    let mut before = old["spec"].clone();
    before.as_object_mut().into_iter().for_each(defaults::default_ephemeral);
    let after = &pod["spec"];
    for (_, known) in items(&before, LIST) {
        let name = text(known, "name");
        let word = match items(after, LIST).find(|(_, container)| text(container, "name") == name) {
            None => "removed",
            Some((_, container)) if !same(container, known) => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers {name:?} may not be {word}\n");
        errors.forbidden(&format!("spec.{LIST}"), &detail);
    }
    if same(&after[LIST], &before[LIST]) {
        pod["spec"] = old["spec"].clone();
        return false;
    }
    true
}

/// Whether a field says something: what Go's zero values stand for does not.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(is_set),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: Errors) -> Vec<String> {
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn pod(ephemeral: Value) -> Value {
        json!({"metadata": {"name": "p", "labels": {"a": "1"}}, "spec": {
            "initContainers": [{"name": "i", "image": "i"}], "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "emptyDir": {}}], LIST: ephemeral,
        }})
    }

    fn wrong(ephemeral: Value) -> Vec<String> {
        let mut errors = Errors::default();
        super::super::validate_spec(&pod(ephemeral)["spec"], "spec", &mut errors);
        told(errors)
    }

    #[test]
    fn what_kubectl_debug_asks_for_is_taken() {
        let debug = json!([{
            "name": "debugger-x", "image": "busybox", "targetContainerName": "c", "stdin": true, "tty": true,
            "resources": {}, "ports": [], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": ""}],
            "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}, "terminationMessagePolicy": "File",
        }]);
        assert_eq!(wrong(debug), [""; 0]);
        assert_eq!(wrong(json!([{"name": "d", "image": "i", "targetContainerName": "i"}])), [""; 0]);
    }

    #[test]
    fn names_are_unique_and_targets_were_there_before() {
        let named = |names: &[&str]| -> Value {
            names.iter().map(|name| json!({"name": name, "image": "i"})).collect()
        };
        for (names, at) in [(&["c"][..], 0), (&["i"], 0), (&["d", "d"], 1)] {
            let name = names[at];
            let expected = format!("spec.{LIST}[{at}].name: Duplicate value: {name:?}");
            assert_eq!(wrong(named(names)), [expected]);
        }
        let target =
            json!([{"name": "d", "image": "i"}, {"name": "e", "image": "i", "targetContainerName": "d"}]);
        assert_eq!(wrong(target), [format!("spec.{LIST}[1].targetContainerName: Not found: \"d\"")]);
    }

    #[test]
    fn what_serves_others_is_for_other_containers() {
        let handler = json!({"exec": {"command": ["true"]}});
        for (field, value) in [
            ("ports", json!([{"containerPort": 80}])),
            ("resources", json!({"limits": {"cpu": "1"}})),
            ("resizePolicy", json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])),
            ("restartPolicy", json!("Always")),
            ("livenessProbe", handler.clone()),
            ("readinessProbe", handler.clone()),
            ("startupProbe", handler.clone()),
            ("lifecycle", json!({"preStop": handler})),
        ] {
            let expected = format!("spec.{LIST}[0].{field}: Forbidden: {NEVER}");
            assert_eq!(wrong(json!([{"name": "d", "image": "i", field: value}])), [expected]);
        }
        for field in ["subPath", "subPathExpr"] {
            let mounts = json!([{"name": "v", "mountPath": "/v", field: "x"}]);
            let expected = format!("spec.{LIST}[0].volumeMounts[0].{field}: Forbidden: {NEVER}");
            assert_eq!(wrong(json!([{"name": "d", "image": "i", "volumeMounts": mounts}])), [expected]);
        }
        assert_eq!(wrong(json!([{"name": "d"}])), [format!("spec.{LIST}[0].image: Required value")]);
    }

    #[test]
    fn they_are_added_and_neither_changed_nor_removed() {
        let one = |name: &str, image: &str| json!({"name": name, "image": image});
        let after = |old: &Value, asked: Value| {
            let (mut new, mut errors) = (pod(asked), Errors::default());
            new["metadata"]["labels"] = json!({"b": "2"});
            new["spec"]["containers"][0]["image"] = "other".into();
            let more = only_added(&mut new, old, &mut errors);
            (new, more, told(errors))
        };
        let (first, more, errors) = after(&pod(Value::Null), json!([one("d", "busybox")]));
        assert_eq!((more, errors.len()), (true, 0));
        let added = &first["spec"][LIST][0];
        assert_eq!((&added["imagePullPolicy"], &added["resources"]), (&json!("Always"), &json!({})));
        assert_eq!(first["metadata"]["labels"], json!({"a": "1"}), "nothing else changes");
        assert_eq!(first["spec"]["containers"][0]["image"], "i", "nothing else changes");

        // In another order, with another one, without what the defaults have added.
        let (_, more, errors) = after(&first, json!([one("e", "i"), one("d", "busybox")]));
        assert_eq!((more, errors.len()), (true, 0));
        let (same, more, errors) = after(&first, json!([one("d", "busybox")]));
        assert_eq!((same, more, errors.len()), (first.clone(), false, 0));

        let refused = |word: &str| {
            format!("spec.{LIST}: Forbidden: existing ephemeral containers \"d\" may not be {word}\n")
        };
        assert_eq!(after(&first, json!([one("d", "other")])).2, [refused("changed")]);
        assert_eq!(after(&first, json!([one("e", "i")])).2, [refused("removed")]);
        assert_eq!(after(&first, Value::Null).2, [refused("removed")]);
    }

    #[test]
    fn nothing_begins_with_them() {
        let (new, mut errors) = (pod(json!([{"name": "d", "image": "i"}])), Errors::default());
        not_on_create(&new, &mut errors);
        not_in_templates(&new["spec"], "spec.template.spec", &mut errors);
        let expected = [
            format!("spec.{LIST}: Forbidden: cannot be set on create"),
            format!("spec.template.spec.{LIST}: Forbidden: ephemeral containers not allowed in pod template"),
        ];
        assert_eq!(told(errors), expected);
        let mut errors = Errors::default();
        not_on_create(&pod(json!([])), &mut errors);
        assert!(errors.is_empty());
    }
}
