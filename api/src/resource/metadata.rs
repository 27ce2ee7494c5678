//! The metadata of every object: what is checked, and what an update may not change.

use std::collections::BTreeSet;

use kontiki_actors::Kind;
use serde_json::{Map, Value, json};

use super::{
    field::Errors,
    fields::{at, items, text},
    names::{NameRule, check_label_value, check_qualified},
};

const ANNOTATIONS_LIMIT: usize = 262_144;

/// Checks names, labels, annotations, owners and finalizers.
pub fn validate(object: &Value, namespaced: bool, rule: NameRule, errors: &mut Errors) {
    let metadata = &object["metadata"];
    let (name, prefix) = (text(metadata, "name"), text(metadata, "generateName"));
    if name.is_empty() && prefix.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else if name.is_empty() {
        // A letter stands for those to come.
        for wrong in rule.check(&format!("{}x", prefix.get(..58).unwrap_or(prefix))) {
            errors.invalid_text("metadata.generateName", prefix, &wrong);
        }
    } else {
        for wrong in rule.check(name) {
            errors.invalid_text("metadata.name", name, &wrong);
        }
    }
    let namespace = text(metadata, "namespace");
    if namespaced && namespace.is_empty() {
        errors.required("metadata.namespace", "");
    } else if !namespaced && !namespace.is_empty() {
        errors.forbidden("metadata.namespace", "not allowed on this type");
    }
    labels(&metadata["labels"], "metadata.labels", errors);
    annotations(&metadata["annotations"], errors);
    owners(metadata, errors);
    for (at, finalizer) in items(metadata, "finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        for wrong in check_qualified(name) {
            errors.invalid_text(&format!("metadata.finalizers[{at}]"), name, &wrong);
        }
    }
}

/// Checks a map of labels.
pub fn labels(labels: &Value, path: &str, errors: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        for wrong in check_qualified(key) {
            errors.invalid_text(path, key, &wrong);
        }
        for wrong in check_label_value(value.as_str().unwrap_or_default()) {
            errors.invalid(path, value, &wrong);
        }
    }
}

/// Checks a map of annotations.
pub fn annotations(annotations: &Value, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for wrong in check_qualified(&key.to_lowercase()) {
            errors.invalid_text("metadata.annotations", key, &wrong);
        }
    }
    if size > ANNOTATIONS_LIMIT {
        errors.too_long("metadata.annotations", ANNOTATIONS_LIMIT);
    }
}

fn owners(metadata: &Value, errors: &mut Errors) {
    let mut controller: Option<&str> = None;
    for (at, owner) in items(metadata, "ownerReferences") {
        let path = format!("metadata.ownerReferences[{at}]");
        for key in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                errors.required(&format!("{path}.{key}"), "must not be empty");
            }
        }
        if text(owner, "apiVersion") == "v1" && text(owner, "kind") == "Event" {
            errors.invalid(&path, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner["controller"] == true {
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                    text(owner, "name")
                );
                errors.invalid("metadata.ownerReferences", &metadata["ownerReferences"], &detail);
            }
            controller = Some(text(owner, "name"));
        }
    }
}

/// Checks an update: a deletion under way takes no new finalizers.
pub fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    if at(old, &["metadata", "deletionTimestamp"]).is_null() {
        return;
    }
    let known: BTreeSet<&str> =
        items(&old["metadata"], "finalizers").filter_map(|(_, f)| f.as_str()).collect();
    let added: Vec<&str> = items(&new["metadata"], "finalizers")
        .filter_map(|(_, f)| f.as_str())
        .filter(|f| !known.contains(f))
        .collect();
    if !added.is_empty() {
        let list = format!("{added:?}").replace(", ", " ");
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {list}"
        );
        errors.forbidden("metadata.finalizers", &detail);
    }
}

const SERVERS: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];

/// Clears what only the cluster may set on a new object.
pub fn prepare_create(object: &mut Value, kind: Kind, namespace: &str) {
    let metadata = metadata_of(object);
    for key in SERVERS.iter().chain(&["selfLink", "resourceVersion", "managedFields"]) {
        metadata.remove(*key);
    }
    if kind.info().namespaced {
        metadata.insert("namespace".into(), namespace.into());
    }
    trim(metadata);
}

/// Whether two versions of an object have the same metadata, but for the owners of its fields.
pub fn same(new: &Value, old: &Value) -> bool {
    let told = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(map) = metadata.as_object_mut() {
            map.retain(|key, _| key != "managedFields" && key != "resourceVersion");
        }
        metadata
    };
    told(new) == told(old)
}

/// Puts back what an update may not change.
pub fn prepare_update(object: &mut Value, old: &Value) {
    let metadata = metadata_of(object);
    for key in SERVERS.iter().chain(&["name", "namespace", "generateName"]) {
        match old["metadata"].get(key) {
            Some(value) => metadata.insert((*key).into(), value.clone()),
            None => metadata.remove(*key),
        };
    }
    for key in ["selfLink", "managedFields"] {
        metadata.remove(key);
    }
    trim(metadata);
}

/// Empty maps and lists of metadata are as good as absent; stored without, so that equal objects are equal bytes.
fn trim(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| {
        !value.is_null()
            && value.as_object().is_none_or(|m| !m.is_empty())
            && value.as_array().is_none_or(|l| !l.is_empty())
            && value.as_str().is_none_or(|t| !t.is_empty())
    });
}

/// The metadata of an object, made when absent.
pub fn metadata_of(object: &mut Value) -> &mut Map<String, Value> {
    super::fields::section(object, "metadata")
}

/// Checks a label selector of workloads.
pub fn selector(selector: &Value, path: &str, errors: &mut Errors) {
    labels(&selector["matchLabels"], &format!("{path}.matchLabels"), errors);
    for (at, term) in items(selector, "matchExpressions") {
        let path = format!("{path}.matchExpressions[{at}]");
        let values = term["values"].as_array().map_or(0, Vec::len);
        match text(term, "operator") {
            "In" | "NotIn" if values == 0 => {
                errors.required(
                    &format!("{path}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                errors.forbidden(
                    &format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(&format!("{path}.operator"), &json!(other), "not a valid selector operator")
            }
        }
        for wrong in check_qualified(text(term, "key")) {
            errors.invalid_text(&format!("{path}.key"), text(term, "key"), &wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // With work that grows by the square of the number, these tests would not come to an end in minutes.

    #[test]
    fn a_deletion_with_very_many_finalizers_takes_no_more_of_them() {
        let finalizers: Vec<String> = (0..200_000).map(|n| format!("example.com/{n:06}")).collect();
        let metadata = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
        let old = json!({"metadata": metadata});
        let mut new = old.clone();
        let mut errors = Errors::default();
        validate_update(&new, &old, &mut errors);
        assert!(errors.is_empty());
        new["metadata"]["finalizers"][7] = "example.com/more".into();
        validate_update(&new, &old, &mut errors);
        let causes = errors.into_causes();
        assert_eq!(causes.len(), 1);
        assert!(causes[0].message.ends_with("found new finalizers [\"example.com/more\"]"));
    }

    #[test]
    fn of_very_many_managing_owners_a_few_are_told() {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "1", "controller": true});
        let object = json!({"metadata": {"name": "a", "ownerReferences": vec![owner; 40_000]}});
        let mut errors = Errors::default();
        validate(&object, false, NameRule::Subdomain, &mut errors);
        let causes = errors.into_causes();
        assert!((1..100).contains(&causes.len()));
        assert!(causes[0].message.contains("Only one reference can have Controller set to true"));
    }
}
