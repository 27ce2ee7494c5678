//! APIServices, as data: other servers are not asked yet.

use serde_json::Value;

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{default, items, number, section, text},
    names::NameRule,
};

/// The strategy of API services.
pub static STRATEGY: Strategy = Strategy {
    default: |service| {
        if let Some(reference) = section(service, "spec").get_mut("service").and_then(Value::as_object_mut) {
            default(reference, "port", 443);
        }
    },
    // The group of the core is empty: `v1.` is a name.
    name: NameRule::Segment,
    validate,
    columns: &[Column::text("Service"), Column::text("Available"), Column::text("Age")],
    cells: |service, now| {
        let reference = &service["spec"]["service"];
        let local = !reference.is_object();
        let to = format!("{}/{}", text(reference, "namespace"), text(reference, "name"));
        let condition = items(&service["status"], "conditions").map(|(_, c)| c);
        let condition = condition.into_iter().find(|c| text(c, "type") == "Available");
        let available = match condition.map(|c| (text(c, "status"), text(c, "reason"))) {
            None => "Unknown".to_owned(),
            Some((status @ "True", _) | (status, "")) => status.to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        };
        vec![if local { "Local".into() } else { to.into() }, available.into(), age(service, now)]
    },
    status: true,
    unconditional_update: false,
    behaviour: Behaviour::Data("APIServices are stored, but their servers are not asked yet"),
    ..Strategy::PASSIVE
};

fn validate(service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let (name, wanted) = (text(&service["metadata"], "name"), format!("{version}.{group}"));
    if name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid_text("metadata.name", name, &detail);
    }
    if !group.is_empty() {
        for wrong in NameRule::Subdomain.check(group) {
            errors.invalid_text("spec.group", group, &wrong);
        }
    }
    for wrong in NameRule::Label1035.check(version) {
        errors.invalid_text("spec.version", version, &wrong);
    }
    for (key, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        if !(1..=most).contains(&number(spec, key)) {
            let detail = format!("must be positive and less than {most}");
            errors.invalid(&format!("spec.{key}"), &number(spec, key).into(), &detail);
        }
    }
    let (bundle, insecure) = (!text(spec, "caBundle").is_empty(), spec["insecureSkipTLSVerify"] == true);
    let reference = &spec["service"];
    if !reference.is_object() {
        if bundle {
            errors.invalid("spec.caBundle", &spec["caBundle"], "local APIServices may not have a caBundle");
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid("spec.insecureSkipTLSVerify", &true.into(), detail);
        }
        return;
    }
    for key in ["namespace", "name"] {
        if text(reference, key).is_empty() {
            errors.required(&format!("spec.service.{key}"), "");
        }
    }
    if !(1..=65535).contains(&number(reference, "port")) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid("spec.service.port", &reference["port"], detail);
    }
    if bundle && insecure {
        let detail = "may not be true if caBundle is present";
        errors.invalid("spec.insecureSkipTLSVerify", &true.into(), detail);
    }
}
