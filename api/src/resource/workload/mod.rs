//! What keeps pods by a template and a selector: what Deployments, ReplicaSets, StatefulSets, DaemonSets,
//! ReplicationControllers and Jobs have in common.

pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod job;
pub mod replica_set;
pub mod replication_controller;
pub mod stateful_set;

use serde_json::{Map, Value, json};

use super::{
    field::Errors,
    fields::{at, items, text},
    metadata, or_none, pod, selector_text,
};

/// The cells CONTAINERS and IMAGES of a pod template's spec.
fn containers_and_images(spec: &Value) -> [Value; 2] {
    let list = |key: &str| items(spec, "containers").map(|(_, c)| text(c, key)).collect::<Vec<_>>().join(",");
    [list("name").into(), list("image").into()]
}

/// The cells CONTAINERS, IMAGES and SELECTOR.
fn wide(object: &Value) -> [Value; 3] {
    let [names, images] = containers_and_images(at(object, &["spec", "template", "spec"]));
    [names, images, or_none(&selector_text(&object["spec"]["selector"]))]
}

/// Completes the pod template of a spec.
fn default_template(spec: &mut Map<String, Value>) {
    let mut template = spec.remove("template").unwrap_or_default();
    pod::default_template(&mut template);
    spec.insert("template".into(), template);
}

/// Checks the selector, the template, and that the one selects the pods of the other. The kind is named in errors as
/// Kubernetes names it there, which is not always the kind of the object.
fn selector_and_template(spec: &Value, kind: &str, errors: &mut Errors) {
    let selector = &spec["selector"];
    let empty = |key: &str| match &selector[key] {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    };
    if !selector.is_object() {
        errors.required("spec.selector", "");
    } else if empty("matchLabels") && empty("matchExpressions") {
        let kind = if kind == "ReplicaSet" { "deployment".to_owned() } else { kind.to_lowercase() };
        errors.invalid("spec.selector", selector, &format!("empty selector is invalid for {kind}"));
    }
    metadata::selector(selector, "spec.selector", errors);
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    if selector.is_object() && !selects(selector, labels) {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        errors.invalid(
            "spec.template.metadata.labels",
            &shown,
            "`selector` does not match template `labels`",
        );
    }
    endless_template(spec, kind, errors);
}

/// Checks the template, in a spec, of pods that are started again whenever they end.
fn endless_template(spec: &Value, kind: &str, errors: &mut Errors) {
    let template = &spec["template"];
    metadata::labels(&template["metadata"]["labels"], "spec.template.metadata.labels", errors);
    // Of a StatefulSet: each becomes a volume of its name.
    let claims = items(spec, "volumeClaimTemplates").map(|(_, claim)| text(&claim["metadata"], "name"));
    pod::validate_spec_with(&template["spec"], claims, "spec.template.spec", errors);
    pod::not_in_templates(&template["spec"], "spec.template.spec", errors);
    let policy = text(&template["spec"], "restartPolicy");
    if policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if template["spec"].get("activeDeadlineSeconds").is_some() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", &detail);
    }
}

/// A number, or the number before `%`; none if it is neither.
fn share(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%')?;
            if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
        }
        other => other.as_i64(),
    }
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
    '93%', regex used for validation is '[0-9]+%')";

/// Checks a number of pods or a share of them in percent; a share may be limited to the whole.
pub fn count_or_share(value: &Value, path: &str, at_most_all: bool, errors: &mut Errors) {
    match share(value) {
        None => errors.invalid(path, value, PERCENT),
        Some(n) if n < 0 => errors.invalid(path, value, "must be greater than or equal to 0"),
        Some(n) if at_most_all && value.is_string() && n > 100 => {
            errors.invalid(path, value, "must not be greater than 100%");
        }
        Some(_) => {}
    }
}

/// Whether a selector's requirements hold for labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    exact
        && items(selector, "matchExpressions").all(|(_, term)| {
            let value = labels.get(text(term, "key"));
            let listed = value.is_some_and(|v| items(term, "values").any(|(_, w)| w == v));
            match text(term, "operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

fn fixed_selector(new: &Value, old: &Value, errors: &mut Errors) {
    errors.immutable("spec.selector", &new["spec"]["selector"], &old["spec"]["selector"]);
}

fn template_warnings(value: &Value) -> Vec<String> {
    pod::template_warnings(at(value, &["spec", "template", "spec"]), "spec.template.spec")
}
