//! Policies say that they were seen: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>. What their
//! expressions say of a write is the business of `api/`, which also refuses expressions that are none. Types are not checked against those
//! of the resources that a policy is for, so that `typeChecking` says nothing.

use serde_json::json;

use crate::{object::Object, turn::Turn};

/// Brings the status up to date.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let mut status = me.document.status_value();
    if me.meta.deleting() || status["observedGeneration"].as_i64() >= Some(me.meta.generation) {
        return;
    }
    if !status.is_object() {
        status = json!({});
    }
    status["observedGeneration"] = me.meta.generation.into();
    turn.put_status(me, status);
}
