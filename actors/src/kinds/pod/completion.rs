//! What pods are given that templates are not, so that whoever changes a template's limit, or takes its `hostNetwork` away, changes all that
//! follows from it. As Kubernetes has it (`SetDefaults_Pod`).

use serde_json::{Map, Value, json};

/// Completes a pod's spec: requests of containers from their limits, host ports where the network is the host's, and links to services. What
/// is complete stays as it is.
pub fn complete(spec: &mut Value) {
    let Some(fields) = spec.as_object_mut() else { return };
    let host_network = fields.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            request_limits(container);
            if host_network {
                open_host_ports(container);
            }
        }
    }
    set_absent(fields, "enableServiceLinks", true.into());
}

fn request_limits(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    set_absent(resources, "requests", json!({}));
    let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) else { return };
    for (name, limit) in limits {
        set_absent(requests, &name, limit);
    }
}

fn open_host_ports(container: &mut Value) {
    let ports = container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter_map(Value::as_object_mut) {
        let told = port.get("hostPort").is_some_and(|told| !told.is_null() && *told != 0);
        if !told && let Some(number) = port.get("containerPort").cloned() {
            port.insert("hostPort".into(), number);
        }
    }
}

fn set_absent(fields: &mut Map<String, Value>, key: &str, value: Value) {
    if fields.get(key).is_none_or(Value::is_null) {
        fields.insert(key.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(spec: &Value) -> Value {
        let mut spec = spec.clone();
        complete(&mut spec);
        spec
    }

    #[test]
    fn what_is_not_asked_for_is_asked_for_up_to_the_limit() {
        let container = |requests: Value| json!({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": requests}});
        for (asked, wanted) in [
            (Value::Null, json!({"cpu": "2", "memory": "1Gi"})),
            (json!({"cpu": "1"}), json!({"cpu": "1", "memory": "1Gi"})),
            (json!({"cpu": "1", "memory": null}), json!({"cpu": "1", "memory": "1Gi"})),
        ] {
            let spec = completed(
                &json!({"containers": [container(asked.clone())], "initContainers": [container(asked)]}),
            );
            for list in ["containers", "initContainers"] {
                assert_eq!(spec[list][0]["resources"]["requests"], wanted, "{list}");
            }
            assert_eq!(completed(&spec), spec, "once and then it stays");
        }
        for free in [json!({}), json!({"resources": {}}), json!({"resources": {"limits": {}}})] {
            assert_eq!(completed(&json!({"containers": [free]}))["containers"][0], free);
        }
    }

    #[test]
    fn ports_are_the_hosts_where_the_network_is() {
        let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 0}, {"containerPort": 82, "hostPort": 82}]);
        let spec = |host: bool| {
            let list = json!([{"ports": ports}]);
            completed(&json!({"hostNetwork": host, "containers": list, "initContainers": list}))
        };
        let host_ports = |spec: &Value, list: &str| {
            let ports = spec[list][0]["ports"].as_array().expect("ports");
            ports.iter().map(|port| port["hostPort"].clone()).collect::<Vec<_>>()
        };
        for list in ["containers", "initContainers"] {
            assert_eq!(host_ports(&spec(true), list), [json!(80), json!(81), json!(82)]);
            assert_eq!(spec(false)[list][0]["ports"], ports);
        }
    }

    #[test]
    fn services_are_linked_unless_told_otherwise() {
        assert_eq!(completed(&json!({})), json!({"enableServiceLinks": true}));
        assert_eq!(completed(&json!({"enableServiceLinks": null})), json!({"enableServiceLinks": true}));
        let off = json!({"enableServiceLinks": false});
        assert_eq!(completed(&off), off);
        assert_eq!(completed(&Value::Null), Value::Null, "what is no spec stays");
    }
}
