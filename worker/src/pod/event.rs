//! What a pod's owner is told in events, in the words of the kubelet.

use kontiki_proto::worker::EventNote;

use super::document::Pod;

/// Bytes of a message: as many as an Event may have in Kubernetes. Messages quote what pods ask for, however long.
const MESSAGE_MAX: usize = 1024;

/// An event about a pod, or about one of its containers. Its message is cut to what an Event may have.
pub fn note(pod: &Pod, container: Option<&str>, reason: &str, mut message: String, now_ms: i64) -> EventNote {
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    EventNote {
        pod_uid: pod.metadata.uid.clone(),
        pod_namespace: pod.metadata.namespace.clone(),
        pod_name: pod.metadata.name.clone(),
        field_path: container
            .map(|name| format!("spec.{}{{{name}}}", pod.role(name).list()))
            .unwrap_or_default(),
        r#type: if is_normal(reason) { "Normal" } else { "Warning" }.to_owned(),
        reason: reason.to_owned(),
        message,
        time_ms: now_ms,
    }
}

fn is_normal(reason: &str) -> bool {
    matches!(reason, "Pulled" | "Pulling" | "Created" | "Started" | "Killing" | "SandboxChanged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_an_event_may_have() {
        let said = |message: &str| note(&Pod::default(), None, "Pulling", message.into(), 0).message;
        assert_eq!(said("Pulling image \"x\""), "Pulling image \"x\"");
        assert_eq!(said(&"é".repeat(1 << 20)).len(), 1024);
        assert_eq!(said(&format!("x{}", "é".repeat(1 << 20))).len(), 1023, "no half letter");
    }
}
