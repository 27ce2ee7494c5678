//! How many pods there are, counted here: whoever asks for the status must not have to read them all.

use std::time::Duration;

use kontiki_actors::{Kind, Object, State};
use kontiki_api::Backend;
use kontiki_proto::cluster::PodCounts;
use tokio::time::timeout;

use super::objects;

/// Without a leader nobody knows what was acknowledged: the rest of the status does not wait for one.
const DEADLINE: Duration = Duration::from_millis(500);

/// Counts them, if it can be known now which there are.
pub(super) async fn count(backend: &dyn Backend) -> Option<PodCounts> {
    let view = timeout(DEADLINE, objects::view(backend)).await.ok()?.ok()?;
    Some(of(&view))
}

fn of(state: &State) -> PodCounts {
    let mut counts = PodCounts::default();
    for object in state.list(Kind::POD, None) {
        let Some(pod) = object.pod() else { continue };
        let phase = if is_lost(object) { "Unknown" } else { pod.phase.as_str() };
        match counts.phases.get_mut(phase) {
            Some(count) => *count += 1,
            None => drop(counts.phases.insert(phase.to_owned(), 1)),
        }
        if let Some(node) = pod.node.as_ref().filter(|_| !pod.terminal()) {
            match counts.on_nodes.get_mut(node.as_str()) {
                Some(count) => *count += 1,
                None => drop(counts.on_nodes.insert(node.to_string(), 1)),
            }
        }
    }
    counts
}

/// Nobody knows of a pod whose node is lost. kubectl shows it so, too.
fn is_lost(object: &Object) -> bool {
    const REASON: &[u8] = b"\"NodeLost\"";
    // Looked for before it is read: there are many pods, and hardly any of them is lost.
    let document = object.document.whole();
    document.status.windows(REASON.len()).any(|bytes| bytes == REASON)
        && document.status_value()["reason"] == "NodeLost"
}

#[cfg(test)]
mod tests {
    use kontiki_actors::{Document, ObjectKey};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_are_counted_by_phase_and_node() {
        let mut state = State::default();
        let mut add = |name: &str, status: Value| {
            let pod = json!({ "metadata": { "name": name, "uid": name }, "spec": { "nodeName": "w1" }, "status": status });
            state.restore(Object::new(
                ObjectKey::new(Kind::POD, "default", name),
                1,
                Document::from_value(pod),
            ));
        };
        add("runs", json!({ "phase": "Running" }));
        add("ran", json!({ "phase": "Succeeded" }));
        add("lost", json!({ "phase": "Running", "reason": "NodeLost" }));
        add(
            "not-lost",
            json!({ "phase": "Running", "message": "NodeLost", "conditions": [{ "reason": "NodeLost" }] }),
        );
        let counts = of(&state);
        assert_eq!(
            counts.phases,
            [("Running", 2), ("Succeeded", 1), ("Unknown", 1)].map(|(k, n)| (k.into(), n)).into()
        );
        assert_eq!(counts.on_nodes, [("w1".to_owned(), 3)].into());
    }
}
