//! Webhooks and policies that judge writes, as data: none is asked yet.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{at, default, default_text, each, items, object, section, text},
    metadata,
    names::NameRule,
};

const WEBHOOK: Strategy = Strategy {
    columns: &[Column::number("Webhooks"), Column::text("Age")],
    cells: |configuration, now| {
        vec![items(configuration, "webhooks").count().into(), age(configuration, now)]
    },
    schema_required: true,
    behaviour: Behaviour::Data("webhooks are stored, but not called yet: every write passes"),
    ..Strategy::PASSIVE
};

/// The strategy of webhooks that change what is written.
pub static MUTATING: Strategy = Strategy {
    default: |configuration| {
        for webhook in each_of(configuration, "webhooks") {
            default_webhook(webhook);
            default_text(webhook, "reinvocationPolicy", "Never");
        }
    },
    validate: |configuration, errors| {
        webhooks(configuration, errors);
        for (at, webhook) in items(configuration, "webhooks") {
            let path = format!("webhooks[{at}].reinvocationPolicy");
            errors.one_of(&path, &webhook["reinvocationPolicy"], &["IfNeeded", "Never"]);
        }
    },
    ..WEBHOOK
};

/// The strategy of webhooks that say yes or no.
pub static VALIDATING: Strategy = Strategy {
    default: |configuration| each_of(configuration, "webhooks").for_each(default_webhook),
    validate: webhooks,
    ..WEBHOOK
};

fn each_of<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = value.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn default_webhook(webhook: &mut Map<String, Value>) {
    default_text(webhook, "failurePolicy", "Fail");
    default(webhook, "timeoutSeconds", 10);
    default_match(webhook, "rules");
    if let Some(service) = object(webhook, "clientConfig").get_mut("service").and_then(Value::as_object_mut) {
        default(service, "port", 443);
    }
}

/// Everything of the named resources is meant, unless it is narrowed.
fn default_match(matched: &mut Map<String, Value>, rules: &str) {
    default_text(matched, "matchPolicy", "Equivalent");
    default(matched, "namespaceSelector", json!({}));
    default(matched, "objectSelector", json!({}));
    each(matched, rules).for_each(|rule| default_text(rule, "scope", "*"));
}

fn webhooks(configuration: &Value, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (at, webhook) in items(configuration, "webhooks") {
        let path = |key: &str| format!("webhooks[{at}].{key}");
        let name = text(webhook, "name");
        if !name.is_empty() && name.split('.').filter(|part| !part.is_empty()).count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.invalid_text(&path("name"), name, detail);
        }
        if !names.insert(name) {
            errors.duplicate(&path("name"), &name.into());
        }
        rules(webhook, "rules", &format!("webhooks[{at}]"), errors);
        errors.one_of(&path("failurePolicy"), &webhook["failurePolicy"], &["Fail", "Ignore"]);
        errors.one_of(&path("matchPolicy"), &webhook["matchPolicy"], &["Equivalent", "Exact"]);
        errors.one_of(&path("sideEffects"), &webhook["sideEffects"], &["None", "NoneOnDryRun"]);
        if webhook["timeoutSeconds"].as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&path("timeoutSeconds"), &webhook["timeoutSeconds"], detail);
        }
        let known = |(_, version): (usize, &Value)| matches!(version.as_str(), Some("v1" | "v1beta1"));
        let versions = &webhook["admissionReviewVersions"];
        if items(webhook, "admissionReviewVersions").count() > 0
            && !items(webhook, "admissionReviewVersions").any(known)
        {
            let detail = "must include at least one of v1, v1beta1";
            errors.invalid(&path("admissionReviewVersions"), versions, detail);
        }
        client(&webhook["clientConfig"], &path("clientConfig"), errors);
        for key in ["namespaceSelector", "objectSelector"] {
            metadata::selector(&webhook[key], &path(key), errors);
        }
    }
}

/// Where a webhook is: by URL or by service.
fn client(config: &Value, path: &str, errors: &mut Errors) {
    let url = config["url"].as_str();
    if url.is_some() == config["service"].is_object() {
        errors.required(path, "exactly one of url or service is required");
    }
    if let Some(url) = url.filter(|url| !url.starts_with("https://")) {
        let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
        errors.invalid_text(&format!("{path}.url"), url, detail);
    }
}

/// Checks what writes are meant.
fn rules(matched: &Value, list: &str, path: &str, errors: &mut Errors) {
    for (at, rule) in items(matched, list) {
        let path = |key: &str| format!("{path}.{list}[{at}].{key}");
        for key in ["operations", "apiGroups", "apiVersions", "resources"] {
            let told: Vec<&str> = items(rule, key).filter_map(|(_, t)| t.as_str()).collect();
            if told.is_empty() {
                errors.required(&path(key), "");
            } else if told.len() > 1 && told.contains(&"*") {
                let what = match key {
                    "operations" => "operations",
                    "apiGroups" => "API groups",
                    "apiVersions" => "API versions",
                    _ => continue,
                };
                let detail = format!("if '*' is present, must not specify other {what}");
                errors.invalid(&path(key), &rule[key], &detail);
            }
        }
        for (at, operation) in items(rule, "operations") {
            let known = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];
            errors.one_of(&format!("{}[{at}]", path("operations")), operation, &known);
        }
        errors.one_of(&path("scope"), &rule["scope"], &["*", "Cluster", "Namespaced"]);
    }
}

const POLICY_DATA: Strategy = Strategy {
    schema_required: true,
    behaviour: Behaviour::Data(
        "ValidatingAdmissionPolicies are stored, but not asked yet: every write passes",
    ),
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
    ..POLICY_DATA
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
        for key in ["apiVersion", "kind"] {
            if text(&spec["paramKind"], key).is_empty() {
                errors.required(&format!("spec.paramKind.{key}"), "");
            }
        }
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

fn resources(matched: &Value, path: &str, errors: &mut Errors) {
    for list in ["resourceRules", "excludeResourceRules"] {
        rules(matched, list, path, errors);
    }
    errors.one_of(&format!("{path}.matchPolicy"), &matched["matchPolicy"], &["Equivalent", "Exact"]);
    for key in ["namespaceSelector", "objectSelector"] {
        metadata::selector(&matched[key], &format!("{path}.{key}"), errors);
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
            (_, "") => "*".to_owned(),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![text(spec, "policyName").into(), shown.into(), age(binding, now)]
    },
    ..POLICY_DATA
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
    let path = "spec.validationActions";
    if items(spec, "validationActions").next().is_none() {
        errors.required(path, "");
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
    let parameters = &spec["paramRef"];
    if parameters.is_object() {
        if text(parameters, "name").is_empty() == parameters["selector"].is_null() {
            errors.required("spec.paramRef.name", "one of name or selector must be specified");
        }
        match text(parameters, "parameterNotFoundAction") {
            "" => errors.required("spec.paramRef.parameterNotFoundAction", ""),
            _ => errors.one_of(
                "spec.paramRef.parameterNotFoundAction",
                &parameters["parameterNotFoundAction"],
                &["Allow", "Deny"],
            ),
        }
    }
    if spec["matchResources"].is_object() {
        resources(&spec["matchResources"], "spec.matchResources", errors);
    }
}
