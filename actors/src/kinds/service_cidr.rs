//! The ServiceCIDR: a range that Services get addresses of. Once it is deleted it gives none, and it stays until no Service has an
//! address that no other range holds, too: <https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/>. In Kubernetes it stays
//! ten seconds longer, until all API servers know of its end; here addresses are given where that is known.

use serde_json::{Value, json};

use super::condition;
use crate::{
    addresses,
    kind::Kind,
    object::{Document, Object, ObjectKey},
    turn::Turn,
};

/// Holds a range that addresses are of.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The name of the range that every cluster has.
const DEFAULT: &str = "kubernetes";

/// The range that every cluster begins with, and has again when it is deleted.
pub fn default_range() -> (ObjectKey, Document) {
    let range = json!({"metadata": {"name": DEFAULT}, "spec": {"cidrs": [addresses::RANGE.to_string()]}});
    (ObjectKey::new(Kind::SERVICE_CIDR, "", DEFAULT), Document::from_value(range))
}

/// Protects it and says that it is ready; lets it go when nobody needs it any more.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let protected = is_protected(me);
    if !me.meta.deleting() {
        if protected {
            say(turn, me, "True", "", "Kubernetes Service CIDR is ready");
        } else {
            turn.edit_metadata(&me.key, |metadata| {
                let list = metadata.entry("finalizers").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(FINALIZER.into());
                }
            });
        }
    } else if protected && addresses::needed(turn.state(), me) {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a \
            new ServiceCIDR";
        say(turn, me, "False", "Terminating", message);
    } else if protected {
        turn.release(&me.key, FINALIZER);
    }
}

/// Whether it was looked at.
pub(crate) fn is_protected(range: &Object) -> bool {
    range.meta.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

fn say(turn: &mut Turn, me: &Object, value: &str, reason: &str, message: &str) {
    let mut status = me.document.status_value();
    condition::set(&mut status, "Ready", value, reason, message, &turn.now());
    // It is required, also where there is none.
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == "Ready" {
            condition["reason"] = Value::from(reason);
        }
    }
    turn.put_status(me, status);
}

/// Lets ranges that wait for their end look again, since a Service may have given an address back, or another range has come or gone.
pub(crate) fn changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let Some(key) = new.or(old).map(|object| &object.key) else { return };
    if key.kind == Kind::SERVICE_CIDR && key.name == DEFAULT && new.is_none() {
        let (_, document) = default_range();
        turn.create(key.kind, document.to_value());
    }
    let ranges = turn.state().list(Kind::SERVICE_CIDR, None);
    let leaving: Vec<ObjectKey> =
        ranges.filter(|range| range.meta.deleting()).map(|range| range.key.clone()).collect();
    if leaving.is_empty() {
        return;
    }
    let has =
        |object: Option<&Object>| object.map(|o| addresses::of(&o.document.whole())).unwrap_or_default();
    if key.kind == Kind::SERVICE_CIDR || has(old) != has(new) {
        leaving.iter().for_each(|range| turn.notify(range));
    }
}
