//! DaemonSets.

use serde_json::{Value, json};

use super::{
    count_or_share, default_template, fixed_selector, selector_and_template, share, template_warnings, wide,
};
use crate::resource::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default, default_text, number, object, same, section, text},
    map_text, metadata, or_none,
};

/// The strategy of daemon sets.
pub static STRATEGY: Strategy = Strategy {
    default: default_object,
    prepare_create: |set| {
        set["status"] = json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        });
        set_generation(set, 1);
    },
    prepare_update: |set, old| {
        let template = |set: &Value| {
            let mut set = set.clone();
            default_object(&mut set);
            set["spec"]["template"].take()
        };
        let generation =
            old["metadata"]["annotations"][GENERATION].as_str().and_then(|text| text.parse().ok());
        let changed = !same(&template(set), &template(old));
        set_generation(set, generation.unwrap_or(1) + i64::from(changed));
    },
    validate,
    validate_update: fixed_selector,
    warnings: template_warnings,
    columns: &[
        Column::number("Desired"),
        Column::number("Current"),
        Column::number("Ready"),
        Column::number("Up-to-date"),
        Column::number("Available"),
        Column::text("Node Selector"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: |set, now| {
        let count = |key: &str| number(&set["status"], key).into();
        let nodes = at(set, &["spec", "template", "spec", "nodeSelector"]);
        let mut cells = vec![
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            or_none(&map_text(nodes.as_object())),
            age(set, now),
        ];
        cells.extend(wide(set));
        cells
    },
    status: true,
    ..Strategy::PASSIVE
};

/// Counts the templates that a set has had; its pods carry it as a label.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The server's own, whatever a client says.
fn set_generation(set: &mut Value, generation: i64) {
    let annotations = metadata::metadata_of(set).entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[GENERATION] = generation.to_string().into();
}

fn default_object(set: &mut Value) {
    let spec = section(set, "spec");
    default(spec, "revisionHistoryLimit", 10);
    let strategy = object(spec, "updateStrategy");
    default_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = object(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", 1);
        default(rolling, "maxSurge", 0);
    }
    default_template(spec);
}

fn validate(set: &Value, errors: &mut Errors) {
    let spec = &set["spec"];
    for key in ["minReadySeconds", "revisionHistoryLimit"] {
        errors.non_negative(&format!("spec.{key}"), &spec[key]);
    }
    match text(&spec["updateStrategy"], "type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling(&spec["updateStrategy"]["rollingUpdate"], errors),
        other => errors.not_supported("spec.updateStrategy.type", other, &["RollingUpdate", "OnDelete"]),
    }
    selector_and_template(spec, "DaemonSet", errors);
}

fn rolling(rolling: &Value, errors: &mut Errors) {
    let path = |key: &str| format!("spec.updateStrategy.rollingUpdate.{key}");
    for key in ["maxUnavailable", "maxSurge"] {
        count_or_share(&rolling[key], &path(key), true, errors);
    }
    match (share(&rolling["maxUnavailable"]), share(&rolling["maxSurge"])) {
        (Some(0), Some(0)) => {
            let detail = "cannot be 0 when maxSurge is 0";
            errors.invalid(&path("maxUnavailable"), &rolling["maxUnavailable"], detail);
        }
        (Some(1..), Some(1..)) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&path("maxSurge"), &rolling["maxSurge"], detail);
        }
        _ => {}
    }
}
