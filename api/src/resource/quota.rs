//! LimitRanges and ResourceQuotas.

use serde_json::{Map, Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{default, each, items, object, section, text},
};
use crate::quantity::Quantity;

/// The strategy of limit ranges.
pub static LIMIT_RANGE: Strategy = Strategy {
    columns: &[Column::text("Created At")],
    cells: |range, _| vec![range["metadata"]["creationTimestamp"].clone()],
    create_on_update: true,
    default: |range| {
        let of_containers =
            |item: &&mut Map<String, Value>| item.get("type").is_some_and(|t| t == "Container");
        let spec = section(range, "spec");
        default(spec, "limits", json!([]));
        for item in each(spec, "limits").filter(of_containers) {
            // What is missing is taken from what comes first here.
            for (key, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
            {
                let known = item.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
                for (name, amount) in known {
                    default(object(item, key), &name, amount);
                }
            }
        }
    },
    validate: validate_range,
    ..Strategy::PASSIVE
};

fn validate_range(range: &Value, errors: &mut Errors) {
    for (at, item) in items(&range["spec"], "limits") {
        let path = |key: &str| format!("spec.limits[{at}].{key}");
        let kind = text(item, "type");
        if kind.is_empty() {
            errors.required(&path("type"), "");
        }
        let amount =
            |key: &str, name: &str| item[key][name].as_str().and_then(|a| a.parse::<Quantity>().ok());
        for key in ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"] {
            for (name, value) in item[key].as_object().into_iter().flatten() {
                let path = path(&format!("{key}[{name}]"));
                match value.as_str().map(str::parse::<Quantity>) {
                    Some(Ok(amount)) if amount.is_negative() => {
                        errors.invalid(&path, value, "must be greater than or equal to 0");
                    }
                    Some(Err(_)) => errors.invalid(&path, value, "is no quantity"),
                    _ => {}
                }
            }
        }
        if kind != "Container" {
            for key in ["default", "defaultRequest"].iter().filter(|key| item[**key].is_object()) {
                let detail = format!("may not be specified when `type` is '{kind}'");
                errors.forbidden(&path(key), &detail);
            }
        }
        // The smaller one of each pair, and the larger one.
        const ORDER: [(&str, &str); 5] = [
            ("min", "max"),
            ("min", "defaultRequest"),
            ("defaultRequest", "max"),
            ("defaultRequest", "default"),
            ("default", "max"),
        ];
        for (less, more) in ORDER {
            for (name, value) in item[less].as_object().into_iter().flatten() {
                let pair = amount(less, name).zip(amount(more, name));
                if pair.is_some_and(|(less, more)| less.nanos() > more.nanos()) {
                    let (is, bound) = (text(&item[less], name), text(&item[more], name));
                    let detail = format!("{less} value {is} is greater than {more} value {bound}");
                    errors.invalid(&path(&format!("{less}[{name}]")), value, &detail);
                }
            }
        }
    }
}

/// The strategy of resource quotas.
pub static RESOURCE_QUOTA: Strategy = Strategy {
    prepare_create: |quota| quota["status"] = json!({}),
    columns: &[Column::text("Request"), Column::text("Limit"), Column::text("Age")],
    cells: |quota, now| {
        let (hard, used) = (&quota["status"]["hard"], &quota["status"]["used"]);
        let shown = |limits: bool| {
            let of_kind = |(key, _): &(&String, &Value)| key.starts_with("limits.") == limits;
            let all = hard.as_object().into_iter().flatten().filter(of_kind);
            let texts = all.map(|(key, _)| {
                let used = if used[key].is_null() { "0" } else { text(used, key) };
                format!("{key}: {used}/{}", text(hard, key))
            });
            texts.collect::<Vec<_>>().join(", ")
        };
        vec![shown(false).into(), shown(true).into(), age(quota, now)]
    },
    status: true,
    validate,
    validate_update: |new, old, errors| {
        let fixed = |key: &str| (&new["spec"][key], &old["spec"][key]);
        let scopes = fixed("scopes");
        errors.immutable("spec.scopes", scopes.0, scopes.1);
    },
    returns_deleted: true,
    ..Strategy::PASSIVE
};

const SCOPES: [&str; 6] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
];

fn validate(quota: &Value, errors: &mut Errors) {
    let spec = &quota["spec"];
    for (name, amount) in spec["hard"].as_object().into_iter().flatten() {
        let path = format!("spec.hard[{name}]");
        match amount.as_str().map(str::parse::<Quantity>) {
            Some(Ok(amount)) if amount.is_negative() => {
                errors.invalid(&path, &spec["hard"][name], "must be greater than or equal to 0");
            }
            Some(Err(_)) => errors.invalid(&path, amount, "is no quantity"),
            _ => {}
        }
    }
    for (at, scope) in items(spec, "scopes") {
        errors.one_of(&format!("spec.scopes[{at}]"), scope, &SCOPES);
    }
    let scopes: Vec<&str> = items(spec, "scopes").filter_map(|(_, scope)| scope.as_str()).collect();
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            errors.invalid("spec.scopes", &spec["scopes"], "conflicting scopes");
        }
    }
    for (at, term) in items(&spec["scopeSelector"], "matchExpressions") {
        let path = |key: &str| format!("spec.scopeSelector.matchExpressions[{at}].{key}");
        let (operator, values) = (text(term, "operator"), items(term, "values").count());
        errors.one_of(&path("scopeName"), &term["scopeName"], &SCOPES);
        errors.one_of(&path("operator"), &term["operator"], &["DoesNotExist", "Exists", "In", "NotIn"]);
        if matches!(operator, "In" | "NotIn") && values == 0 {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&path("values"), detail);
        }
        if matches!(operator, "Exists" | "DoesNotExist") && values > 0 {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(&path("values"), &term["values"], detail);
        }
        if operator != "Exists" && text(term, "scopeName") != "PriorityClass" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid_text(&path("operator"), operator, detail);
        }
    }
}
