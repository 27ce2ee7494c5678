//! Kinds that are stored, listed and watched: what little is special about them.

use kontiki_actors::Kind;
use serde_json::{Value, json};

use super::{
    Behaviour, Column, Strategy, age,
    field::Errors,
    fields::{default, default_text, each, items, section, text},
    names::NameRule,
    or_none, selector_text,
};

/// The strategy of a passive kind.
pub fn strategy(kind: Kind) -> &'static Strategy {
    match kind {
        Kind::SERVICE_ACCOUNT => &SERVICE_ACCOUNT,
        Kind::ENDPOINTS => &ENDPOINTS,
        Kind::ENDPOINT_SLICE => &ENDPOINT_SLICE,
        Kind::POD_TEMPLATE => &POD_TEMPLATE,
        Kind::CONTROLLER_REVISION => &REVISION,
        Kind::LEASE => &LEASE,
        Kind::PRIORITY_CLASS => &PRIORITY_CLASS,
        Kind::RUNTIME_CLASS => &RUNTIME_CLASS,
        Kind::NETWORK_POLICY => &NETWORK_POLICY,
        _ => &Strategy::PASSIVE,
    }
}

static SERVICE_ACCOUNT: Strategy = Strategy {
    columns: &[Column::number("Secrets"), Column::text("Age")],
    cells: |account, now| vec![items(account, "secrets").count().into(), age(account, now)],
    returns_deleted: true,
    ..Strategy::PASSIVE
};

static ENDPOINTS: Strategy = Strategy {
    columns: &[Column::text("Endpoints"), Column::text("Age")],
    cells: |endpoints, now| {
        let mut all = Vec::new();
        for (_, subset) in items(endpoints, "subsets") {
            for (_, address) in items(subset, "addresses") {
                for (_, port) in items(subset, "ports") {
                    all.push(format!("{}:{}", text(address, "ip"), port["port"]));
                }
            }
        }
        vec![shortened(&all), age(endpoints, now)]
    },
    create_on_update: true,
    behaviour: Behaviour::Data(
        "Endpoints are mirrored in EndpointSlices, but none are made for Services and nothing is routed by them yet",
    ),
    ..Strategy::PASSIVE
};

static ENDPOINT_SLICE: Strategy = Strategy {
    default: |slice| {
        if let Some(map) = slice.as_object_mut() {
            default(map, "endpoints", json!([]));
            for port in each(map, "ports") {
                default(port, "name", "");
                default_text(port, "protocol", "TCP");
            }
        }
    },
    columns: &[
        Column::text("AddressType"),
        Column::text("Ports"),
        Column::text("Endpoints"),
        Column::text("Age"),
    ],
    cells: |slice, now| {
        let ports: Vec<String> = items(slice, "ports").map(|(_, p)| p["port"].to_string()).collect();
        let mut addresses = Vec::new();
        for (_, endpoint) in items(slice, "endpoints") {
            addresses.extend(items(endpoint, "addresses").filter_map(|(_, a)| a.as_str()).map(str::to_owned));
        }
        let ports = if ports.is_empty() { "<unset>".into() } else { shortened(&ports) };
        let addresses = if addresses.is_empty() { "<unset>".into() } else { shortened(&addresses) };
        vec![text(slice, "addressType").into(), ports, addresses, age(slice, now)]
    },
    behaviour: Behaviour::Data(
        "EndpointSlices mirror Endpoints, but none are made for Services' pods and nothing is routed by them yet",
    ),
    ..Strategy::PASSIVE
};

static POD_TEMPLATE: Strategy = Strategy {
    default: |object| {
        let mut template = object["template"].take();
        super::pod::default_template(&mut template);
        object["template"] = template;
    },
    validate: |object, errors| {
        super::pod::validate_spec(&object["template"]["spec"], "template.spec", errors);
        super::pod::not_in_templates(&object["template"]["spec"], "template.spec", errors);
    },
    returns_deleted: true,
    ..Strategy::PASSIVE
};

static REVISION: Strategy = Strategy {
    default: |revision| {
        if let Some(map) = revision.as_object_mut() {
            default(map, "revision", 0);
        }
    },
    validate: |revision, errors| {
        errors.non_negative("revision", &revision["revision"]);
        if revision["data"].is_null() {
            errors.required("data", "data is mandatory");
        }
    },
    // It is what a workload was: that does not change.
    validate_update: |new, old, errors| errors.immutable("data", &new["data"], &old["data"]),
    columns: &[Column::text("Controller"), Column::number("Revision"), Column::text("Age")],
    cells: |revision, now| {
        let owner =
            items(&revision["metadata"], "ownerReferences").map(|(_, o)| o).find(|o| o["controller"] == true);
        let owner = owner.map_or("<none>".to_owned(), |o| {
            format!("{}/{}", text(o, "kind").to_lowercase(), text(o, "name"))
        });
        vec![owner.into(), revision["revision"].clone(), age(revision, now)]
    },
    ..Strategy::PASSIVE
};

static LEASE: Strategy = Strategy {
    columns: &[Column::text("Holder"), Column::text("Age")],
    cells: |lease, now| vec![text(&lease["spec"], "holderIdentity").into(), age(lease, now)],
    validate: |lease, errors| {
        let spec = &lease["spec"];
        if spec.get("leaseDurationSeconds").and_then(Value::as_i64).is_some_and(|n| n <= 0) {
            let value = &spec["leaseDurationSeconds"];
            errors.invalid("spec.leaseDurationSeconds", value, "must be greater than 0");
        }
        errors.non_negative("spec.leaseTransitions", &spec["leaseTransitions"]);
    },
    unconditional_update: false,
    create_on_update: true,
    ..Strategy::PASSIVE
};

static PRIORITY_CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(map) = class.as_object_mut() {
            default_text(map, "preemptionPolicy", "PreemptLowerPriority");
            // Its zero means something, so it is always shown.
            default(map, "value", 0);
        }
    },
    validate: |class, errors| {
        let name = text(&class["metadata"], "name");
        let builtin = matches!(name, "system-node-critical" | "system-cluster-critical");
        if name.starts_with("system-") && !builtin {
            errors.forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only",
            );
        }
        if class["value"].as_i64().unwrap_or(0) > 1_000_000_000 && !builtin {
            let detail = "maximum allowed value of a user defined priority is 1000000000";
            errors.forbidden("value", detail);
        }
    },
    validate_update: |new, old, errors| {
        for key in ["value", "preemptionPolicy"] {
            if new[key] != old[key] {
                errors.invalid(key, &new[key], "field is immutable");
            }
        }
    },
    columns: &[
        Column::number("Value"),
        Column::text("Global-Default"),
        Column::text("Age"),
        Column::text("PreemptionPolicy"),
    ],
    cells: |class, now| {
        let global = class["globalDefault"] == true;
        vec![class["value"].clone(), global.into(), age(class, now), text(class, "preemptionPolicy").into()]
    },
    ..Strategy::PASSIVE
};

static RUNTIME_CLASS: Strategy = Strategy {
    validate: |class, errors| {
        if text(class, "handler").is_empty() {
            errors.required("handler", "");
            return;
        }
        for wrong in NameRule::Label.check(text(class, "handler")) {
            errors.invalid_text("handler", text(class, "handler"), &wrong);
        }
    },
    validate_update: |new, old, errors| errors.immutable("handler", &new["handler"], &old["handler"]),
    columns: &[Column::text("Handler"), Column::text("Age")],
    cells: |class, now| vec![text(class, "handler").into(), age(class, now)],
    behaviour: Behaviour::Partly(
        "the handlers are those of a worker's containerd or CRI-O; the built-in runtime knows its own only, kontiki. A pod of the class host, with or without an object, is plain processes",
    ),
    ..Strategy::PASSIVE
};

static NETWORK_POLICY: Strategy = Strategy {
    default: |policy| {
        let spec = section(policy, "spec");
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        default(spec, "podSelector", json!({}));
        default(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        for rule in ["ingress", "egress"] {
            for rule in each(spec, rule) {
                for port in each(rule, "ports") {
                    default_text(port, "protocol", "TCP");
                }
            }
        }
    },
    validate: |policy: &Value, errors: &mut Errors| {
        super::metadata::selector(&policy["spec"]["podSelector"], "spec.podSelector", errors);
    },
    columns: &[Column::text("Pod-Selector"), Column::text("Age")],
    cells: |policy, now| vec![or_none(&selector_text(&policy["spec"]["podSelector"])), age(policy, now)],
    behaviour: Behaviour::Data("NetworkPolicies are stored, but not enforced yet: pods reach each other"),
    ..Strategy::PASSIVE
};

/// At most three texts, and how many more there are.
pub(super) fn shortened(texts: &[String]) -> Value {
    match texts.len() {
        0 => "<none>".into(),
        n if n > 3 => format!("{} + {} more...", texts[..3].join(","), n - 3).into(),
        _ => texts.join(",").into(),
    }
}
