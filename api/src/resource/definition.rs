//! CustomResourceDefinition. What becomes of one is decided by its actor; what its schema says is read in `custom/`.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_actors::{KINDS, kind::ALSO};
use kontiki_pki::trust;
use serde_json::{Value, json};

use super::{
    Column, Strategy, admission,
    field::Errors,
    fields::{self, at, default_text, items, object, text},
    names::NameRule,
};
use crate::custom::{Patterns, columns, jsonpath::JsonPath, rules, schema::Schema, structural};

/// The annotation by which somebody vouches for a definition in a group of Kubernetes itself.
const APPROVED: &str = "api-approved.kubernetes.io";
/// Fields of one version that selectors may ask for.
const SELECTABLE: usize = 8;
const DEPRECATION: usize = 256;
/// Rules that are told of.
const WARNINGS: usize = 5;

/// The strategy.
pub static STRATEGY: Strategy = Strategy {
    default,
    validate,
    validate_update,
    warnings: |definition| {
        let mut all = rules::unsupported(&definition["spec"]["versions"]);
        all.truncate(WARNINGS);
        all
    },
    columns: &[Column { name: "Created At", r#type: "date", wide: false }],
    cells: |definition, _| vec![text(&definition["metadata"], "creationTimestamp").into()],
    status: true,
    unconditional_update: false,
    exact: true,
    ..Strategy::PASSIVE
};

fn default(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let conversion = object(spec, "conversion");
    default_text(conversion, "strategy", "None");
    let client = conversion.get_mut("webhook").and_then(|webhook| webhook.get_mut("clientConfig"));
    let service = client.and_then(|client| client.get_mut("service")).and_then(Value::as_object_mut);
    if let Some(service) = service {
        fields::default(service, "port", 443);
    }
    let names = object(spec, "names");
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() {
        default_text(names, "singular", &kind.to_lowercase());
        default_text(names, "listKind", &format!("{kind}List"));
    }
}

fn validate(definition: &Value, errors: &mut Errors) {
    let spec = &definition["spec"];
    let (group, names) = (text(spec, "group"), &spec["names"]);
    let name = text(&definition["metadata"], "name");
    if name != format!("{}.{group}", text(names, "plural")) {
        errors.invalid_text("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    in_group(definition, group, errors);
    match text(spec, "scope") {
        "" => errors.required("spec.scope", ""),
        scope => errors.one_of("spec.scope", &scope.into(), &["Cluster", "Namespaced"]),
    }
    if spec["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid("spec.preserveUnknownFields", &json!(true), why);
    }
    conversion(&spec["conversion"], errors);
    for required in ["plural", "singular", "kind", "listKind"] {
        if text(names, required).is_empty() {
            errors.required(&format!("spec.names.{required}"), "");
        }
    }
    named(names, errors);
    versions(spec, errors);
}

/// Groups are domains; those of Kubernetes need somebody who vouches, and those that are built in have no room.
fn in_group(definition: &Value, group: &str, errors: &mut Errors) {
    let wrong = NameRule::Subdomain.check(group).join(",");
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if !wrong.is_empty() {
        errors.invalid_text("spec.group", group, &wrong);
    } else if !group.contains('.') {
        errors.invalid_text("spec.group", group, "should be a domain with at least one dot");
    } else if KINDS.iter().any(|info| info.group == group) || ALSO.iter().any(|(_, own, _)| *own == group) {
        errors.invalid_text("spec.group", group, "is a group that the cluster itself serves");
    }
    let protected = ["k8s.io", "kubernetes.io"];
    let protected = protected.iter().any(|of| group == *of || group.ends_with(&format!(".{of}")));
    if !protected {
        return;
    }
    let field = format!("metadata.annotations[{APPROVED}]");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match text(&definition["metadata"]["annotations"], APPROVED) {
        "" => errors
            .required(&field, &format!("protected groups must have approval annotation {APPROVED:?}, {see}")),
        told if told.starts_with("unapproved") => {}
        told if told.split_once("://").is_some_and(|(_, rest)| !rest.is_empty()) => {}
        told => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {see}"
            );
            errors.invalid_text(&field, told, &why);
        }
    }
}

/// How objects are converted. Kubernetes names the fields as it has them inside.
fn conversion(conversion: &Value, errors: &mut Errors) {
    const CLIENT: &str = "spec.conversion.webhookClientConfig";
    const VERSIONS: &str = "spec.conversion.conversionReviewVersions";
    let webhook = &conversion["webhook"];
    let (client, versions) = (&webhook["clientConfig"], items(webhook, "conversionReviewVersions").count());
    match text(conversion, "strategy") {
        "" | "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            for (field, is_set) in [(CLIENT, !client.is_null()), (VERSIONS, versions > 0)] {
                if is_set {
                    errors.forbidden(field, why);
                }
            }
        }
        "Webhook" => {
            if client.is_null() {
                errors.required(CLIENT, "required when strategy is set to Webhook");
            } else {
                admission::client(client, CLIENT, errors);
                for (key, why) in
                    [("name", "service name is required"), ("namespace", "service namespace is required")]
                {
                    if client["service"].is_object() && text(&client["service"], key).is_empty() {
                        errors.required(&format!("{CLIENT}.service.{key}"), why);
                    }
                }
            }
            if versions == 0 {
                errors.required(VERSIONS, "");
            }
            admission::review_versions(webhook, "conversionReviewVersions", VERSIONS, errors);
        }
        other => errors.not_supported("spec.conversion.strategy", other, &["None", "Webhook"]),
    }
}

/// Whether a definition names those who vouch for its webhook, and nobody can be read of what it says.
fn vouched_by_nobody(definition: &Value) -> bool {
    let told = text(&definition["spec"]["conversion"]["webhook"]["clientConfig"], "caBundle");
    let read = STANDARD.decode(told).map_err(|error| error.to_string());
    !told.is_empty() && read.and_then(|pem| trust::roots_of(&pem)).is_err()
}

/// The forms of names.
fn named(names: &Value, errors: &mut Errors) {
    let mut check = |path: String, name: &str, cased: bool| {
        let lower = name.to_lowercase();
        let wrong = NameRule::Label1035.check(if cased { &lower } else { name }).join(",");
        if !name.is_empty() && !wrong.is_empty() {
            let before = if cased { "may have mixed case, but should otherwise match: " } else { "" };
            errors.invalid_text(&path, name, &format!("{before}{wrong}"));
        }
    };
    for (field, cased) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        check(format!("spec.names.{field}"), text(names, field), cased);
    }
    for list in ["shortNames", "categories"] {
        for (at, name) in items(names, list) {
            check(format!("spec.names.{list}[{at}]"), name.as_str().unwrap_or_default(), false);
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        errors.invalid_text("spec.names.listKind", kind, "kind and listKind may not be the same");
    }
}

fn versions(spec: &Value, errors: &mut Errors) {
    let names: Vec<&str> = items(spec, "versions").map(|(_, version)| text(version, "name")).collect();
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        errors.invalid("spec.versions", &json!(names), "must contain unique version names");
    }
    if items(spec, "versions").filter(|(_, version)| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.invalid("spec.versions", &json!(names), why);
    }
    let mut patterns = Patterns::default();
    for (at, version) in items(spec, "versions") {
        let path = format!("spec.versions[{at}]");
        let wrong = NameRule::Label1035.check(text(version, "name")).join(",");
        if !wrong.is_empty() {
            errors.invalid_text(&format!("{path}.name"), text(version, "name"), &wrong);
        }
        deprecation(version, &path, errors);
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_object() {
            structural::check(schema, &format!("{path}.schema.openAPIV3Schema"), &mut patterns, errors);
        } else {
            errors.required(&format!("{path}.schema.openAPIV3Schema"), "schemas are required");
        }
        scale(&version["subresources"]["scale"], &format!("{path}.subresources.scale"), errors);
        printed(version, &path, errors);
        selectable(version, &path, &mut patterns, errors);
    }
}

fn deprecation(version: &Value, path: &str, errors: &mut Errors) {
    let (field, warning) = (format!("{path}.deprecationWarning"), text(version, "deprecationWarning"));
    if version.get("deprecationWarning").is_none() {
        return;
    }
    let why = match warning {
        _ if version["deprecated"] != true => "can only be set for deprecated versions",
        "" => "must not be empty",
        warning if warning.len() > DEPRECATION => "must be <= 256 bytes",
        warning if warning.chars().any(char::is_control) => "must only contain printable UTF-8 characters",
        _ => return,
    };
    errors.invalid_text(&field, warning, why);
}

fn scale(scale: &Value, path: &str, errors: &mut Errors) {
    if !scale.is_object() {
        return;
    }
    for (field, below, why) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ] {
        let (told, field) = (text(scale, field), format!("{path}.{field}"));
        if told.is_empty() {
            if !field.ends_with("labelSelectorPath") {
                errors.required(&field, "");
            }
        } else if !told.starts_with('.') {
            errors.invalid_text(&field, told, "must be a simple json path starting with .");
        } else if !below.iter().any(|below| told.starts_with(below)) {
            errors.invalid_text(&field, told, why);
        } else if JsonPath::parse(told).ok().and_then(|path| path.names().map(drop)).is_none() {
            errors.invalid_text(&field, told, "must be a json path in the dot notation");
        }
    }
}

fn printed(version: &Value, path: &str, errors: &mut Errors) {
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (at, column) in items(version, "additionalPrinterColumns") {
        let field = |name: &str| format!("{path}.additionalPrinterColumns[{at}].{name}");
        if text(column, "name").is_empty() {
            errors.required(&field("name"), "");
        }
        let one_of = |of: &[&str]| format!("must be one of {}", of.join(","));
        match text(column, "type") {
            "" => errors.required(&field("type"), &one_of(&columns::TYPES)),
            of if !columns::TYPES.contains(&of) => {
                errors.invalid_text(&field("type"), of, &one_of(&columns::TYPES));
            }
            _ => {}
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid_text(&field("format"), format, &one_of(&FORMATS));
        }
        match text(column, "jsonPath") {
            "" => errors.required(&field("jsonPath"), ""),
            told if !told.starts_with('.') => {
                errors.invalid_text(&field("jsonPath"), told, "must be a simple json path starting with .");
            }
            told => {
                if let Err(why) = JsonPath::parse(told) {
                    errors.invalid_text(&field("jsonPath"), told, &format!("is an invalid path: {why}"));
                }
            }
        }
    }
}

fn selectable(version: &Value, path: &str, patterns: &mut Patterns, errors: &mut Errors) {
    let mut known = BTreeSet::new();
    let mut schema = None;
    for (at, told) in items(version, "selectableFields") {
        let field = format!("{path}.selectableFields[{at}].jsonPath");
        let told = text(told, "jsonPath");
        if told.is_empty() {
            errors.required(&field, "");
            continue;
        }
        let schema: &Schema =
            schema.get_or_insert_with(|| Schema::read_with(&version["schema"]["openAPIV3Schema"], patterns));
        let parsed = JsonPath::parse(told).ok().filter(|_| told.starts_with('.'));
        let names = parsed.as_ref().and_then(JsonPath::names);
        let found = names.as_ref().and_then(|names| schema.walk(names));
        match (names, found.and_then(|found| found.of)) {
            (None, _) => errors.invalid_text(&field, told, "is an invalid path: it must name fields only"),
            (Some(names), _) if names.first() == Some(&"metadata") => {
                errors.invalid_text(&field, told, "must not point to fields in metadata");
            }
            (_, Some(of)) if matches!(of.name(), "string" | "boolean" | "integer") => {}
            _ => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                           are allowed.";
                errors.invalid_text(&field, told, why);
            }
        }
        if !known.insert(told.to_owned()) {
            errors.duplicate(&field, &told.into());
        }
    }
    if known.len() > SELECTABLE {
        errors.too_many(&format!("{path}.selectableFields"), known.len(), SELECTABLE);
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let conditions = items(&old["status"], "conditions");
    let established =
        conditions.into_iter().any(|(_, c)| c["type"] == "Established" && c["status"] == "True");
    // Before it is served, and while it is wrong already, it may be: who mends it may need more than one step.
    if established && vouched_by_nobody(new) && !vouched_by_nobody(old) {
        let path = "spec.conversion.webhookClientConfig.caBundle";
        let told = text(&new["spec"]["conversion"]["webhook"]["clientConfig"], "caBundle");
        errors.invalid_text(path, told, "unable to load root certificates: it holds no certificate in PEM");
    }
    for (path, always) in [
        (&["spec", "scope"][..], false),
        (&["spec", "names", "kind"], false),
        (&["spec", "group"], true),
        (&["spec", "names", "plural"], true),
    ] {
        if always || established {
            errors.immutable(&path.join("."), at(new, path), at(old, path));
        }
    }
    for (place, stored) in items(&old["status"], "storedVersions") {
        let stored = stored.as_str().unwrap_or_default();
        if !items(&new["spec"], "versions").any(|(_, version)| text(version, "name") == stored) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions until a \
                 storage migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions"
            );
            errors.invalid_text(&format!("status.storedVersions[{place}]"), stored, &why);
        }
    }
}
