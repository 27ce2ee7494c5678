//! Nobody grants what he does not have: roles may allow no more than their writer may, and bindings may give no more, unless he may
//! `escalate` the role or `bind` it:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>.
//!
//! Nor does anybody look through a policy at what he may not read: `params`.
//!
//! Looked at on a view that has every acknowledged write, and for an update on the very revision that is replaced. A role that gains
//! rules in the moment between this and the commit of a binding to it is bound with them: whoever gave it these rules had them.

use kontiki_actors::{
    Kind, Object, ObjectKey, State,
    object::{BindingDigest, Document, RoleDigest},
    rbac::{GROUP, PolicyRule, compacted, uncovered},
};
use serde_json::Value;

use super::{is_binding, is_role, params};
use crate::{
    rest::{
        access::{Access, Attributes, On},
        identity::{Authorizer, User},
    },
    status::Status,
};

/// Whether objects of this kind give rights, or look at what their writer may not.
pub(crate) fn concerns(kind: Kind) -> bool {
    is_role(kind) || is_binding(kind) || params::concerns(kind)
}

/// Refuses a role or binding that would give more than its writer has, and a policy that would look at more; everything else passes. `old` is what it replaces.
pub(crate) fn check(
    authorizer: &dyn Authorizer,
    user: &User,
    key: &ObjectKey,
    new: &Value,
    old: Option<&Object>,
    state: &State,
) -> Result<(), Status> {
    if !concerns(key.kind) || user.is_master() {
        return Ok(());
    }
    if params::concerns(key.kind) {
        return params::check(authorizer, user, key, new, old, state);
    }
    if old.is_some_and(|old| leaves_grants(&old.to_value(), new)) {
        return Ok(());
    }
    let writer = Writer { authorizer, user, namespace: &key.namespace, state };
    if is_role(key.kind) { writer.role(key, new, old) } else { writer.binding(key, new) }
}

/// Whether an update only changes what the garbage collector needs to: owners and finalizers.
fn leaves_grants(old: &Value, new: &Value) -> bool {
    let rest = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        value
    };
    rest(old) == rest(new)
}

/// Who writes, and where.
struct Writer<'a> {
    authorizer: &'a dyn Authorizer,
    user: &'a User,
    namespace: &'a str,
    state: &'a State,
}

impl Writer<'_> {
    fn role(&self, key: &ObjectKey, new: &Value, old: Option<&Object>) -> Result<(), Status> {
        // A role that is created has no name in its URL, so that the right to escalate one of a name does not count.
        let name = if old.is_some() { key.name.as_str() } else { "" };
        if self.may("escalate", key.kind, name) {
            return Ok(());
        }
        let wanted = RoleDigest::of(&Document::from_value(new.clone()));
        self.confirm(&wanted.rules).map_err(|why| Status::forbidden(key.kind, &key.name, why))?;
        // What gathers rules gets those that others write later: only who has all may say that it does.
        let gathers = |object: &Value| object["aggregationRule"].is_object();
        if (gathers(new) || old.is_some_and(|old| gathers(&old.to_value())))
            && self.confirm(&everything()).is_err()
        {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(Status::forbidden(key.kind, &key.name, why));
        }
        Ok(())
    }

    fn binding(&self, key: &ObjectKey, new: &Value) -> Result<(), Status> {
        let Some(role) = BindingDigest::of(key, &Document::from_value(new.clone())).role else {
            return Err(Status::forbidden(key.kind, &key.name, "its roleRef names no role"));
        };
        if self.may("bind", role.kind, &role.name) {
            return Ok(());
        }
        let object = self.state.get(&role).ok_or_else(|| Status::not_found(role.kind, &role.name))?;
        let rules = object.role().map(|role| role.rules.as_slice()).unwrap_or_default();
        self.confirm(rules).map_err(|why| Status::forbidden(key.kind, &key.name, why))
    }

    fn may(&self, verb: &str, kind: Kind, name: &str) -> bool {
        let on = Attributes {
            group: GROUP,
            resource: kind.info().plural,
            namespace: self.namespace,
            name,
            ..Attributes::default()
        };
        self.authorizer.allows(self.user, &Access { verb, on: On::Resource(on) }, self.state)
    }

    /// Whether the writer has all these rights; which not, in words.
    fn confirm(&self, wanted: &[PolicyRule]) -> Result<(), String> {
        let held = self.authorizer.held(self.user, self.namespace, self.state);
        let missing = uncovered(&held.rules, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<String> = compacted(missing).iter().map(PolicyRule::in_short).collect();
        missing.sort();
        missing.dedup();
        let groups: Vec<String> = self.user.groups.iter().map(|group| format!("{group:?}")).collect();
        let mut why = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            self.user.name,
            groups.join(" "),
            missing.join("\n")
        );
        if !held.error.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", held.error));
        }
        Err(why)
    }
}

/// All that can be allowed.
fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".into()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), paths: all(), ..PolicyRule::default() },
    ]
}
