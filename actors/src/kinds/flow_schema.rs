//! Flow schemas say whether the priority level that they name exists:
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#flowschema>. One without is passed over.

use super::condition;
use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    turn::Turn,
};

/// Brings the status up to date.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    if me.meta.deleting() {
        return;
    }
    let level = level_of(me);
    let exists = turn.state().get(&ObjectKey::new(Kind::PRIORITY_LEVEL_CONFIGURATION, "", &level)).is_some();
    let (value, reason, end) = match exists {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let mut status = me.document.status_value();
    if condition::set(&mut status, "Dangling", value, reason, &message, &turn.now()) {
        turn.put_status(me, status);
    }
}

/// A priority level came or went: the schemas that name it tell of that.
pub(crate) fn level_changed(turn: &mut Turn, key: &ObjectKey) {
    let schemas = turn.state().list(Kind::FLOW_SCHEMA, None);
    let named: Vec<ObjectKey> =
        schemas.filter(|schema| level_of(schema) == key.name).map(|schema| schema.key.clone()).collect();
    named.iter().for_each(|schema| turn.notify(schema));
}

fn level_of(schema: &Object) -> String {
    let spec = schema.document.spec_value();
    spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned()
}
