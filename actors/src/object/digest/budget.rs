//! The digest of a PodDisruptionBudget.

use serde::Deserialize;
use serde_json::Value;

use super::{Selector, read};
use crate::object::Document;

/// What evictions need of a disruption budget.
#[derive(Clone, PartialEq, Debug)]
pub struct BudgetDigest {
    /// Which pods of its namespace it covers: none where it has no selector, all where that is empty.
    pub selector: Selector,
    /// So many, or so large a part of them, must be healthy.
    pub min_available: Option<Value>,
    /// So many, or so large a part of them, may be missing. It comes before the other.
    pub max_unavailable: Option<Value>,
    /// Pods that are not ready may go whatever it says of the others.
    pub unhealthy_may_go: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: Option<Value>,
    min_available: Option<Value>,
    max_unavailable: Option<Value>,
    unhealthy_pod_eviction_policy: Option<String>,
}

impl BudgetDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> BudgetDigest {
        let spec: Spec = read(&document.spec);
        BudgetDigest {
            selector: spec.selector.as_ref().map_or_else(Selector::nothing, Selector::of),
            min_available: spec.min_available,
            max_unavailable: spec.max_unavailable,
            unhealthy_may_go: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        }
    }
}
