//! Deployments.

use serde_json::Value;

use super::{
    count_or_share, default_template, fixed_selector, selector_and_template, share, template_warnings, wide,
};
use crate::resource::{
    Column, Strategy, age,
    field::Errors,
    fields::{default, default_text, number, object, section, text},
};

/// The strategy of deployments.
pub static STRATEGY: Strategy = Strategy {
    default: default_object,
    validate,
    validate_update: fixed_selector,
    warnings: template_warnings,
    columns: &[
        Column::text("Ready"),
        Column::number("Up-to-date"),
        Column::number("Available"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: |object, now| {
        let status = &object["status"];
        let mut cells = vec![
            format!("{}/{}", number(status, "readyReplicas"), number(&object["spec"], "replicas")).into(),
            number(status, "updatedReplicas").into(),
            number(status, "availableReplicas").into(),
            age(object, now),
        ];
        cells.extend(wide(object));
        cells
    },
    status: true,
    scale: true,
    ..Strategy::PASSIVE
};

fn default_object(value: &mut Value) {
    let spec = section(value, "spec");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let strategy = object(spec, "strategy");
    default_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = object(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", "25%");
        default(rolling, "maxSurge", "25%");
    }
    default_template(spec);
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = &value["spec"];
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        errors.non_negative(&format!("spec.{key}"), &spec[key]);
    }
    if number(spec, "progressDeadlineSeconds") <= number(spec, "minReadySeconds") {
        let detail = "must be greater than minReadySeconds";
        errors.invalid("spec.progressDeadlineSeconds", &spec["progressDeadlineSeconds"], detail);
    }
    let strategy = &spec["strategy"];
    match text(strategy, "type") {
        "Recreate" => {
            if strategy.get("rollingUpdate").is_some() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden("spec.strategy.rollingUpdate", detail);
            }
        }
        "RollingUpdate" => rolling(&strategy["rollingUpdate"], errors),
        other => errors.not_supported("spec.strategy.type", other, &["Recreate", "RollingUpdate"]),
    }
    selector_and_template(spec, "ReplicaSet", errors);
}

fn rolling(rolling: &Value, errors: &mut Errors) {
    let path = |key: &str| format!("spec.strategy.rollingUpdate.{key}");
    for key in ["maxUnavailable", "maxSurge"] {
        count_or_share(&rolling[key], &path(key), key == "maxUnavailable", errors);
    }
    let zero = |key: &str| share(&rolling[key]) == Some(0);
    if zero("maxUnavailable") && zero("maxSurge") {
        errors.invalid(
            &path("maxUnavailable"),
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        );
    }
}
