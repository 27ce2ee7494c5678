//! The pods behind a Service.

use std::sync::Arc;

use kontiki_actors::{Kind, Object, State};
use serde_json::Value;

use crate::{
    resource::fields::{items, text},
    selector::Selector,
};

/// The pods that a Service of this spec sends to: those of its selector that are ready, or all of them where it says so. None without a
/// selector.
pub(crate) fn pods(state: &State, namespace: &str, spec: &Value) -> Vec<Arc<Object>> {
    let Ok(selector) = Selector::from_labels(spec.get("selector")) else { return Vec::new() };
    let unready = spec["publishNotReadyAddresses"] == true;
    let pods = state.list(Kind::POD, Some(namespace));
    let pods = pods.filter(|pod| !pod.meta.deleting() && selector.matches(&pod.meta.labels));
    pods.filter(|pod| unready || ready(pod)).cloned().collect()
}

fn ready(pod: &Object) -> bool {
    let status = pod.document.status_value();
    items(&status, "conditions")
        .any(|(_, told)| text(told, "type") == "Ready" && text(told, "status") == "True")
}

/// The port of a pod that a port of a Service sends to: a number, or the name of one of its containers'.
pub(crate) fn port_of(port: &Value, pod: &Value) -> Option<u16> {
    match &port["targetPort"] {
        Value::String(name) => named(pod, name),
        Value::Null => number(&port["port"]),
        target => number(target),
    }
}

/// The port of this name of a container that runs as long as its pod does.
pub(crate) fn named(pod: &Value, name: &str) -> Option<u16> {
    let beside =
        items(pod, "initContainers").filter(|(_, container)| text(container, "restartPolicy") == "Always");
    let ports = items(pod, "containers").chain(beside).flat_map(|(_, container)| items(container, "ports"));
    let named = ports.map(|(_, port)| port).find(|port| text(port, "name") == name)?;
    number(&named["containerPort"])
}

/// A number that is one of a port.
pub(crate) fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}
