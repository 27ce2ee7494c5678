//! What the leader holds of a node's life, as conditions and taints.

use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use super::{COMPONENT, say, taint};
use crate::{
    input::{Life, Verdict},
    kind::Kind,
    kinds::condition,
    object::ObjectKey,
    turn::Turn,
};

/// Taint of a node that is not in contact.
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a node that says itself that it is not ready.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

const READY_MESSAGE: &str = "kontiki worker is posting ready status";
const LOST_MESSAGE: &str = "kontiki worker stopped posting node status.";
/// The conditions beside Ready, and how a worker in contact stands.
const PRESSURES: [(&str, &str, &str); 3] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kontiki worker has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kontiki worker has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kontiki worker has sufficient PID available"),
];

/// Sets a node's condition. Its heartbeat time is that of the last news: heartbeats themselves are not written.
fn set(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: &str) {
    if !condition::set(status, kind, value, reason, message, now) {
        return;
    }
    for condition in status["conditions"].as_array_mut().into_iter().flatten().filter(|c| c["type"] == kind) {
        condition["lastHeartbeatTime"] = now.into();
    }
}

/// The status of a node in contact.
pub(super) fn ready(status: &mut Value, now: &str) {
    for (kind, reason, message) in PRESSURES {
        set(status, kind, "False", reason, message, now);
    }
    set(status, "Ready", "True", "KubeletReady", READY_MESSAGE, now);
}

/// Takes away the taints of a node that was not in contact.
pub(super) fn clear_taints(spec: &mut Value, now: &str) {
    if planted(Defect::NodeStaysLost) {
        return;
    }
    for key in [UNREACHABLE, NOT_READY] {
        for effect in ["NoSchedule", "NoExecute"] {
            taint::set(spec, key, effect, false, now);
        }
    }
}

/// The leader's verdict. What follows for the node's pods is its actor's business, in the same turn.
pub fn verdict(turn: &mut Turn, verdict: &Verdict) {
    let key = ObjectKey::new(Kind::NODE, "", &verdict.node);
    let Some(old) = turn.state().get(&key).cloned() else { return };
    let now = turn.now();
    let (mut spec, mut status) = (old.document.spec_value(), old.document.status_value());
    let before = old.node().map(|n| n.ready.clone()).unwrap_or_default();
    let why = if verdict.reason.is_empty() { LOST_MESSAGE } else { &verdict.reason };
    match verdict.life {
        Life::Ready => {
            clear_taints(&mut spec, &now);
            ready(&mut status, &now);
        }
        Life::Suspect => {
            taint::set(&mut spec, UNREACHABLE, "NoSchedule", true, &now);
            set(&mut status, "Ready", "Unknown", "NodeStatusUnknown", why, &now);
        }
        Life::Down => {
            for effect in ["NoSchedule", "NoExecute"] {
                taint::set(&mut spec, UNREACHABLE, effect, true, &now);
            }
            for (kind, _, _) in PRESSURES {
                set(&mut status, kind, "Unknown", "NodeStatusUnknown", LOST_MESSAGE, &now);
            }
            set(&mut status, "Ready", "Unknown", "NodeStatusUnknown", why, &now);
        }
    }
    let node = turn.put(&key, old.document.with_spec(spec).with_status(status));
    match verdict.life {
        Life::Ready if before != "True" => say(turn, &node, "NodeReady"),
        Life::Down if !was_down(&old) => {
            let message = format!("Node {} status is now: NodeNotReady", node.key.name);
            turn.event(&node, "Normal", "NodeNotReady", message, COMPONENT);
        }
        _ => {}
    }
}

/// Whether a node was given up already.
pub(super) fn was_down(node: &crate::object::Object) -> bool {
    node.node().is_some_and(|n| n.taints.iter().any(|t| t.key == UNREACHABLE && t.effect == "NoExecute"))
}
