//! ReplicaSets.

use serde_json::{Value, json};

use super::{default_template, fixed_selector, selector_and_template, template_warnings, wide};
use crate::resource::{
    Column, Strategy, age,
    field::Errors,
    fields::{default, number, section},
};

/// The strategy of replica sets.
pub static STRATEGY: Strategy = Strategy {
    default: default_object,
    prepare_create: |object| object["status"] = json!({"replicas": 0}),
    validate,
    validate_update: fixed_selector,
    warnings: template_warnings,
    columns: &[
        Column::number("Desired"),
        Column::number("Current"),
        Column::number("Ready"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: |object, now| {
        let status = &object["status"];
        let mut cells = vec![
            number(&object["spec"], "replicas").into(),
            number(status, "replicas").into(),
            number(status, "readyReplicas").into(),
            age(object, now),
        ];
        cells.extend(wide(object));
        cells
    },
    selectable: &["status.replicas"],
    status: true,
    scale: true,
    ..Strategy::PASSIVE
};

fn default_object(value: &mut Value) {
    let spec = section(value, "spec");
    default(spec, "replicas", 1);
    default_template(spec);
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = &value["spec"];
    errors.non_negative("spec.replicas", &spec["replicas"]);
    errors.non_negative("spec.minReadySeconds", &spec["minReadySeconds"]);
    selector_and_template(spec, "ReplicaSet", errors);
}
