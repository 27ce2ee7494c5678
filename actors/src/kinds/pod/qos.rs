//! The quality of service class of a pod: how firmly it reserved what it may use.

use serde_json::Value;

use crate::quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`, from a pod's spec. Only cpu and memory count. A limit without a request
/// stands for both, as defaulting makes it.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = ["containers", "initContainers"];
    let containers = containers.iter().filter_map(|list| spec[*list].as_array()).flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let amount = |part: &str| {
                let value = container.get("resources")?.get(part)?.get(resource)?;
                quantity::wide_of(value).filter(|amount| *amount > 0)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_are_those_of_kubernetes() {
        let of =
            |resources: Value| qos_class(&json!({"containers": [{"name": "c", "resources": resources}]}));
        assert_eq!(of(json!({})), "BestEffort");
        assert_eq!(of(json!({"requests": {"cpu": "0"}, "limits": {"gpu": "1"}})), "BestEffort");
        assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(of(json!({"limits": {"cpu": "1"}})), "Burstable");
        assert_eq!(of(json!({"limits": {"memory": "10Pi"}})), "Burstable");
        assert_eq!(of(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        assert_eq!(of(equal.clone()), "Guaranteed");
        let less =
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}});
        assert_eq!(of(less), "Burstable");
        let second = json!({"containers": [{"resources": equal}, {"name": "plain"}]});
        assert_eq!(qos_class(&second), "Burstable");
        assert_eq!(
            qos_class(&json!({"containers": [{"resources": equal}], "initContainers": [{}]})),
            "Burstable"
        );
        assert_eq!(qos_class(&Value::Null), "BestEffort");
    }
}
