//! Policies that judge writes, and what puts them in force. They are asked by `admission/policies/`, which also knows whether their expressions
//! are any.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    Behaviour, Column, Strategy,
    admission::{default_match, rules},
    age,
    field::Errors,
    fields::{at, default_text, each, items, number, object, section, text},
    metadata,
    names::{NameRule, check_qualified},
    selector_text,
};
use crate::admission::check_policy;

const OF_POLICIES: Strategy = Strategy {
    schema_required: true,
    behaviour: Behaviour::Partly(
        "policies are asked about what clients write and about the pods, ReplicaSets, Jobs and PersistentVolumeClaims that controllers make, but not about what else controllers make yet",
    ),
    unconditional_update: false,
    ..Strategy::PASSIVE
};

/// The strategy of policies.
pub static POLICY: Strategy = Strategy {
    default: |policy| {
        let spec = section(policy, "spec");
        default_text(spec, "failurePolicy", "Fail");
        if spec.get("matchConstraints").is_some_and(Value::is_object) {
            default_resources(object(spec, "matchConstraints"));
        }
    },
    validate: validate_policy,
    validate_create: check_policy,
    validate_update: |policy, old, errors| {
        // What builds before stored without a look at its expressions can still be labelled, and let go.
        if policy["spec"] != old["spec"] {
            check_policy(policy, errors);
        }
    },
    columns: &[Column::number("Validations"), Column::text("ParamKind"), Column::text("Age")],
    cells: |policy, now| {
        let parameters = at(policy, &["spec", "paramKind"]);
        let shown = match parameters {
            Value::Object(_) => format!("{}/{}", text(parameters, "apiVersion"), text(parameters, "kind")),
            _ => "<unset>".to_owned(),
        };
        vec![items(&policy["spec"], "validations").count().into(), shown.into(), age(policy, now)]
    },
    status: true,
    ..OF_POLICIES
};

fn default_resources(matched: &mut Map<String, Value>) {
    default_match(matched, "resourceRules");
    each(matched, "excludeResourceRules").for_each(|rule| default_text(rule, "scope", "*"));
}

fn validate_policy(policy: &Value, errors: &mut Errors) {
    let spec = &policy["spec"];
    errors.one_of("spec.failurePolicy", &spec["failurePolicy"], &["Fail", "Ignore"]);
    let given = |key: &str| items(spec, key).next().is_some();
    if !given("validations") && !given("auditAnnotations") {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.required("spec.validations", detail);
        errors.required("spec.auditAnnotations", detail);
    }
    if spec["paramKind"].is_object() {
        param_kind(&spec["paramKind"], errors);
    }
    let matched = &spec["matchConstraints"];
    if !matched.is_object() {
        errors.required("spec.matchConstraints", "");
        return;
    }
    if items(matched, "resourceRules").next().is_none() {
        errors.required("spec.matchConstraints.resourceRules", "");
    }
    resources(matched, "spec.matchConstraints", errors);
}

fn param_kind(told: &Value, errors: &mut Errors) {
    let (path, api_version, kind) =
        ("spec.paramKind.apiVersion", text(told, "apiVersion"), text(told, "kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.required(path, "");
    } else if version.contains('/') {
        let detail = format!("unexpected GroupVersion string: {api_version}");
        errors.invalid_text(path, api_version, &detail);
    } else {
        let wrong = if group.is_empty() { Vec::new() } else { NameRule::Subdomain.check(group) };
        if !wrong.is_empty() {
            errors.invalid_text(path, group, &wrong.join(","));
        }
        let wrong = NameRule::Label1035.check(version);
        if version.is_empty() {
            errors.invalid_text(path, api_version, "version must be specified");
        } else if !wrong.is_empty() {
            errors.invalid_text(path, version, &wrong.join(","));
        }
    }
    let wrong = NameRule::Label1035.check(&kind.to_lowercase());
    if kind.is_empty() {
        errors.required("spec.paramKind.kind", "");
    } else if !wrong.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid_text("spec.paramKind.kind", kind, &detail);
    }
}

fn resources(matched: &Value, path: &str, errors: &mut Errors) {
    for list in ["resourceRules", "excludeResourceRules"] {
        rules(matched, list, path, errors);
        for (at, rule) in items(matched, list) {
            let mut names = HashSet::new();
            for (place, name) in items(rule, "resourceNames") {
                let (path, told) = (
                    format!("{path}.{list}[{at}].resourceNames[{place}]"),
                    name.as_str().unwrap_or_default(),
                );
                segment(&path, told, errors);
                if !names.insert(told) {
                    errors.duplicate(&path, name);
                }
            }
        }
    }
    errors.one_of(&format!("{path}.matchPolicy"), &matched["matchPolicy"], &["Equivalent", "Exact"]);
    for key in ["namespaceSelector", "objectSelector"] {
        metadata::selector(&matched[key], &format!("{path}.{key}"), errors);
    }
}

/// Checks a name that may stand in a path.
fn segment(path: &str, name: &str, errors: &mut Errors) {
    match name {
        "." | ".." => errors.invalid_text(path, name, &format!("may not be '{name}'")),
        _ => {
            for sign in ["/", "%"].into_iter().filter(|sign| name.contains(sign)) {
                errors.invalid_text(path, name, &format!("may not contain '{sign}'"));
            }
        }
    }
}

/// The strategy of what puts policies in force.
pub static POLICY_BINDING: Strategy = Strategy {
    default: |binding| {
        if let Some(matched) =
            section(binding, "spec").get_mut("matchResources").and_then(Value::as_object_mut)
        {
            default_resources(matched);
        }
    },
    validate: validate_binding,
    columns: &[Column::text("PolicyName"), Column::text("ParamRef"), Column::text("Age")],
    cells: |binding, now| {
        let (spec, parameters) = (&binding["spec"], at(binding, &["spec", "paramRef"]));
        let shown = match (text(parameters, "namespace"), text(parameters, "name")) {
            _ if !parameters.is_object() => "<unset>".to_owned(),
            (_, "") => {
                Some(selector_text(&parameters["selector"])).filter(|s| !s.is_empty()).unwrap_or("*".into())
            }
            // Whether it is in a namespace does not stand here.
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![text(spec, "policyName").into(), shown.into(), age(binding, now)]
    },
    ..OF_POLICIES
};

fn validate_binding(binding: &Value, errors: &mut Errors) {
    let spec = &binding["spec"];
    match text(spec, "policyName") {
        "" => errors.required("spec.policyName", ""),
        name => {
            for wrong in NameRule::Subdomain.check(name) {
                errors.invalid_text("spec.policyName", name, &wrong);
            }
        }
    }
    if spec["paramRef"].is_object() {
        param_ref(&spec["paramRef"], errors);
    }
    if spec["matchResources"].is_object() {
        resources(&spec["matchResources"], "spec.matchResources", errors);
    }
    let path = "spec.validationActions";
    if items(spec, "validationActions").next().is_none() {
        errors.required(path, "at least one validation action is required");
    }
    let mut actions = HashSet::new();
    for (at, action) in items(spec, "validationActions") {
        let path = format!("{path}[{at}]");
        errors.one_of(&path, action, &["Audit", "Deny", "Warn"]);
        if !actions.insert(action.as_str().unwrap_or_default()) {
            errors.duplicate(&path, action);
        }
    }
    if actions.contains("Deny") && actions.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
            API response and headers serves no purpose)";
        errors.invalid(path, &spec["validationActions"], detail);
    }
}

fn param_ref(told: &Value, errors: &mut Errors) {
    let (name, selector, path) = (text(told, "name"), &told["selector"], "spec.paramRef");
    let field = |key: &str| format!("{path}.{key}");
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if !name.is_empty() {
        segment(&field("name"), name, errors);
        if !selector.is_null() {
            errors.forbidden(&field("name"), EXCLUSIVE);
        }
    }
    if !selector.is_null() {
        metadata::selector(selector, &field("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&field("selector"), EXCLUSIVE);
        }
    } else if name.is_empty() {
        errors.required(path, "one of name or selector must be specified");
    }
    let (action, path) = (&told["parameterNotFoundAction"], field("parameterNotFoundAction"));
    match action.as_str() {
        None | Some("") => errors.required(&path, ""),
        Some(_) => errors.one_of(&path, action, &["Deny", "Allow"]),
    }
}

/// Characters of a condition's message.
const MESSAGE: usize = 32768;

/// Checks what is written of the status of a policy.
pub(super) fn status(status: &Value, errors: &mut Errors) {
    for (at, warning) in items(&status["typeChecking"], "expressionWarnings") {
        for key in ["warning", "fieldRef"] {
            if text(warning, key).trim().is_empty() {
                errors.required(&format!("status.typeChecking.expressionWarnings[{at}].{key}"), "");
            }
        }
    }
    let mut kinds = HashSet::new();
    for (at, condition) in items(status, "conditions") {
        let path = |key: &str| format!("status.conditions[{at}].{key}");
        let (kind, reason) = (text(condition, "type"), text(condition, "reason"));
        if kind.is_empty() {
            errors.required(&path("type"), "must be set");
        } else {
            for wrong in check_qualified(kind) {
                errors.invalid_text(&path("type"), kind, &wrong);
            }
        }
        if !kinds.insert(kind) {
            errors.duplicate(&path("type"), &kind.into());
        }
        let known = ["False", "True", "Unknown"];
        if !known.contains(&text(condition, "status")) {
            errors.not_supported(&path("status"), text(condition, "status"), &known);
        }
        if number(condition, "observedGeneration") < 0 {
            let detail = "must be greater than or equal to zero";
            errors.invalid(&path("observedGeneration"), &condition["observedGeneration"], detail);
        }
        if text(condition, "lastTransitionTime").is_empty() {
            errors.required(&path("lastTransitionTime"), "must be set");
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
        let ends = reason.starts_with(|c: char| c.is_ascii_alphabetic()) && !reason.ends_with([',', ':']);
        if reason.is_empty() {
            errors.required(&path("reason"), "must be set");
        } else if !ends || !reason.bytes().all(word) {
            let detail = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters \
                or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or \
                'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
            errors.invalid_text(&path("reason"), reason, detail);
        }
        if text(condition, "message").len() > MESSAGE {
            errors.too_long(&path("message"), MESSAGE);
        }
    }
}
