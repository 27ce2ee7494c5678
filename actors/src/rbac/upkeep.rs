//! Keeping the default roles and bindings what they are to be: what is missing in them is added by each new leader, also what a newer
//! version has more. What people added stays, and those who want them as they are say so:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation>.

use serde_json::{Value, json};

use super::uncovered;
use crate::{
    object::{BindingDigest, Document, Object, RoleDigest},
    turn::Turn,
};

/// An annotation: `false` leaves the object as it is.
pub(crate) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Adds to one of the default objects what it lacks.
pub(crate) fn complete(turn: &mut Turn, old: &Object, wanted: &Document) {
    if old.meta.deleting() || old.meta.annotations.get(AUTO_UPDATE).is_some_and(|value| value == "false") {
        return;
    }
    let (mut value, wanted_value) = (old.document.to_value(), wanted.to_value());
    if let Some(role) = old.role() {
        complete_role(role, &mut value, &RoleDigest::of(wanted), &wanted_value);
    } else if let Some(binding) = old.binding() {
        let wanted = BindingDigest::of(&old.key, wanted);
        if binding.role != wanted.role {
            // The role of a binding does not change: another one takes its place.
            turn.remove(&old.key);
            turn.create(old.key.kind, wanted_value);
            return;
        }
        let missing = wanted.subjects.iter().enumerate().filter(|(_, s)| !binding.subjects.contains(s));
        let missing: Vec<Value> = missing.map(|(at, _)| wanted_value["subjects"][at].clone()).collect();
        append(&mut value, "subjects", missing);
    }
    for map in ["labels", "annotations"] {
        for (key, text) in wanted_value["metadata"][map].as_object().into_iter().flatten() {
            let have = &mut value["metadata"][map];
            if !have.is_object() {
                *have = json!({});
            }
            if have.get(key).is_none() {
                have[key] = text.clone();
            }
        }
    }
    turn.put(&old.key, Document::from_value(value));
}

fn complete_role(role: &RoleDigest, value: &mut Value, wanted: &RoleDigest, wanted_value: &Value) {
    if wanted.gathers.is_empty() {
        let missing = wanted.rules.iter().enumerate();
        let missing =
            missing.filter(|(_, rule)| !uncovered(&role.rules, std::slice::from_ref(*rule)).is_empty());
        let missing = missing.map(|(at, _)| wanted_value["rules"][at].clone()).collect();
        append(value, "rules", missing);
        return;
    }
    let missing = wanted.gathers.iter().enumerate().filter(|(_, selector)| !role.gathers.contains(selector));
    let selectors = &wanted_value["aggregationRule"]["clusterRoleSelectors"];
    let missing = missing.map(|(at, _)| selectors[at].clone()).collect();
    append(&mut value["aggregationRule"], "clusterRoleSelectors", missing);
}

fn append(value: &mut Value, list: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match value[list].as_array_mut() {
        Some(have) => have.extend(more),
        None => value[list] = more.into(),
    }
}
