//! What an object takes of a quota: <https://kubernetes.io/docs/concepts/policy/resource-quotas/#types-of-resource-quota>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    kind::Kind,
    object::{Document, Object, ObjectKey},
    quantity,
};

/// Amounts by the names that quotas have for them, in thousandths.
pub(crate) type Usage = BTreeMap<String, i128>;

/// Kinds of which quotas count the objects by a name without `count/`, too.
const NAMED: [Kind; 7] = [
    Kind::POD,
    Kind::SERVICE,
    Kind::REPLICATION_CONTROLLER,
    Kind::RESOURCE_QUOTA,
    Kind::SECRET,
    Kind::CONFIG_MAP,
    Kind::PERSISTENT_VOLUME_CLAIM,
];
/// What a quota may demand of each container to be told.
const DEMANDED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
const ONE: i128 = 1000;

/// Reads amounts; what is none counts as nothing.
pub(super) fn read(amounts: &Value) -> Usage {
    let amounts = amounts.as_object().into_iter().flatten();
    amounts.map(|(name, amount)| (name.clone(), milli(amount))).collect()
}

fn milli(amount: &Value) -> i128 {
    quantity::wide_of(amount).unwrap_or(0)
}

/// Adds amounts so many times.
pub(super) fn add(to: &mut Usage, more: &Usage, times: i128) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_default();
        *sum = sum.saturating_add(amount.saturating_mul(times));
    }
}

/// `count/deployments.apps`.
fn count_of(kind: Kind) -> String {
    format!("count/{}", kind.resource_name())
}

/// Whether objects of a kind may take anything of what a quota bounds.
pub(super) fn concerns(kind: Kind, hard: &Usage) -> bool {
    matches!(kind, Kind::POD | Kind::SERVICE | Kind::PERSISTENT_VOLUME_CLAIM)
        || hard.contains_key(&count_of(kind))
        || (NAMED.contains(&kind) && hard.contains_key(kind.info().plural))
}

/// Whether two states of an object take the same, as far as can be told without reading them.
pub(super) fn same(old: &Object, new: &Object) -> bool {
    let ended = |object: &Object| object.pod().is_some_and(|pod| pod.terminal());
    ended(old) == ended(new) && old.document.whole().spec == new.document.whole().spec
}

/// What an object takes of all that quotas can bound.
pub(super) fn of(key: &ObjectKey, document: &Document) -> Usage {
    let mut usage = Usage::from([(count_of(key.kind), ONE)]);
    let spec = || document.spec_value();
    let mut named = true;
    match key.kind {
        Kind::POD => {
            let phase = document.status_value()["phase"].clone();
            named = phase != "Succeeded" && phase != "Failed";
            if named {
                pod(&spec(), &mut usage);
            }
        }
        Kind::SERVICE => service(&spec(), &mut usage),
        Kind::PERSISTENT_VOLUME_CLAIM => claim(&spec(), &mut usage),
        _ => {}
    }
    if named && NAMED.contains(&key.kind) {
        usage.insert(key.kind.info().plural.to_owned(), ONE);
    }
    usage
}

fn pod(spec: &Value, usage: &mut Usage) {
    for (name, amount) in together(spec, "requests") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in together(spec, "limits") {
        usage.insert(format!("limits.{name}"), amount);
    }
}

/// The same as JSON amounts, in thousandths.
pub(crate) fn of_pod(spec: &Value, which: &str) -> Value {
    let all = together(spec, which).into_iter();
    Value::Object(
        all.map(|(name, milli)| {
            let text = super::amount::text(&name, milli);
            (name, text.into())
        })
        .collect(),
    )
}

/// What a pod takes: its containers together with those that run beside them, or the largest step of its beginning, and the overhead.
fn together(spec: &Value, which: &str) -> Usage {
    let of = |container: &Value| read(&container["resources"][which]);
    let list = |key: &str| spec[key].as_array().into_iter().flatten();
    let most = |all: &mut Usage, one: &Usage| {
        for (name, amount) in one {
            let have = all.entry(name.clone()).or_default();
            *have = (*have).max(*amount);
        }
    };
    let (mut beside, mut step) = (Usage::new(), Usage::new());
    for init in list("initContainers") {
        if init["restartPolicy"] == "Always" {
            add(&mut beside, &of(init), 1);
            most(&mut step, &beside);
        } else {
            let mut alone = of(init);
            add(&mut alone, &beside, 1);
            most(&mut step, &alone);
        }
    }
    let mut all = beside;
    list("containers").for_each(|container| add(&mut all, &of(container), 1));
    most(&mut all, &step);
    let mut overhead = read(&spec["overhead"]);
    if which == "limits" {
        overhead.retain(|name, _| all.contains_key(name));
    }
    add(&mut all, &overhead, 1);
    all
}

fn service(spec: &Value, usage: &mut Usage) {
    let kind = spec["type"].as_str().unwrap_or_default();
    if kind == "LoadBalancer" {
        usage.insert("services.loadbalancers".into(), ONE);
    }
    let ports = spec["ports"].as_array().map_or(0, Vec::len) as i128;
    let without = kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] == false;
    if matches!(kind, "NodePort" | "LoadBalancer") && !without {
        usage.insert("services.nodeports".into(), ports * ONE);
    }
}

fn claim(spec: &Value, usage: &mut Usage) {
    let storage = milli(&spec["resources"]["requests"]["storage"]);
    usage.insert("requests.storage".into(), storage);
    if let Some(class) = spec["storageClassName"].as_str().filter(|class| !class.is_empty()) {
        let of = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
        usage.insert(of("requests.storage"), storage);
        usage.insert(of("persistentvolumeclaims"), ONE);
    }
}

/// Whether each container of a pod tells what a quota bounds: else nobody could say what it takes.
pub(super) fn all_told(spec: &Value, hard: &Usage) -> Result<(), String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in DEMANDED.iter().filter(|name| hard.contains_key(**name)) {
        let (which, resource) = name.split_once('.').unwrap_or(("requests", name));
        let containers = ["containers", "initContainers"].iter().flat_map(|list| spec[*list].as_array());
        for container in containers.flatten() {
            if container["resources"][which].get(resource).is_none() {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let told = missing.iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    Err(format!("must specify {}", told.collect::<Vec<_>>().join("; ")))
}
