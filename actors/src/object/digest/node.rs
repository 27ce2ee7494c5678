//! A node's digest.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Resources, read};
use crate::{object::Document, quantity};

/// What actors and the scheduler need of a node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NodeDigest {
    /// What pods may use.
    pub allocatable: Resources,
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
        let ready = status.conditions.iter().find(|c| c.r#type == "Ready");
        NodeDigest {
            allocatable: Resources::of(&status.allocatable),
            max_pods: status.allocatable.get("pods").and_then(quantity::milli_of).unwrap_or(0) / 1000,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ready: ready.map(|c| c.status.clone()).unwrap_or("Unknown".into()),
            ready_since: ready.and_then(|c| c.last_transition_time.clone()),
            images: status.images.into_iter().flat_map(|i| i.names).collect(),
        }
    }
}
