//! The node: what its worker says of itself, what the leader holds of its life, and which pods must leave it. A node
//! that is lost keeps its object, its labels and its pods' objects; its pods are marked and replaced in the same turn.

mod eviction;
mod life;
mod taint;

use serde_json::{Value, json};

pub use self::life::verdict;
use super::pod;
use crate::{
    input::NodeHello,
    kind::Kind,
    object::{Object, ObjectKey},
    turn::Turn,
};

/// Who events about nodes are from.
const COMPONENT: &str = "node-controller";
/// Where the nodes' leases are.
const LEASES: &str = "kube-node-lease";
/// Set on cordoned nodes, so that people and tolerations see it.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Holds a deleted node until its pods are gone, which happens in the turn in which nothing else holds it.
const FINALIZER: &str = "kontiki.io/pods";

/// Keeps the cordon's taint in line and sends away pods that do not bear its taints.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    if me.meta.deleting() {
        // Whoever else holds it may still be draining it: its pods go at the very end.
        if me.meta.finalizers.iter().any(|f| f != FINALIZER) {
            eviction::evict(turn, me);
        } else {
            leave(turn, me);
        }
        return;
    }
    if !me.meta.finalizers.iter().any(|f| f == FINALIZER) {
        set_finalizer(turn, me, true);
        return;
    }
    let now = turn.now();
    let mut spec = me.document.spec_value();
    let cordoned = spec["unschedulable"] == true;
    let turned = taint::set(&mut spec, UNSCHEDULABLE, "NoSchedule", cordoned, &now);
    // A taint that people set has no time: how long it is borne counts from when it is first seen.
    let stamped = taint::stamp(&mut spec, &now);
    if turned || stamped {
        let node = turn.put(&me.key, me.document.with_spec(spec));
        if turned {
            say(turn, &node, if cordoned { "NodeNotSchedulable" } else { "NodeSchedulable" });
        }
        return;
    }
    eviction::evict(turn, me);
}

/// A worker's session began: its node is there and ready. What people set on the node stays.
pub fn hello(turn: &mut Turn, hello: &NodeHello) {
    let key = ObjectKey::new(Kind::NODE, "", &hello.name);
    let mut status =
        serde_json::from_slice(&hello.status).ok().filter(Value::is_object).unwrap_or_else(|| json!({}));
    let said = status["conditions"].take();
    let leaves = life::leaves(&said);
    if let Some(status) = status.as_object_mut() {
        status.remove("conditions");
    }
    let now = turn.now();
    let Some(old) = turn.state().get(&key).cloned() else {
        let mut labels = json!({});
        label(&mut labels, hello);
        let mut value = json!({
            "metadata": {"name": hello.name, "labels": labels, "finalizers": [FINALIZER]}, "spec": {}, "status": status,
        });
        let (mut spec, mut status) = (value["spec"].take(), value["status"].take());
        let pressures = life::press(&mut spec, &mut status, &said, &now);
        life::contact(&mut spec, &mut status, leaves, &now);
        (value["spec"], value["status"]) = (spec, status);
        if let Some(node) = turn.create(Kind::NODE, value) {
            let message =
                format!("Node {name} event: Registered Node {name} in Controller", name = hello.name);
            turn.event(&node, "Normal", "RegisteredNode", message, COMPONENT);
            say(turn, &node, if leaves { "NodeNotReady" } else { "NodeReady" });
            pressures.iter().for_each(|event| say(turn, &node, event));
            hold_lease(turn, &node);
        }
        return;
    };
    let mut metadata = old.document.metadata_value();
    label(&mut metadata["labels"], hello);
    let mut spec = old.document.spec_value();
    life::clear_taints(&mut spec, &now);
    let before = old.document.status_value();
    if let Some(conditions) = before.get("conditions") {
        status["conditions"] = conditions.clone();
    }
    keep_amounts(&before, &mut status);
    let pressures = life::press(&mut spec, &mut status, &said, &now);
    life::contact(&mut spec, &mut status, leaves, &now);
    let document = old.document.with_metadata(metadata).with_spec(spec).with_status(status);
    let node = turn.put(&key, document);
    let was_ready = old.node().is_some_and(|n| n.ready == "True");
    if was_ready == leaves {
        say(turn, &node, if leaves { "NodeNotReady" } else { "NodeReady" });
    }
    pressures.iter().for_each(|event| say(turn, &node, event));
    hold_lease(turn, &node);
}

/// What others said that a node has, as they do of extended resources, stays where its worker says nothing of it.
fn keep_amounts(before: &Value, status: &mut Value) {
    for list in ["capacity", "allocatable"] {
        let (Some(before), Some(amounts)) = (before[list].as_object(), status[list].as_object_mut()) else {
            continue;
        };
        for (name, amount) in before {
            if !amounts.contains_key(name) {
                amounts.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn label(labels: &mut Value, hello: &NodeHello) {
    if !labels.is_object() {
        *labels = json!({});
    }
    for (name, value) in &hello.labels {
        labels[name.as_str()] = value.as_str().into();
    }
}

/// Says what the node is now, in the words of Kubernetes' node agent.
fn say(turn: &mut Turn, node: &Object, state: &str) {
    let message = format!("Node {} status is now: {state}", node.key.name);
    turn.event(node, "Normal", state, message, "kubelet");
}

/// The node's lease, which clients look up: it names the holder and no times, for heartbeats are not written.
fn hold_lease(turn: &mut Turn, node: &Object) {
    let home = ObjectKey::new(Kind::NAMESPACE, "", LEASES);
    if turn.state().get(&home).is_none_or(|namespace| namespace.meta.deleting()) {
        return;
    }
    let owner = json!({
        "apiVersion": node.key.kind.api_version(), "kind": node.key.kind.info().kind, "name": node.key.name,
        "uid": node.meta.uid,
    });
    turn.create(
        Kind::LEASE,
        json!({
            "metadata": {"name": node.key.name, "namespace": LEASES, "ownerReferences": [owner]},
            "spec": {"holderIdentity": node.key.name},
        }),
    );
}

/// A node is deleted: nobody will ever speak for its pods, so they go before it and are replaced. Then nothing holds it.
fn leave(turn: &mut Turn, me: &Object) {
    let pods: Vec<_> = turn.state().pods_on(&me.key.name).cloned().collect();
    for object in pods {
        if turn.full() {
            let now = turn.now_ms();
            turn.wake_by(&me.key, now);
            return;
        }
        pod::remove_without_node(turn, &object);
    }
    set_finalizer(turn, me, false);
    turn.finish_deletion(&me.key);
}

/// The finalizer that holds a node until its pods are gone.
fn set_finalizer(turn: &mut Turn, me: &Object, wanted: bool) {
    turn.edit_metadata(&me.key, |meta| {
        let list = meta.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.retain(|f| f != FINALIZER);
            if wanted {
                list.push(FINALIZER.into());
            }
            if list.is_empty() {
                meta.remove("finalizers");
            }
        }
    });
}
