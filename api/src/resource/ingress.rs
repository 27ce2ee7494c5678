//! Ingresses.

use serde_json::{Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{at, items, number, text},
    names::{NameRule, check_port_name},
    or_none,
    passive::shortened,
    pod::port_number,
};

/// The strategy of ingresses.
pub static STRATEGY: Strategy = Strategy {
    prepare_create: |ingress| ingress["status"] = json!({"loadBalancer": {}}),
    validate,
    columns: &[
        Column::text("Class"),
        Column::text("Hosts"),
        Column::text("Address"),
        Column::text("Ports"),
        Column::text("Age"),
    ],
    cells,
    status: true,
    behaviour: Behaviour::Data("Ingresses are stored, but nothing serves them yet"),
    ..Strategy::PASSIVE
};

fn cells(ingress: &Value, now_ms: i64) -> Vec<Value> {
    let spec = &ingress["spec"];
    let hosts: Vec<String> = items(spec, "rules")
        .map(|(_, rule)| text(rule, "host"))
        .map(|host| if host.is_empty() { "*".to_owned() } else { host.to_owned() })
        .collect();
    let addresses: Vec<&str> = items(at(ingress, &["status", "loadBalancer"]), "ingress")
        .map(|(_, i)| if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") })
        .collect();
    let tls = items(spec, "tls").next().is_some();
    vec![
        or_none(text(spec, "ingressClassName")),
        if hosts.is_empty() { "*".into() } else { shortened(&hosts) },
        addresses.join(",").into(),
        if tls { "80, 443" } else { "80" }.into(),
        age(ingress, now_ms),
    ]
}

fn validate(ingress: &Value, errors: &mut Errors) {
    let spec = &ingress["spec"];
    if items(spec, "rules").next().is_none() && !spec["defaultBackend"].is_object() {
        errors.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified");
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", errors);
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        for wrong in NameRule::Subdomain.check(class) {
            errors.invalid_text("spec.ingressClassName", class, &wrong);
        }
    }
    for (at, tls) in items(spec, "tls") {
        for (host_at, name) in items(tls, "hosts") {
            host(name.as_str().unwrap_or_default(), &format!("spec.tls[{at}].hosts[{host_at}]"), errors);
        }
    }
    for (at, rule) in items(spec, "rules") {
        let path = format!("spec.rules[{at}]");
        if !text(rule, "host").is_empty() {
            host(text(rule, "host"), &format!("{path}.host"), errors);
        }
        if !rule["http"].is_object() {
            continue;
        }
        if items(&rule["http"], "paths").next().is_none() {
            errors.required(&format!("{path}.http.paths"), "");
        }
        for (at, told) in items(&rule["http"], "paths") {
            route(told, &format!("{path}.http.paths[{at}]"), errors);
        }
    }
}

/// A host, or all below one: `*.example.com`.
fn host(name: &str, path: &str, errors: &mut Errors) {
    if name.parse::<std::net::IpAddr>().is_ok() {
        errors.invalid_text(path, name, "must be a DNS name, not an IP address");
        return;
    }
    for wrong in NameRule::Subdomain.check(name.strip_prefix("*.").unwrap_or(name)) {
        errors.invalid_text(path, name, &wrong);
    }
}

fn route(route: &Value, path: &str, errors: &mut Errors) {
    let told = text(route, "path");
    match text(route, "pathType") {
        "" => errors.required(&format!("{path}.pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !told.starts_with('/') {
                errors.invalid_text(&format!("{path}.path"), told, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| told.contains(part)) {
                errors.invalid_text(&format!("{path}.path"), told, &format!("must not contain '{part}'"));
            }
            for part in ["/..", "/."].into_iter().filter(|part| told.ends_with(part)) {
                errors.invalid_text(&format!("{path}.path"), told, &format!("cannot end with '{part}'"));
            }
        }
        "ImplementationSpecific" => {
            if !told.is_empty() && !told.starts_with('/') {
                errors.invalid_text(&format!("{path}.path"), told, "must be an absolute path");
            }
        }
        other => errors.not_supported(
            &format!("{path}.pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        ),
    }
    backend(&route["backend"], &format!("{path}.backend"), errors);
}

fn backend(backend: &Value, path: &str, errors: &mut Errors) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => errors.invalid(path, backend, "cannot set both resource and service backends"),
        (false, false) => errors.required(path, "resource or service backend is required"),
        (false, true) => {}
        (true, false) => {
            let path = format!("{path}.service");
            match text(service, "name") {
                "" => errors.required(&format!("{path}.name"), ""),
                name => {
                    for wrong in NameRule::Label1035.check(name) {
                        errors.invalid_text(&format!("{path}.name"), name, &wrong);
                    }
                }
            }
            let port = &service["port"];
            match (text(port, "name"), number(port, "number")) {
                ("", 0) => errors.required(&path, "port name or number is required"),
                ("", _) => port_number(&port["number"], &format!("{path}.port.number"), errors),
                (name, 0) => {
                    for wrong in check_port_name(name) {
                        errors.invalid_text(&format!("{path}.port.name"), name, &wrong);
                    }
                }
                _ => errors.invalid(&path, port, "cannot set both port name & port number"),
            }
        }
    }
}
