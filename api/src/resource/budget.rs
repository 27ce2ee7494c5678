//! PodDisruptionBudgets.

use serde_json::{Value, json};

use super::{Column, Strategy, age, field::Errors, fields::number, metadata, workload::count_or_share};

/// The strategy of disruption budgets.
pub static STRATEGY: Strategy = Strategy {
    prepare_create: |budget| {
        budget["status"] =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    },
    validate,
    columns: &[
        Column::text("Min Available"),
        Column::text("Max Unavailable"),
        Column::number("Allowed Disruptions"),
        Column::text("Age"),
    ],
    cells: |budget, now| {
        let limit = |key: &str| match &budget["spec"][key] {
            Value::Null => "N/A".into(),
            Value::String(share) => share.as_str().into(),
            number => Value::from(number.to_string()),
        };
        let allowed = number(&budget["status"], "disruptionsAllowed");
        vec![limit("minAvailable"), limit("maxUnavailable"), allowed.into(), age(budget, now)]
    },
    status: true,
    unconditional_update: false,
    ..Strategy::PASSIVE
};

fn validate(budget: &Value, errors: &mut Errors) {
    let spec = &budget["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"].into_iter().filter(|key| !spec[*key].is_null()) {
        count_or_share(&spec[key], &format!("spec.{key}"), true, errors);
    }
    metadata::selector(&spec["selector"], "spec.selector", errors);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    errors.one_of("spec.unhealthyPodEvictionPolicy", &spec["unhealthyPodEvictionPolicy"], &policies);
}
