//! IngressClasses, ServiceCIDRs and IPAddresses.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{at, default_text, items, section, text},
    names::{NameRule, domain_path},
    or_none,
};

/// The strategy of ingress classes.
pub static INGRESS_CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(parameters) = section(class, "spec").get_mut("parameters").and_then(Value::as_object_mut)
        {
            default_text(parameters, "scope", "Cluster");
        }
    },
    validate: ingress_class,
    validate_update: |new, old, errors| {
        errors.immutable("spec.controller", &new["spec"]["controller"], &old["spec"]["controller"]);
    },
    columns: &[Column::text("Controller"), Column::text("Parameters"), Column::text("Age")],
    cells: |class, now| {
        let parameters = &class["spec"]["parameters"];
        let shown = parameters.as_object().map(|_| {
            let group = text(parameters, "apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", text(parameters, "kind"), text(parameters, "name"))
        });
        let controller = text(&class["spec"], "controller");
        vec![controller.into(), or_none(&shown.unwrap_or_default()), age(class, now)]
    },
    schema_required: true,
    behaviour: Behaviour::Data("IngressClasses are stored, but nothing serves Ingresses yet"),
    ..Strategy::PASSIVE
};

fn ingress_class(class: &Value, errors: &mut Errors) {
    let spec = &class["spec"];
    domain_path(text(spec, "controller"), "spec.controller", errors);
    if text(spec, "controller").len() > 250 {
        errors.too_long("spec.controller", 250);
    }
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return;
    }
    let path = "spec.parameters.namespace";
    match (text(parameters, "scope"), text(parameters, "namespace").is_empty()) {
        ("Cluster", false) => errors.forbidden(path, "`parameters.scope` is set to 'Cluster'"),
        ("Namespace", true) => errors.required(path, "`parameters.scope` is set to 'Namespace'"),
        _ => errors.one_of("spec.parameters.scope", &parameters["scope"], &["Cluster", "Namespace"]),
    }
}

/// The strategy of ranges of service addresses.
pub static SERVICE_CIDR: Strategy = Strategy {
    validate: service_cidr,
    validate_update: |new, old, errors| {
        let (new, old) = (&new["spec"]["cidrs"], &old["spec"]["cidrs"]);
        // A second family may come, nothing else.
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        if !(list(new).starts_with(&list(old)) && list(old).len() <= 1) {
            errors.immutable("spec.cidrs", new, old);
        }
    },
    columns: &[Column::text("CIDRs"), Column::text("Age")],
    cells: |range, now| {
        let cidrs: Vec<&str> = items(&range["spec"], "cidrs").filter_map(|(_, c)| c.as_str()).collect();
        vec![cidrs.join(",").into(), age(range, now)]
    },
    status: true,
    ..Strategy::PASSIVE
};

/// An address range as `address/bits`, in its only form.
fn cidr(text: &str) -> Option<IpAddr> {
    let (address, bits) = text.split_once('/')?;
    let (ip, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= most && ip.to_string() == address).then_some(ip)
}

fn service_cidr(range: &Value, errors: &mut Errors) {
    let cidrs = &range["spec"]["cidrs"];
    let count = items(&range["spec"], "cidrs").count();
    match count {
        0 => errors.required("spec.cidrs", "at least one CIDR required"),
        1 | 2 => {}
        _ => errors.invalid("spec.cidrs", cidrs, "may only hold up to 2 values"),
    }
    let mut families = Vec::new();
    for (at, told) in items(&range["spec"], "cidrs") {
        match told.as_str().and_then(cidr) {
            Some(ip) => families.push(ip.is_ipv4()),
            None => {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                errors.invalid(&format!("spec.cidrs[{at}]"), told, detail);
            }
        }
    }
    if families.len() == 2 && families[0] == families[1] {
        errors.invalid(
            "spec.cidrs",
            cidrs,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        );
    }
}

/// The strategy of addresses that are given away: each is an object whose name it is.
pub static IP_ADDRESS: Strategy = Strategy {
    // An IPv6 address has colons in it; what it may be is checked below.
    name: NameRule::Segment,
    validate: |address, errors| {
        let name = text(&address["metadata"], "name");
        if name.parse::<IpAddr>().is_ok_and(|ip| ip.to_string() != name) {
            errors.invalid_text("metadata.name", name, "not a valid address in canonical format");
        } else if name.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid_text("metadata.name", name, detail);
        }
    },
    validate_update: |new, old, errors| {
        let parent = |address: &Value| at(address, &["spec", "parentRef"]).clone();
        errors.immutable("spec.parentRef", &parent(new), &parent(old));
    },
    columns: &[Column::text("ParentRef")],
    cells: |address, _| {
        let parent = at(address, &["spec", "parentRef"]);
        if !parent.is_object() {
            return vec![json!("<none>")];
        }
        let (resource, group) = (text(parent, "resource"), text(parent, "group"));
        let dot = if group.is_empty() { "" } else { "." };
        let mut shown = format!("{resource}{dot}{group}").to_lowercase();
        for part in [text(parent, "namespace"), text(parent, "name")].into_iter().filter(|p| !p.is_empty()) {
            shown.push('/');
            shown.push_str(part);
        }
        vec![shown.into()]
    },
    schema_required: true,
    behaviour: Behaviour::Data("IPAddresses are stored, but none are made for Services yet"),
    ..Strategy::PASSIVE
};
