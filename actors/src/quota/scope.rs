//! Which objects a quota is about: <https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes>. A quota with scopes is about
//! pods.

use serde_json::Value;

use crate::{
    kind::Kind,
    kinds::pod::qos_class,
    object::{Document, ObjectKey},
};

/// Whether a quota of this spec is about an object.
pub(super) fn covers(spec: &Value, key: &ObjectKey, document: &Document) -> bool {
    let scopes = items(&spec["scopes"]).filter_map(Value::as_str);
    let mut scopes = scopes.peekable();
    let mut terms = items(&spec["scopeSelector"]["matchExpressions"]).peekable();
    if scopes.peek().is_none() && terms.peek().is_none() {
        return true;
    }
    if key.kind != Kind::POD {
        return false;
    }
    let pod = document.spec_value();
    scopes.all(|scope| is_in(&pod, scope, "Exists", &[]))
        && terms.all(|term| {
            let values: Vec<&str> = items(&term["values"]).filter_map(Value::as_str).collect();
            let text = |key: &str| term[key].as_str().unwrap_or_default();
            is_in(&pod, text("scopeName"), text("operator"), &values)
        })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_in(pod: &Value, scope: &str, operator: &str, values: &[&str]) -> bool {
    match scope {
        "Terminating" => pod["activeDeadlineSeconds"].is_i64() || pod["activeDeadlineSeconds"].is_u64(),
        "NotTerminating" => pod["activeDeadlineSeconds"].is_null(),
        "BestEffort" => qos_class(pod) == "BestEffort",
        "NotBestEffort" => qos_class(pod) != "BestEffort",
        "CrossNamespacePodAffinity" => crosses_namespaces(&pod["affinity"]),
        "PriorityClass" => {
            let class = pod["priorityClassName"].as_str().filter(|class| !class.is_empty());
            let named = class.is_some_and(|class| values.contains(&class));
            match operator {
                "In" => named,
                "NotIn" => !named,
                "DoesNotExist" => class.is_none(),
                _ => class.is_some(),
            }
        }
        _ => false,
    }
}

/// Whether a pod wants to be near to pods of other namespaces, or away from them.
fn crosses_namespaces(affinity: &Value) -> bool {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let of = &affinity[*kind];
        let terms = items(&of[REQUIRED]).chain(items(&of[PREFERRED]).map(|term| &term["podAffinityTerm"]));
        let mut terms = terms.into_iter();
        terms.any(|term| items(&term["namespaces"]).next().is_some() || term["namespaceSelector"].is_object())
    })
}
