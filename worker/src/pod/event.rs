//! What a pod's owner is told in events, in the words of the kubelet.

use kontiki_proto::worker::EventNote;

use super::document::Pod;

/// An event about a pod, or about one of its containers.
pub fn note(pod: &Pod, container: Option<&str>, reason: &str, message: String, now_ms: i64) -> EventNote {
    let init = container.is_some_and(|name| pod.spec.init_containers.iter().any(|init| init.name == name));
    let list = if init { "initContainers" } else { "containers" };
    EventNote {
        pod_uid: pod.metadata.uid.clone(),
        pod_namespace: pod.metadata.namespace.clone(),
        pod_name: pod.metadata.name.clone(),
        field_path: container.map(|name| format!("spec.{list}{{{name}}}")).unwrap_or_default(),
        r#type: if is_normal(reason) { "Normal" } else { "Warning" }.to_owned(),
        reason: reason.to_owned(),
        message,
        time_ms: now_ms,
    }
}

fn is_normal(reason: &str) -> bool {
    matches!(reason, "Pulled" | "Pulling" | "Created" | "Started" | "Killing" | "SandboxChanged")
}
