//! Deployments and ReplicaSets: pods by a template and a selector.

use serde_json::{Map, Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default, default_text, items, number, object, section, text},
    metadata, or_none, pod, selector_text,
};

/// The strategy of deployments.
pub static DEPLOYMENT: Strategy = Strategy {
    default: default_deployment,
    validate: validate_deployment,
    validate_update: fixed_selector,
    warnings,
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

/// The strategy of replica sets.
pub static REPLICA_SET: Strategy = Strategy {
    default: default_replica_set,
    prepare_create: |object| object["status"] = json!({"replicas": 0}),
    validate: validate_replica_set,
    validate_update: fixed_selector,
    warnings,
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

fn wide(object: &Value) -> [Value; 3] {
    let spec = at(object, &["spec", "template", "spec"]);
    let list = |key: &str| items(spec, "containers").map(|(_, c)| text(c, key)).collect::<Vec<_>>().join(",");
    let selector = selector_text(&object["spec"]["selector"]);
    [list("name").into(), list("image").into(), or_none(&selector)]
}

fn default_replica_set(value: &mut Value) {
    let spec = section(value, "spec");
    default(spec, "replicas", 1);
    template(spec);
}

fn default_deployment(value: &mut Value) {
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
    template(spec);
}

fn template(spec: &mut Map<String, Value>) {
    let mut template = spec.remove("template").unwrap_or_default();
    pod::default_template(&mut template);
    spec.insert("template".into(), template);
}

fn validate_replica_set(value: &Value, errors: &mut Errors) {
    let spec = &value["spec"];
    errors.non_negative("spec.replicas", &spec["replicas"]);
    errors.non_negative("spec.minReadySeconds", &spec["minReadySeconds"]);
    selector_and_template(spec, errors);
}

fn validate_deployment(value: &Value, errors: &mut Errors) {
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
    selector_and_template(spec, errors);
}

fn rolling(rolling: &Value, errors: &mut Errors) {
    let path = |key: &str| format!("spec.strategy.rollingUpdate.{key}");
    let mut zero = 0;
    for key in ["maxUnavailable", "maxSurge"] {
        match share(&rolling[key]) {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                    '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(&path(key), &rolling[key], detail);
            }
            Some(n) if n < 0 => {
                errors.invalid(&path(key), &rolling[key], "must be greater than or equal to 0")
            }
            Some(n) => {
                zero += usize::from(n == 0);
                if key == "maxUnavailable" && rolling[key].is_string() && n > 100 {
                    errors.invalid(&path(key), &rolling[key], "must not be greater than 100%");
                }
            }
        }
    }
    if zero == 2 {
        errors.invalid(
            &path("maxUnavailable"),
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        );
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

fn selector_and_template(spec: &Value, errors: &mut Errors) {
    let selector = &spec["selector"];
    let empty = |key: &str| match &selector[key] {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    };
    if !selector.is_object() {
        errors.required("spec.selector", "");
    } else if empty("matchLabels") && empty("matchExpressions") {
        errors.invalid("spec.selector", selector, "empty selector is invalid for deployment");
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
    metadata::labels(labels, "spec.template.metadata.labels", errors);
    pod::validate_spec(&template["spec"], "spec.template.spec", errors);
    let policy = text(&template["spec"], "restartPolicy");
    if policy != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", policy, &["Always"]);
    }
    if template["spec"].get("activeDeadlineSeconds").is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", detail);
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

fn warnings(value: &Value) -> Vec<String> {
    pod::template_warnings(at(value, &["spec", "template", "spec"]), "spec.template.spec")
}
