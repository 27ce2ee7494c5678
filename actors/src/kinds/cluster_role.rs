//! Cluster roles that gather their rules from others by label, as `admin`, `edit` and `view` do:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    kind::Kind,
    object::{Object, ObjectKey},
    rbac::PolicyRule,
    turn::Turn,
};

/// Gathers the rules anew, where they are gathered: what somebody wrote there himself does not stay.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(role) = me.role().filter(|role| !role.gathers.is_empty() && !me.meta.deleting()) else { return };
    let mut seen: BTreeSet<&PolicyRule> = BTreeSet::new();
    let mut gathered: Vec<&PolicyRule> = Vec::new();
    for selector in &role.gathers {
        let others = turn.state().list(Kind::CLUSTER_ROLE, None);
        for other in others.filter(|other| other.key != me.key && selector.matches(&other.meta.labels)) {
            let rules = other.role().into_iter().flat_map(|other| &other.rules);
            gathered.extend(rules.filter(|rule| seen.insert(*rule)));
        }
    }
    // Another order means the same: two that gather from each other would write it in turns for ever.
    if seen == role.rules.iter().collect() && gathered.len() == role.rules.len() {
        return;
    }
    let mut document = me.document.to_value();
    document["rules"] = json!(gathered);
    turn.put(&me.key, crate::Document::from_value(document));
}

/// A cluster role came, went, or says something else: those that gather from it do so again.
pub(crate) fn changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let says = |object: Option<&Object>| object.and_then(Object::role).map(|role| role.rules.clone());
    if says(old) == says(new) && old.map(|old| &old.meta.labels) == new.map(|new| &new.meta.labels) {
        return;
    }
    let selected = |selector: &crate::object::Selector| {
        [old, new].into_iter().flatten().any(|object| selector.matches(&object.meta.labels))
    };
    let gathers = |role: &Object| role.role().is_some_and(|role| role.gathers.iter().any(selected));
    let all = turn.state().list(Kind::CLUSTER_ROLE, None).filter(|role| gathers(role));
    let keys: Vec<ObjectKey> = all.map(|role| role.key.clone()).collect();
    keys.iter().for_each(|key| turn.notify(key));
}
