//! Taints in a node's spec.

use serde_json::{Value, json};

/// Sets or takes away a taint of the cluster's own. True when that changed something.
pub(super) fn set(spec: &mut Value, key: &str, effect: &str, wanted: bool, now: &str) -> bool {
    let is_it = |taint: &Value| taint["key"] == key && taint["effect"] == effect;
    let there = spec["taints"].as_array().is_some_and(|list| list.iter().any(is_it));
    if there == wanted {
        return false;
    }
    if !spec.is_object() {
        *spec = json!({});
    }
    if !spec["taints"].is_array() {
        spec["taints"] = json!([]);
    }
    if let Some(list) = spec["taints"].as_array_mut() {
        if wanted {
            list.push(json!({"key": key, "effect": effect, "timeAdded": now}));
        } else {
            list.retain(|taint| !is_it(taint));
        }
    }
    if spec["taints"].as_array().is_some_and(Vec::is_empty)
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("taints");
    }
    true
}

/// Gives NoExecute taints without a time the present one.
pub(super) fn stamp(spec: &mut Value, now: &str) -> bool {
    let mut changed = false;
    for taint in spec.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten() {
        if taint["effect"] == "NoExecute" && taint["timeAdded"].is_null() {
            taint["timeAdded"] = now.into();
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_taints_come_and_go_and_others_stay() {
        let mut spec = json!({"taints": [{"key": "user", "effect": "NoExecute"}]});
        assert!(set(&mut spec, "own", "NoSchedule", true, "t"));
        assert!(!set(&mut spec, "own", "NoSchedule", true, "u"));
        assert!(stamp(&mut spec, "v"));
        assert!(!stamp(&mut spec, "w"));
        assert_eq!(
            spec["taints"],
            json!([{"key": "user", "effect": "NoExecute", "timeAdded": "v"},
                {"key": "own", "effect": "NoSchedule", "timeAdded": "t"}])
        );
        assert!(set(&mut spec, "own", "NoSchedule", false, "x"));
        assert!(set(&mut spec, "user", "NoExecute", false, "x"));
        assert_eq!(spec, json!({}));
    }
}
