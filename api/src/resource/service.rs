//! Services: the turn gives them addresses; nothing routes to their pods yet.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{default, default_text, each, items, number, object, section, text},
    map_text, metadata,
    names::{NameRule, check_port_name},
    or_none,
    pod::port_number,
};

/// The strategy of services.
pub static STRATEGY: Strategy = Strategy {
    name: NameRule::Label1035,
    default: default_service,
    prepare_create: |service| service["status"] = json!({"loadBalancer": {}}),
    prepare_update: keep_address,
    validate,
    validate_update,
    columns: &[
        Column::text("Type"),
        Column::text("Cluster-IP"),
        Column::text("External-IP"),
        Column::text("Port(s)"),
        Column::text("Age"),
        Column::wide("Selector"),
    ],
    cells,
    selectable: &["spec.clusterIP", "spec.type"],
    status: true,
    behaviour: Behaviour::Data(
        "Services get an address, but no node ports, and nothing routes to their pods yet",
    ),
    ..Strategy::PASSIVE
};

/// How long a client stays with its pod unless the Service tells otherwise, as in Kubernetes: three hours.
const CLIENT_TIMEOUT_S: i64 = 10_800;

fn default_service(service: &mut Value) {
    let spec = section(service, "spec");
    default_text(spec, "type", "ClusterIP");
    default_text(spec, "sessionAffinity", "None");
    default_affinity(spec);
    for port in each(spec, "ports") {
        default_text(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            // Charts write out what was not set as one of these.
            if port.get("targetPort").is_some_and(|target| *target == "" || *target == 0) {
                port.remove("targetPort");
            }
            default(port, "targetPort", number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind == "ExternalName" {
        return;
    }
    default_text(spec, "internalTrafficPolicy", "Cluster");
    default_text(spec, "ipFamilyPolicy", "SingleStack");
    default(spec, "ipFamilies", json!(["IPv4"]));
    if let Some(ip) = spec.get("clusterIP").cloned().filter(|ip| ip != "") {
        default(spec, "clusterIPs", json!([ip]));
    }
    if kind != "ClusterIP" {
        default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// How long a client stays with its pod is told of a Service whose clients stay, and of no other.
fn default_affinity(spec: &mut Map<String, Value>) {
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            let client = object(object(spec, "sessionAffinityConfig"), "clientIP");
            default(client, "timeoutSeconds", CLIENT_TIMEOUT_S);
        }
        Some("None") => drop(spec.remove("sessionAffinityConfig")),
        _ => {}
    }
}

/// Who does not say an address leaves the Service the one that it has; a Service that becomes an ExternalName gives it back.
fn keep_address(service: &mut Value, old: &Value) {
    let external = |service: &Value| text(&service["spec"], "type") == "ExternalName";
    if external(old) {
        return;
    }
    let (gives_back, before) = (external(service), &old["spec"]);
    if !gives_back
        && text(&service["spec"], "clusterIP").is_empty()
        && let Some(address) = before.get("clusterIP")
    {
        section(service, "spec").insert("clusterIP".into(), address.clone());
    }
    if text(&service["spec"], "clusterIP") != text(before, "clusterIP") {
        return;
    }
    let none_listed = items(&service["spec"], "clusterIPs").next().is_none();
    let spec = section(service, "spec");
    if gives_back {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    } else if let Some(addresses) = before.get("clusterIPs").filter(|_| none_listed) {
        spec.insert("clusterIPs".into(), addresses.clone());
    }
}

fn validate(service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    errors.one_of("spec.type", &spec["type"], &kinds);
    errors.one_of("spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    metadata::labels(&spec["selector"], "spec.selector", errors);
    let kind = text(spec, "type");
    let count = items(spec, "ports").count();
    if count == 0 && kind != "ExternalName" && text(spec, "clusterIP") != "None" {
        errors.required("spec.ports", "");
    }
    if kind == "ExternalName" && text(spec, "externalName").is_empty() {
        errors.required("spec.externalName", "");
    }
    let ip = text(spec, "clusterIP");
    if !ip.is_empty() && ip != "None" && ip.parse::<std::net::IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.invalid_text("spec.clusterIPs[0]", ip, detail);
    }
    let (mut names, mut seen) = (HashSet::new(), HashSet::new());
    for (at, port) in items(spec, "ports") {
        let path = format!("spec.ports[{at}]");
        let name = text(port, "name");
        if name.is_empty() && count > 1 {
            errors.required(&format!("{path}.name"), "");
        } else if !name.is_empty() {
            for wrong in NameRule::Label.check(name) {
                errors.invalid_text(&format!("{path}.name"), name, &wrong);
            }
            if !names.insert(name) {
                errors.duplicate(&format!("{path}.name"), &port["name"]);
            }
        }
        if number(port, "port") == 0 {
            errors.invalid(&format!("{path}.port"), &json!(0), "must be between 1 and 65535, inclusive");
        } else {
            port_number(&port["port"], &format!("{path}.port"), errors);
        }
        errors.one_of(&format!("{path}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        match &port["targetPort"] {
            Value::String(name) => {
                for wrong in check_port_name(name) {
                    errors.invalid_text(&format!("{path}.targetPort"), name, &wrong);
                }
            }
            value => port_number(value, &format!("{path}.targetPort"), errors),
        }
        if !seen.insert((number(port, "port"), text(port, "protocol"))) {
            let value = json!({"port": port["port"], "protocol": port["protocol"]});
            errors.duplicate(&path, &value);
        }
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (before, after) = (text(&old["spec"], "clusterIP"), text(&new["spec"], "clusterIP"));
    let external = [old, new].iter().any(|s| text(&s["spec"], "type") == "ExternalName");
    if !before.is_empty() && before != after && !external {
        errors.invalid("spec.clusterIPs[0]", &new["spec"]["clusterIPs"], "may not change once set");
    }
}

fn cells(service: &Value, now_ms: i64) -> Vec<Value> {
    let (spec, status) = (&service["spec"], &service["status"]);
    let kind = text(spec, "type");
    let texts = |value: &Value, key: &str| -> Vec<String> {
        items(value, key).filter_map(|(_, v)| v.as_str()).map(str::to_owned).collect()
    };
    let mut external = texts(spec, "externalIPs");
    for (_, ingress) in items(&status["loadBalancer"], "ingress") {
        let (ip, host) = (text(ingress, "ip"), text(ingress, "hostname"));
        external.push(if ip.is_empty() { host } else { ip }.to_owned());
    }
    let external = match (kind, external.is_empty()) {
        ("ExternalName", _) => text(spec, "externalName").to_owned(),
        ("LoadBalancer", true) => "<pending>".to_owned(),
        (_, true) => "<none>".to_owned(),
        (_, false) => external.join(","),
    };
    let ports: Vec<String> = items(spec, "ports")
        .map(|(_, port)| {
            let node = number(port, "nodePort");
            let node = if node > 0 { format!(":{node}") } else { String::new() };
            format!("{}{node}/{}", number(port, "port"), text(port, "protocol"))
        })
        .collect();
    vec![
        kind.into(),
        or_none(text(spec, "clusterIP")),
        external.into(),
        or_none(&ports.join(",")),
        age(service, now_ms),
        or_none(&map_text(spec["selector"].as_object())),
    ]
}
