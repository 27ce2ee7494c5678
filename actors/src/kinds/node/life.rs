//! What the leader holds of a node's life, as conditions and taints.

use kontiki_hooks::{Defect, planted};
use serde_json::{Value, json};

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

/// The kubelet's words of a node whose machine goes down.
const LEAVING_MESSAGE: &str = "node is shutting down";
const READY_MESSAGE: &str = "kontiki worker is posting ready status";
const LOST_MESSAGE: &str = "kontiki worker stopped posting node status.";
/// The conditions beside Ready: what a worker may be short of.
const PRESSURES: [Pressure; 3] = [
    Pressure {
        kind: "MemoryPressure",
        taint: "node.kubernetes.io/memory-pressure",
        short: ("KubeletHasInsufficientMemory", "kontiki worker has insufficient memory available"),
        enough: ("KubeletHasSufficientMemory", "kontiki worker has sufficient memory available"),
        events: ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    },
    Pressure {
        kind: "DiskPressure",
        taint: "node.kubernetes.io/disk-pressure",
        short: ("KubeletHasDiskPressure", "kontiki worker has disk pressure"),
        enough: ("KubeletHasNoDiskPressure", "kontiki worker has no disk pressure"),
        events: ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    },
    Pressure {
        kind: "PIDPressure",
        taint: "node.kubernetes.io/pid-pressure",
        short: ("KubeletHasInsufficientPID", "kontiki worker has insufficient PID available"),
        enough: ("KubeletHasSufficientPID", "kontiki worker has sufficient PID available"),
        events: ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
    },
];

/// One of them: reason and message while it is so and while it is not, and what is told when that changes.
struct Pressure {
    kind: &'static str,
    taint: &'static str,
    short: (&'static str, &'static str),
    enough: (&'static str, &'static str),
    events: (&'static str, &'static str),
}

impl Pressure {
    fn is(&self, status: &Value, value: &str) -> bool {
        let conditions = status["conditions"].as_array();
        conditions.is_some_and(|list| list.iter().any(|c| c["type"] == self.kind && c["status"] == value))
    }
}

/// Sets a node's condition. Its heartbeat time is that of the last news: heartbeats themselves are not written.
fn set(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: &str) {
    if !condition::set(status, kind, value, reason, message, now) {
        return;
    }
    for condition in status["conditions"].as_array_mut().into_iter().flatten().filter(|c| c["type"] == kind) {
        condition["lastHeartbeatTime"] = now.into();
    }
}

/// Whether a worker says, by conditions, that its machine goes down.
pub(super) fn leaves(said: &Value) -> bool {
    let conditions = said.as_array();
    conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Ready" && c["status"] == "False"))
}

/// The status of a node in contact. One that leaves gets no more pods; those that it has are ended by its worker.
pub(super) fn contact(spec: &mut Value, status: &mut Value, leaves: bool, now: &str) {
    for pressure in PRESSURES {
        // What the worker said last of a pressure stands until it says something else.
        if !pressure.is(status, "True") {
            let (reason, message) = pressure.enough;
            set(status, pressure.kind, "False", reason, message, now);
        }
    }
    taint::set(spec, NOT_READY, "NoSchedule", leaves, now);
    let (value, reason, message) = if leaves {
        ("False", "KubeletNotReady", LEAVING_MESSAGE)
    } else {
        ("True", "KubeletReady", READY_MESSAGE)
    };
    set(status, "Ready", value, reason, message, now);
}

/// Takes in what a worker says that it is short of, given as conditions. A node under pressure gets no more pods but those
/// that tolerate it. Answers the events to tell.
pub(super) fn press(spec: &mut Value, status: &mut Value, said: &Value, now: &str) -> Vec<&'static str> {
    let mut events = Vec::new();
    for pressure in PRESSURES {
        let is_short = pressure.is(&json!({"conditions": said}), "True");
        let was_short = pressure.is(status, "True");
        let (value, (reason, message)) =
            if is_short { ("True", pressure.short) } else { ("False", pressure.enough) };
        set(status, pressure.kind, value, reason, message, now);
        taint::set(spec, pressure.taint, "NoSchedule", is_short, now);
        if is_short != was_short {
            events.push(if is_short { pressure.events.0 } else { pressure.events.1 });
        }
    }
    events
}

/// Takes away the taints of a node that was not in contact, but for what it says itself.
pub(super) fn clear_taints(spec: &mut Value, now: &str) {
    if planted(Defect::NodeStaysLost) {
        return;
    }
    let lost = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute"), (NOT_READY, "NoExecute")];
    for (key, effect) in lost {
        taint::set(spec, key, effect, false, now);
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
            // Who was about to leave is still.
            let leaves = old
                .node()
                .is_some_and(|n| n.taints.iter().any(|t| t.key == NOT_READY && t.effect == "NoSchedule"));
            clear_taints(&mut spec, &now);
            contact(&mut spec, &mut status, leaves, &now);
        }
        Life::Suspect => {
            taint::set(&mut spec, UNREACHABLE, "NoSchedule", true, &now);
            set(&mut status, "Ready", "Unknown", "NodeStatusUnknown", why, &now);
        }
        Life::Down => {
            for effect in ["NoSchedule", "NoExecute"] {
                taint::set(&mut spec, UNREACHABLE, effect, true, &now);
            }
            for pressure in PRESSURES {
                set(&mut status, pressure.kind, "Unknown", "NodeStatusUnknown", LOST_MESSAGE, &now);
            }
            set(&mut status, "Ready", "Unknown", "NodeStatusUnknown", why, &now);
        }
    }
    let node = turn.put(&key, old.document.with_spec(spec).with_status(status));
    match verdict.life {
        Life::Ready if before != "True" && node.node().is_some_and(|n| n.ready == "True") => {
            say(turn, &node, "NodeReady");
        }
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
