//! Who is given which roles: an index from users and groups to the bindings that name them, so that a request is judged by its own
//! user's few bindings, however many there are. Nothing is allocated while it is asked.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::{OrdMap, OrdSet};

use super::{Id, State};
use crate::{
    kind::Kind,
    object::{Object, ObjectKey, RoleDigest, Subject},
};

/// The bindings of all subjects, by name.
#[derive(Clone, Default)]
pub(super) struct Grants {
    users: OrdMap<Id, Bound>,
    groups: OrdMap<Id, Bound>,
}

/// The bindings that name one subject.
#[derive(Clone, Default)]
struct Bound {
    cluster: OrdSet<ObjectKey>,
    namespaces: OrdMap<CompactString, OrdSet<ObjectKey>>,
}

/// A role that somebody is given.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    /// By which binding.
    pub binding: &'a Arc<Object>,
    /// Which role.
    pub role: &'a ObjectKey,
    /// What it allows; none when there is no such role.
    pub allows: Option<&'a RoleDigest>,
}

impl Bound {
    fn set(&mut self, key: &ObjectKey) -> &mut OrdSet<ObjectKey> {
        match key.kind {
            Kind::CLUSTER_ROLE_BINDING => &mut self.cluster,
            _ => self.namespaces.entry(key.namespace.clone()).or_default(),
        }
    }
}

impl Grants {
    fn of(&mut self, subject: &Subject) -> (&mut OrdMap<Id, Bound>, Id) {
        match subject {
            Subject::User(name) => (&mut self.users, Id::from(name.as_str())),
            Subject::Group(name) => (&mut self.groups, Id::from(name.as_str())),
        }
    }

    fn add(&mut self, subject: &Subject, key: &ObjectKey) {
        let (all, name) = self.of(subject);
        all.entry(name).or_default().set(key).insert(key.clone());
    }

    fn take(&mut self, subject: &Subject, key: &ObjectKey) {
        let (all, name) = self.of(subject);
        let Some(bound) = all.get_mut(&name) else { return };
        bound.set(key).remove(key);
        if bound.namespaces.get(&key.namespace).is_some_and(OrdSet::is_empty) {
            bound.namespaces.remove(&key.namespace);
        }
        if bound.cluster.is_empty() && bound.namespaces.is_empty() {
            all.remove(&name);
        }
    }
}

impl State {
    pub(super) fn replace_binding(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let subjects = |object: Option<&Object>| object.and_then(Object::binding).map(|b| b.subjects.clone());
        let (before, after) = (subjects(old), subjects(new));
        let Some(key) = old.or(new).map(|object| &object.key).filter(|_| before != after) else { return };
        before.iter().flatten().for_each(|subject| self.grants.take(subject, key));
        after.iter().flatten().for_each(|subject| self.grants.add(subject, key));
    }

    /// The roles of a user with these groups: those that count everywhere, then those that count in a namespace, if one is named. A role
    /// that is given twice comes twice.
    pub fn grants<'a>(
        &'a self,
        user: &'a str,
        groups: &'a [String],
        namespace: &'a str,
    ) -> impl Iterator<Item = Grant<'a>> {
        let bound = move || {
            let groups = groups.iter().filter_map(|group| self.grants.groups.get(group.as_str()));
            self.grants.users.get(user).into_iter().chain(groups)
        };
        let everywhere = bound().flat_map(|bound| &bound.cluster);
        let here = bound().filter(move |_| !namespace.is_empty());
        let here = here.filter_map(move |bound| bound.namespaces.get(namespace)).flatten();
        everywhere.chain(here).filter_map(|key| {
            let binding = self.get(key)?;
            let role = binding.binding()?.role.as_ref()?;
            Some(Grant { binding, role, allows: self.get(role).and_then(|role| role.role()) })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Change, Document};

    fn put(state: &mut State, kind: Kind, namespace: &str, name: &str, value: Value) {
        let key = ObjectKey::new(kind, namespace, name);
        let old = state.get(&key).map(|object| object.document.whole());
        let change = Change::between(key, old.as_ref(), &Document::from_value(value));
        state.apply(&change.expect("it changes something"));
    }

    fn binding(role_kind: &str, role: &str, subjects: Value) -> Value {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role});
        json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": subjects})
    }

    /// Names of bindings, with whether their role is there.
    fn held(state: &State, user: &str, groups: &[&str], namespace: &str) -> Vec<(String, bool)> {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        let all = state.grants(user, &groups, namespace);
        all.map(|grant| (grant.binding.key.name.to_string(), grant.allows.is_some())).collect()
    }

    #[test]
    fn each_finds_his_own_bindings() {
        let mut state = State::default();
        let jane = json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "devs"}]);
        put(&mut state, Kind::CLUSTER_ROLE_BINDING, "", "all", binding("ClusterRole", "view", jane.clone()));
        put(&mut state, Kind::ROLE_BINDING, "a", "in-a", binding("Role", "r", jane));
        let accounts = json!([{"kind": "ServiceAccount", "name": "s"},
            {"kind": "ServiceAccount", "name": "s", "namespace": "other"}]);
        put(&mut state, Kind::ROLE_BINDING, "a", "accounts", binding("Role", "r", accounts));
        let found = |name: &str, there| (name.to_owned(), there);
        assert_eq!(held(&state, "jane", &[], ""), [found("all", false)]);
        assert_eq!(held(&state, "jane", &[], "a"), [found("all", false), found("in-a", false)]);
        assert_eq!(held(&state, "x", &["devs"], "b"), [found("all", false)]);
        assert_eq!(held(&state, "devs", &["jane"], "a"), [], "a group is no user");
        assert_eq!(held(&state, "system:serviceaccount:a:s", &[], "a"), [found("accounts", false)]);
        assert_eq!(held(&state, "system:serviceaccount:other:s", &[], "a"), [found("accounts", false)]);
        assert_eq!(held(&state, "system:serviceaccount:b:s", &[], "a"), []);
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        put(&mut state, Kind::ROLE, "a", "r", json!({"metadata": {"name": "r"}, "rules": rules}));
        assert_eq!(held(&state, "jane", &[], "a"), [found("all", false), found("in-a", true)]);
    }

    #[test]
    fn the_index_is_that_of_the_objects() {
        let mut state = State::default();
        let to = |name: &str| json!([{"kind": "User", "name": name}]);
        put(&mut state, Kind::ROLE_BINDING, "a", "b", binding("Role", "r", to("jane")));
        put(&mut state, Kind::ROLE_BINDING, "a", "b", binding("Role", "r", to("joe")));
        assert_eq!(held(&state, "jane", &[], "a"), []);
        assert_eq!(held(&state, "joe", &[], "a").len(), 1);
        let mut opened = State::default();
        state.iter().for_each(|object| opened.restore(Object::clone(object)));
        assert_eq!(held(&opened, "joe", &[], "a").len(), 1, "the same after a restart");
        state.apply(&Change::Delete { key: ObjectKey::new(Kind::ROLE_BINDING, "a", "b") });
        assert_eq!(held(&state, "joe", &[], "a"), []);
        assert!(state.grants.users.is_empty() && state.grants.groups.is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_binding_gives_no_role_that_it_cannot_name() {
        let mut state = State::default();
        let to = json!([{"kind": "User", "name": "jane"}, {"kind": "Other", "name": "jane"}]);
        put(&mut state, Kind::CLUSTER_ROLE_BINDING, "", "c", binding("Role", "r", to.clone()));
        let mut foreign = binding("ClusterRole", "view", to);
        foreign["roleRef"]["apiGroup"] = "other".into();
        put(&mut state, Kind::CLUSTER_ROLE_BINDING, "", "d", foreign);
        assert_eq!(held(&state, "jane", &[], "a"), []);
    }
}
