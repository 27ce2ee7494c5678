//! Services: the turn gives them addresses and node ports; nothing routes to their pods yet.

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
    prepare_update: |service, old| {
        keep_address(service, old);
        keep_ports(service, old);
        let_go(service, old);
    },
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
    behaviour: Behaviour::Data("Services get addresses and node ports, but nothing routes to their pods yet"),
    ..Strategy::PASSIVE
};

/// How long a client stays with its pod unless the Service tells otherwise, as in Kubernetes: three hours.
const CLIENT_TIMEOUT_S: i64 = 10_800;
/// How long one may stay at most: a day.
const LONGEST_STAY_S: i64 = 86_400;

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

/// Whether it has ports on all nodes.
fn is_outside(service: &Value) -> bool {
    matches!(text(&service["spec"], "type"), "NodePort" | "LoadBalancer")
}

fn is_balanced(service: &Value) -> bool {
    text(&service["spec"], "type") == "LoadBalancer"
}

/// Whether load balancers ask at a port of its own whether a node has pods of it.
fn has_health_port(service: &Value) -> bool {
    is_balanced(service) && text(&service["spec"], "externalTrafficPolicy") == "Local"
}

/// The ports that it has on all nodes.
fn node_ports(service: &Value) -> HashSet<i64> {
    let ports = items(&service["spec"], "ports").map(|(_, port)| number(port, "nodePort"));
    ports.filter(|port| *port != 0).collect()
}

/// Who does not say a port on all nodes leaves the Service the one that its port of the same name has.
fn keep_ports(service: &mut Value, old: &Value) {
    if !(is_outside(old) && is_outside(service)) {
        return;
    }
    let health = number(&old["spec"], "healthCheckNodePort");
    if has_health_port(old) && has_health_port(service) && health != 0 {
        default(section(service, "spec"), "healthCheckNodePort", health);
    }
    if service["spec"]["allocateLoadBalancerNodePorts"] == false {
        return;
    }
    let mut used: HashSet<i64> = node_ports(service);
    for port in each(section(service, "spec"), "ports") {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            continue;
        }
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let same = items(&old["spec"], "ports").find(|(_, before)| text(before, "name") == name);
        let kept = same.map_or(0, |(_, before)| number(before, "nodePort"));
        if kept != 0 && used.insert(kept) {
            port.insert("nodePort".into(), kept.into());
        }
    }
}

/// A Service of another type lets go of what only the type that it had has, unless somebody says something new about it.
fn let_go(service: &mut Value, old: &Value) {
    let external = |service: &Value| text(&service["spec"], "type") == "ExternalName";
    let (outside, balanced) = (is_outside(service), is_balanced(service));
    let same = |service: &Value, field: &str| service["spec"][field] == old["spec"][field];
    let mut gone = Vec::new();
    if external(service) && !external(old) {
        gone.extend(["ipFamilies", "ipFamilyPolicy"]);
    }
    let by_addresses = items(&service["spec"], "externalIPs").next().is_some();
    if is_outside(old) && !outside && !by_addresses {
        gone.push("externalTrafficPolicy");
    }
    if is_balanced(old) && !balanced {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if has_health_port(old) && !has_health_port(service) {
        gone.push("healthCheckNodePort");
    }
    gone.retain(|field| same(service, field));
    let forget_ports = !outside && node_ports(service).is_subset(&node_ports(old));
    let spec = section(service, "spec");
    gone.into_iter().for_each(|field| drop(spec.remove(field)));
    if forget_ports {
        each(spec, "ports").for_each(|port| drop(port.remove("nodePort")));
    }
}

/// What belongs to some types only.
fn by_type(service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    let (kind, headless) = (text(spec, "type"), text(spec, "clusterIP") == "None");
    if headless && is_outside(service) {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.invalid_text("spec.clusterIPs[0]", "None", &detail);
    }
    if kind == "ExternalName" {
        let named = !text(spec, "clusterIP").is_empty() || items(spec, "clusterIPs").next().is_some();
        let families = items(spec, "ipFamilies").next().is_some();
        for (field, is_set) in [
            ("clusterIPs", named),
            ("ipFamilies", families),
            ("ipFamilyPolicy", !spec["ipFamilyPolicy"].is_null()),
        ] {
            if is_set {
                errors.forbidden(&format!("spec.{field}"), "may not be set for ExternalName services");
            }
        }
        let name = text(spec, "externalName").trim_end_matches('.');
        if !name.is_empty() {
            let wrong = NameRule::Subdomain.check(name);
            wrong.iter().for_each(|wrong| errors.invalid_text("spec.externalName", name, wrong));
        }
    }
    if kind != "LoadBalancer" {
        for field in ["loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            let is_set = match &spec[field] {
                Value::Array(list) => !list.is_empty(),
                value => !value.is_null(),
            };
            if is_set {
                let detail = "may only be used when `type` is 'LoadBalancer'";
                errors.forbidden(&format!("spec.{field}"), detail);
            }
        }
    }
    let policies = ["Cluster", "Local"];
    errors.one_of("spec.internalTrafficPolicy", &spec["internalTrafficPolicy"], &policies);
    errors.one_of("spec.externalTrafficPolicy", &spec["externalTrafficPolicy"], &policies);
    let accessible =
        is_outside(service) || (kind == "ClusterIP" && items(spec, "externalIPs").next().is_some());
    if !accessible && !spec["externalTrafficPolicy"].is_null() {
        let detail = "may only be set for externally-accessible services";
        errors.invalid("spec.externalTrafficPolicy", &spec["externalTrafficPolicy"], detail);
    }
    if number(spec, "healthCheckNodePort") != 0 && !has_health_port(service) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid("spec.healthCheckNodePort", &spec["healthCheckNodePort"], detail);
    }
    let stay = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if text(spec, "sessionAffinity") == "ClientIP"
        && stay.as_i64().is_some_and(|seconds| !(1..=LONGEST_STAY_S).contains(&seconds))
    {
        let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.invalid(path, stay, &format!("must be greater than 0 and less than {LONGEST_STAY_S}"));
    }
}

/// Checks the ports on all nodes as far as they concern this Service alone.
fn ports_outside(service: &Value, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, port) in items(&service["spec"], "ports").filter(|(_, port)| number(port, "nodePort") != 0) {
        let path = format!("spec.ports[{at}].nodePort");
        if text(&service["spec"], "type") == "ClusterIP" {
            errors.forbidden(&path, "may not be used when `type` is 'ClusterIP'");
        }
        if !seen.insert((text(port, "protocol"), number(port, "nodePort"))) {
            errors.duplicate(&path, &port["nodePort"]);
        }
    }
}

fn validate(service: &Value, errors: &mut Errors) {
    let spec = &service["spec"];
    by_type(service, errors);
    ports_outside(service, errors);
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
    let class = |service: &Value| service["spec"]["loadBalancerClass"].clone();
    if is_balanced(old) && is_balanced(new) && class(old) != class(new) {
        errors.invalid("spec.loadBalancerClass", &class(new), "may not change once set");
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
