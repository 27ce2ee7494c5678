//! How many pods a rolling update may add and miss.

use serde_json::Value;

use crate::{kinds::scaled::scaled, object::DeploymentDigest};

/// (surge, unavailable). Both being nothing would never move, so then one may be missing.
fn bounds(spec: &DeploymentDigest) -> (i64, i64) {
    if spec.recreate {
        return (0, 0);
    }
    // What the API fills in when nothing is said.
    let quarter = Value::from("25%");
    let or_quarter = |value: &Value| if value.is_null() { quarter.clone() } else { value.clone() };
    let surge = scaled(&or_quarter(&spec.max_surge), spec.replicas, true);
    let unavailable = scaled(&or_quarter(&spec.max_unavailable), spec.replicas, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods above the replicas.
pub(super) fn surge(spec: &DeploymentDigest) -> i64 {
    bounds(spec).0
}

/// Pods that may be missing.
pub(super) fn unavailable(spec: &DeploymentDigest) -> i64 {
    if spec.replicas == 0 { 0 } else { bounds(spec).1.min(spec.replicas) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        let of = |replicas: i64, max_surge: Value, max_unavailable: Value| {
            let spec =
                DeploymentDigest { replicas, max_surge, max_unavailable, ..DeploymentDigest::default() };
            (surge(&spec), unavailable(&spec))
        };
        assert_eq!(of(3, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(of(10, json!("25%"), json!("25%")), (3, 2));
        assert_eq!(of(10, Value::Null, Value::Null), (3, 2));
        assert_eq!(of(3, json!(0), json!("10%")), (0, 1), "nothing may move, so one may be missing");
        assert_eq!(of(0, json!("25%"), json!("25%")), (0, 0));
        assert_eq!(of(2, json!("100%"), json!(5)), (2, 2));
        assert_eq!(of(2, json!("many"), json!(0)), (0, 1));
    }
}
