//! A node's digest.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Resources, Scalars, pod::scalars_of, read};
use crate::{object::Document, quantity};

/// What actors and the scheduler need of a node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeDigest {
    /// What pods may use.
    pub allocatable: Resources,
    /// The same of scalar resources; what is not here it has none of. Where `allocatable` says nothing of one, `capacity` counts:
    /// people [advertise] extended resources there.
    ///
    /// [advertise]: https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/
    pub scalars: Scalars,
    /// How many pods it may hold.
    pub max_pods: i64,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// The status of its Ready condition: `True`, `False`, `Unknown`.
    pub ready: CompactString,
    /// Since when the Ready condition stands, RFC 3339.
    pub ready_since: Option<String>,
    /// Names of images that are on it.
    pub images: Vec<String>,
}

/// A taint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: CompactString,
    /// Value.
    pub value: CompactString,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: CompactString,
    /// RFC 3339, NoExecute only.
    pub time_added: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    taints: Vec<Taint>,
    unschedulable: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    capacity: BTreeMap<CompactString, Value>,
    allocatable: BTreeMap<CompactString, Value>,
    conditions: Vec<Condition>,
    images: Vec<Image>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image {
    names: Vec<String>,
}

impl NodeDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> NodeDigest {
        let spec: Spec = read(&document.spec);
        let status: Status = read(&document.status);
        let mut scalars = scalars_of(&status.capacity);
        scalars.retain(|name, _| !status.allocatable.contains_key(name));
        scalars.extend(scalars_of(&status.allocatable));
        let ready = status.conditions.iter().find(|c| c.r#type == "Ready");
        NodeDigest {
            allocatable: Resources::of(&status.allocatable),
            scalars,
            max_pods: status.allocatable.get("pods").and_then(quantity::milli_of).unwrap_or(0) / 1000,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ready: ready.map(|c| c.status.clone()).unwrap_or("Unknown".into()),
            ready_since: ready.and_then(|c| c.last_transition_time.clone()),
            images: status.images.into_iter().flat_map(|i| i.names).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_only_advertised_counts() {
        let node = NodeDigest::of(&Document::from_value(json!({"status": {
            "capacity": {"cpu": "4", "example.com/a": "3", "example.com/b": "3", "example.com/c": "3"},
            "allocatable": {"cpu": "4", "pods": "110", "example.com/b": "2", "example.com/c": "0"},
        }})));
        let expected = [("example.com/a".into(), 3), ("example.com/b".into(), 2)];
        assert_eq!((node.scalars, node.max_pods), (expected.into(), 110));
    }
}
