//! CertificateSigningRequests, as data: approved and denied, but signed by nobody yet.

use std::collections::{BTreeMap, HashSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Behaviour, Column, Strategy, age, duration,
    field::Errors,
    fields::{items, section, text},
    or_none,
};

/// The strategy of requests for certificates.
pub static STRATEGY: Strategy = Strategy {
    // What was asked for was asked by somebody: it stays as it is.
    prepare_update: |request, old| request["spec"] = old["spec"].clone(),
    validate,
    columns: &[
        Column::text("Age"),
        Column::text("SignerName"),
        Column::text("Requestor"),
        Column::text("RequestedDuration"),
        Column::text("Condition"),
    ],
    cells: |request, now| {
        let spec = &request["spec"];
        let duration = spec["expirationSeconds"].as_i64().map(duration::human);
        vec![
            age(request, now),
            or_none(text(spec, "signerName")),
            text(spec, "username").into(),
            or_none(&duration.unwrap_or_default()),
            state(&request["status"]).into(),
        ]
    },
    selectable: &["spec.signerName"],
    status: true,
    unconditional_update: false,
    schema_required: true,
    behaviour: Behaviour::Data("CertificateSigningRequests are stored, but nobody signs them yet"),
    ..Strategy::PASSIVE
};

/// Notes who asks: whoever approves relies on that, so a client cannot say it.
pub fn asked_by(
    request: &mut Value,
    name: &str,
    uid: &str,
    groups: &[String],
    extra: &BTreeMap<String, Vec<String>>,
) {
    let spec = section(request, "spec");
    spec.insert("username".into(), name.into());
    spec.insert("groups".into(), json!(groups));
    for (key, value, given) in
        [("uid", json!(uid), !uid.is_empty()), ("extra", json!(extra), !extra.is_empty())]
    {
        match given {
            true => drop(spec.insert(key.into(), value)),
            false => drop(spec.remove(key)),
        }
    }
}

/// What certificates may be for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn validate(request: &Value, errors: &mut Errors) {
    let spec = &request["spec"];
    let pem = STANDARD.decode(text(spec, "request")).unwrap_or_default();
    if !pem.is_empty() && !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE REQUEST-----") {
        errors.invalid("spec.request", &spec["request"], "PEM block type must be CERTIFICATE REQUEST");
    }
    if items(spec, "usages").next().is_none() {
        errors.required("spec.usages", "");
    }
    let mut seen = HashSet::new();
    for (at, usage) in items(spec, "usages") {
        let path = format!("spec.usages[{at}]");
        errors.one_of(&path, usage, &USAGES);
        if !seen.insert(usage) {
            errors.duplicate(&path, usage);
        }
    }
    signer(text(spec, "signerName"), errors);
    if spec["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid("spec.expirationSeconds", &spec["expirationSeconds"], detail);
    }
    conditions(&request["status"], errors);
}

fn signer(name: &str, errors: &mut Errors) {
    let path = "spec.signerName";
    if name == "kubernetes.io/legacy-unknown" {
        errors.invalid_text(path, name, "the legacy signerName is not allowed via this API version");
    }
    let fits = |(domain, rest): (&str, &str)| domain.contains('.') && !rest.is_empty() && !rest.contains('/');
    if !name.is_empty() && !name.split_once('/').is_some_and(fits) {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid_text(path, name, detail);
    }
}

/// Checks the conditions of a request.
pub fn conditions(status: &Value, errors: &mut Errors) {
    let mut kinds = HashSet::new();
    for (at, condition) in items(status, "conditions") {
        let path = |key: &str| format!("status.conditions[{at}].{key}");
        let kind = text(condition, "type");
        match (kind, text(condition, "status")) {
            ("", _) => errors.required(&path("type"), ""),
            (_, "") => errors.required(&path("status"), ""),
            ("Approved" | "Denied" | "Failed", told) if told != "True" => {
                errors.not_supported(&path("status"), told, &["True"]);
            }
            _ => {}
        }
        if !kinds.insert(kind) {
            errors.duplicate(&path("type"), &kind.into());
        }
    }
    if kinds.contains("Approved") && kinds.contains("Denied") {
        let detail = "Approved and Denied conditions are mutually exclusive";
        errors.invalid("status.conditions", &status["conditions"], detail);
    }
}

/// Whoever acts on a verdict has done so for good: it is not taken back.
pub fn verdicts_stay(status: &Value, old: &Value, errors: &mut Errors) {
    for kind in ["Approved", "Denied", "Failed"] {
        let has = |status: &Value| items(status, "conditions").any(|(_, c)| text(c, "type") == kind);
        if has(old) && !has(status) {
            let detail = format!("updates may not remove a condition of type {kind:?}");
            errors.forbidden("status.conditions", &detail);
        }
    }
}

/// The cell CONDITION.
fn state(status: &Value) -> String {
    let has = |kind: &str| items(status, "conditions").any(|(_, c)| text(c, "type") == kind);
    let mut shown: Vec<&str> = Vec::new();
    shown.extend(if has("Denied") {
        Some("Denied")
    } else if has("Approved") {
        Some("Approved")
    } else {
        None
    });
    if shown.is_empty() {
        shown.push("Pending");
    }
    if has("Failed") {
        shown.push("Failed");
    }
    if !text(status, "certificate").is_empty() {
        shown.push("Issued");
    }
    shown.join(",")
}

/// The status that an update makes of the old one: an approval changes the conditions and nothing else; a signer's
/// report changes everything but what was approved and denied.
pub fn status(told: &Value, old: &Value, approval: bool) -> Value {
    let conditions = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let verdict = |condition: &Value| matches!(text(condition, "type"), "Approved" | "Denied");
    let mut status = if approval { old.clone() } else { told.clone() };
    let mut list = conditions(told);
    if !approval {
        // Those that are there stay where the signer names them, as they were; others are neither taken away nor made.
        let mut kept: Vec<Value> = conditions(old).into_iter().filter(verdict).collect();
        list.retain_mut(|condition| {
            if !verdict(condition) {
                return true;
            }
            let same = kept.iter().position(|old| old["type"] == condition["type"]);
            same.map(|same| *condition = kept.remove(same)).is_some()
        });
        list.append(&mut kept);
    }
    if !status.is_object() {
        status = json!({});
    }
    if list.is_empty() {
        status.as_object_mut().map(|map| map.remove("conditions"));
    } else {
        status["conditions"] = list.into();
    }
    status
}
