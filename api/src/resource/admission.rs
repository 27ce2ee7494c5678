//! Configurations of webhooks that change or judge writes. They are asked by `admission/`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{default, default_text, each, items, object, text},
    metadata,
    names::NameRule,
};

const WEBHOOK: Strategy = Strategy {
    columns: &[Column::number("Webhooks"), Column::text("Age")],
    cells: |configuration, now| {
        vec![items(configuration, "webhooks").count().into(), age(configuration, now)]
    },
    schema_required: true,
    behaviour: Behaviour::Partly(
        "webhooks are asked about what clients write and about the pods, ReplicaSets, Jobs and PersistentVolumeClaims that controllers make, but not about what else controllers make yet",
    ),
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
pub(super) fn default_match(matched: &mut Map<String, Value>, rules: &str) {
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
        let wrong = NameRule::Subdomain.check(name);
        if !name.is_empty() && !wrong.is_empty() {
            errors.invalid_text(&path("name"), name, &wrong.join(","));
        } else if !name.is_empty() && name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.invalid_text(&path("name"), name, detail);
        }
        if !name.is_empty() && !names.insert(name) {
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
        review_versions(webhook, "admissionReviewVersions", &path("admissionReviewVersions"), errors);
        client(&webhook["clientConfig"], &path("clientConfig"), errors);
        for key in ["namespaceSelector", "objectSelector"] {
            metadata::selector(&webhook[key], &path(key), errors);
        }
        crate::admission::check_conditions(webhook, &format!("webhooks[{at}]"), false, errors);
    }
}

/// Which forms of a question a webhook takes: each told once, and one that is known here.
pub(super) fn review_versions(webhook: &Value, key: &str, path: &str, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, version) in items(webhook, key) {
        let version = version.as_str().unwrap_or_default();
        if !seen.insert(version) {
            errors.invalid_text(&format!("{path}[{at}]"), version, "duplicate version");
            continue;
        }
        for wrong in NameRule::Label1035.check(version) {
            errors.invalid_text(&format!("{path}[{at}]"), version, &wrong);
        }
    }
    if !seen.is_empty() && !seen.contains("v1") && !seen.contains("v1beta1") {
        errors.invalid(path, &webhook[key], "must include at least one of v1, v1beta1");
    }
}

/// Where a webhook is: by URL or by service.
pub(super) fn client(config: &Value, path: &str, errors: &mut Errors) {
    let url = config["url"].as_str();
    if url.is_some() == config["service"].is_object() {
        errors.required(path, "exactly one of url or service is required");
    }
    if let Some(url) = url {
        at_url(url, &format!("{path}.url"), errors);
    } else if config["service"].is_object() {
        at_service(&config["service"], &format!("{path}.service"), errors);
    }
}

fn at_url(url: &str, path: &str, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid_text(path, scheme, &detail);
    }
    if host.is_empty() || host.starts_with(':') {
        errors.invalid_text(path, host, &format!("host must be specified{FORM}"));
    } else if let Err(error) = url.parse::<http::Uri>() {
        errors.required(path, &format!("url must be a valid URL: {error}{FORM}"));
    }
    for (there, what) in [
        // Without what it says: it may be a password.
        (user.is_some(), "user information is not permitted in the URL"),
        (!fragment.is_empty(), "fragments are not permitted in the URL"),
        (!query.is_empty(), "query parameters are not permitted in the URL"),
    ] {
        if there {
            errors.invalid_text(path, host, what);
        }
    }
}

fn at_service(service: &Value, path: &str, errors: &mut Errors) {
    let port = &service["port"];
    if !port.is_null() && !port.as_i64().is_some_and(|port| (1..=65535).contains(&port)) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&format!("{path}.port"), port, detail);
    }
    let (told, path) = (text(service, "path"), format!("{path}.path"));
    if matches!(told, "" | "/") {
        return;
    }
    if !told.starts_with('/') {
        errors.invalid_text(&path, told, "must start with a '/'");
    }
    let steps = told.strip_prefix('/').unwrap_or(told);
    for (at, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid_text(&path, told, &format!("segment[{at}] may not be empty"));
            continue;
        }
        for wrong in NameRule::Subdomain.check(step) {
            errors.invalid_text(&path, told, &format!("segment[{at}]: {wrong}"));
        }
    }
}

/// Checks what writes are meant.
pub(super) fn rules(matched: &Value, list: &str, path: &str, errors: &mut Errors) {
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
        for key in ["apiVersions", "resources"] {
            for (at, _) in items(rule, key).filter(|(_, told)| told.as_str() == Some("")) {
                errors.required(&format!("{}[{at}]", path(key)), "");
            }
        }
        resources_of(rule, &path("resources"), errors);
        for (at, operation) in items(rule, "operations") {
            let known = ["*", "CREATE", "UPDATE", "DELETE", "CONNECT"];
            errors.one_of(&format!("{}[{at}]", path("operations")), operation, &known);
        }
        errors.one_of(&path("scope"), &rule["scope"], &["*", "Cluster", "Namespaced"]);
    }
}

/// Checks that resources of a rule do not stand in it twice, by wildcards.
fn resources_of(rule: &Value, path: &str, errors: &mut Errors) {
    let told: Vec<&str> = items(rule, "resources").filter_map(|(_, told)| told.as_str()).collect();
    let (mut all_below, mut below_all) = (HashSet::new(), HashSet::new());
    for (at, whole) in told.iter().enumerate() {
        let Some((resource, below)) = whole.split_once('/') else { continue };
        let mut wrong = |wildcard: String| {
            let detail = format!("if '{wildcard}' is present, must not specify {whole}");
            errors.invalid_text(&format!("{path}[{at}]"), whole, &detail);
        };
        if all_below.contains(resource) {
            wrong(format!("{resource}/*"));
        }
        if below_all.contains(below) {
            wrong(format!("*/{below}"));
        }
        if below == "*" {
            all_below.insert(resource);
        }
        if resource == "*" {
            below_all.insert(below);
        }
    }
    if told.len() > 1 && told.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.invalid(path, &rule["resources"], detail);
    }
    let plain = told.iter().any(|told| *told != "*" && !told.is_empty() && !told.contains('/'));
    if told.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, &rule["resources"], detail);
    }
}
