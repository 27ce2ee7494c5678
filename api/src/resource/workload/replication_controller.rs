//! ReplicationControllers, the elder of ReplicaSets: their selector is a plain map.

use serde_json::{Value, json};

use super::{default_template, endless_template, wide};
use crate::resource::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default, number, object, section},
    metadata, pod,
};

/// The strategy of replication controllers.
pub static STRATEGY: Strategy = Strategy {
    default: default_object,
    prepare_create: |controller| controller["status"] = json!({"replicas": 0}),
    validate,
    warnings: |controller| {
        pod::template_warnings(at(controller, &["spec", "template", "spec"]), "spec.template.spec")
    },
    columns: &[
        Column::number("Desired"),
        Column::number("Current"),
        Column::number("Ready"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: |controller, now| {
        let status = &controller["status"];
        let mut cells = vec![
            number(&controller["spec"], "replicas").into(),
            number(status, "replicas").into(),
            number(status, "readyReplicas").into(),
            age(controller, now),
        ];
        cells.extend(wide(controller));
        cells
    },
    selectable: &["status.replicas"],
    status: true,
    scale: true,
    ..Strategy::PASSIVE
};

fn default_object(controller: &mut Value) {
    let labels = at(controller, &["spec", "template", "metadata", "labels"]).clone();
    let is_empty = |map: Option<&Value>| map.and_then(Value::as_object).is_none_or(|map| map.is_empty());
    if !is_empty(Some(&labels)) {
        if is_empty(controller["metadata"].get("labels")) {
            metadata::metadata_of(controller).insert("labels".into(), labels.clone());
        }
        let spec = section(controller, "spec");
        if is_empty(spec.get("selector")) {
            *object(spec, "selector") = labels.as_object().cloned().unwrap_or_default();
        }
    }
    let spec = section(controller, "spec");
    default(spec, "replicas", 1);
    if spec.get("template").is_some_and(Value::is_object) {
        default_template(spec);
    }
}

fn validate(controller: &Value, errors: &mut Errors) {
    let spec = &controller["spec"];
    for key in ["replicas", "minReadySeconds"] {
        errors.non_negative(&format!("spec.{key}"), &spec[key]);
    }
    let selector = spec["selector"].as_object();
    if selector.is_none_or(|selector| selector.is_empty()) {
        errors.required("spec.selector", "");
    }
    if !spec["template"].is_object() {
        errors.required("spec.template", "");
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.into_iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", &shown, detail);
    }
    endless_template(spec, "ReplicationController", errors);
}
