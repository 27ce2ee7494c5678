//! Conditions in a status: one per type, with the time since when its value stands.

use serde_json::{Value, json};

/// Sets a condition in a status. Nothing happens when it stands like that already; the transition time is that of the
/// last change of its value.
pub(super) fn set(
    status: &mut Value,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: &str,
) -> bool {
    let mut condition = json!({"type": kind, "status": value, "lastTransitionTime": now});
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    if !status.is_object() {
        *status = json!({});
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else { return false };
    let Some(old) = list.iter_mut().find(|c| c["type"] == kind) else {
        list.push(condition);
        return true;
    };
    let same = |field: &str| old.get(field) == condition.get(field);
    if same("status") && same("reason") && same("message") {
        return false;
    }
    if same("status") {
        condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    *old = condition;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_is_that_of_the_value() {
        let mut status = json!({});
        assert!(set(&mut status, "Ready", "True", "A", "", "t1"));
        assert!(!set(&mut status, "Ready", "True", "A", "", "t2"));
        assert!(set(&mut status, "Ready", "True", "B", "because", "t3"));
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "t1");
        assert!(set(&mut status, "Ready", "False", "B", "because", "t4"));
        assert_eq!(
            status,
            json!({"conditions": [{"type": "Ready", "status": "False", "reason": "B", "message": "because",
                "lastTransitionTime": "t4"}]})
        );
    }
}
