//! What a pod bears of its node without being told.

use serde_json::{Value, json};

/// The taint of nodes that are short of memory.
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// A pod that has reserved something may go to a node that is short of memory, for what it gets there is its own; one of
/// class BestEffort may not. As Kubernetes' admission has it (PodTolerationRestriction).
pub fn bear_memory_pressure(spec: &mut Value, qos_class: &str) {
    let Some(fields) = spec.as_object_mut().filter(|_| qos_class != "BestEffort") else { return };
    let tolerations = fields.entry("tolerations").or_insert_with(|| json!([]));
    if tolerations.is_null() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return };
    if !list.iter().any(bears) {
        list.push(json!({"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}));
    }
}

/// Whether a toleration says as much already.
fn bears(toleration: &Value) -> bool {
    let text = |key: &str| toleration[key].as_str().unwrap_or_default();
    text("operator") == "Exists"
        && matches!(text("key"), "" | MEMORY_PRESSURE)
        && matches!(text("effect"), "" | "NoSchedule")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tolerations(qos_class: &str, spec: Value) -> Value {
        let mut spec = spec;
        bear_memory_pressure(&mut spec, qos_class);
        spec["tolerations"].clone()
    }

    #[test]
    fn who_has_reserved_something_bears_it() {
        let added = json!([{"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}]);
        assert_eq!(tolerations("Burstable", json!({})), added);
        assert_eq!(tolerations("Guaranteed", json!({"tolerations": null})), added);
        assert_eq!(tolerations("BestEffort", json!({})), Value::Null);
        let other = json!({"key": "a", "operator": "Exists"});
        assert_eq!(tolerations("Burstable", json!({"tolerations": [other]})), json!([other, added[0]]));
    }

    #[test]
    fn who_bears_as_much_already_is_left_alone() {
        for toleration in [
            json!({"operator": "Exists"}),
            json!({"key": MEMORY_PRESSURE, "operator": "Exists"}),
            json!({"operator": "Exists", "effect": "NoSchedule"}),
        ] {
            let told = json!([toleration]);
            assert_eq!(tolerations("Burstable", json!({"tolerations": told})), told);
        }
        let of_another_effect = json!({"operator": "Exists", "effect": "NoExecute"});
        assert_eq!(
            tolerations("Burstable", json!({"tolerations": [of_another_effect]})).as_array().map(Vec::len),
            Some(2)
        );
    }
}
