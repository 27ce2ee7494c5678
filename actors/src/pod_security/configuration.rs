//! What counts for the whole cluster: the policy of namespaces without labels, and who is exempt. As `PodSecurityConfiguration` has it,
//! <https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-admission-controller/>, but in the state, in a ConfigMap: so
//! all controllers decide by the same, it counts with the next turn, and no controller need be started anew.
//!
//! ```yaml
//! apiVersion: v1
//! kind: ConfigMap
//! metadata: {name: kontiki-pod-security, namespace: kube-system}
//! data:
//!   enforce: baseline                # enforce-version, audit, audit-version, warn, warn-version: as the labels
//!   exempt-namespaces: kube-system   # names with commas or spaces between them
//!   exempt-users: ci
//!   exempt-runtime-classes: gvisor
//! ```

use serde_json::Value;

use super::{
    pod::Pod,
    policy::{Policy, WrongLabel},
};
use crate::{
    kind::Kind,
    object::{Document, ObjectKey},
    state::State,
};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kontiki-pod-security";
/// What it may say besides the exemptions.
const DEFAULTS: [&str; 6] = ["enforce", "enforce-version", "audit", "audit-version", "warn", "warn-version"];
const USERS: &str = "exempt-users";
const NAMESPACES: &str = "exempt-namespaces";
const CLASSES: &str = "exempt-runtime-classes";

/// What counts for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    data: Value,
}

impl Configuration {
    /// What counts in a state.
    pub fn of(state: &State) -> Configuration {
        let stored = state.get(&Configuration::key());
        Configuration { data: stored.map_or(Value::Null, |stored| data(&stored.document.whole())) }
    }

    /// Where it stands.
    pub fn key() -> ObjectKey {
        ObjectKey::new(Kind::CONFIG_MAP, NAMESPACE, NAME)
    }

    /// The policy of a namespace, and what is wrong with its labels. One that does not exist has no labels.
    pub fn policy(&self, state: &State, namespace: &str) -> (Policy, Vec<WrongLabel>) {
        let (defaults, _) = self.defaults();
        match state.get(&ObjectKey::new(Kind::NAMESPACE, "", namespace)) {
            Some(namespace) => Policy::of(&namespace.meta.labels, defaults),
            None => (defaults, Vec::new()),
        }
    }

    /// The policy of namespaces without labels, and what is wrong with it.
    pub fn defaults(&self) -> (Policy, Vec<WrongLabel>) {
        Policy::read(|name| self.data.get(name)?.as_str(), "", Policy::PRIVILEGED)
    }

    /// Whether all pods of a namespace are exempt.
    pub fn exempts_namespace(&self, namespace: &str) -> bool {
        self.exempts(NAMESPACES, namespace)
    }

    /// Whether all that a user makes himself is exempt.
    pub fn exempts_user(&self, user: &str) -> bool {
        self.exempts(USERS, user)
    }

    /// Whether a pod is exempt by its runtime class.
    pub fn exempts_class_of(&self, pod: Pod<'_>) -> bool {
        self.exempts(CLASSES, pod.runtime_class())
    }

    fn exempts(&self, list: &str, name: &str) -> bool {
        let listed = self.data.get(list).and_then(Value::as_str).unwrap_or_default();
        !name.is_empty() && names(listed).any(|listed| listed == name)
    }

    /// What is wrong with it: the name, what it says, and why that cannot be.
    pub(super) fn check(document: &Document) -> Result<(), WrongLabel> {
        let configuration = Configuration { data: data(document) };
        if let Some(wrong) = configuration.defaults().1.pop() {
            return Err(wrong);
        }
        for (name, value) in configuration.data.as_object().into_iter().flatten() {
            let wrong = |why| {
                let value = value.as_str().unwrap_or_default().to_owned();
                Err(WrongLabel { label: name.clone(), value, why })
            };
            if [USERS, NAMESPACES, CLASSES].contains(&name.as_str()) {
                let mut listed: Vec<&str> = names(value.as_str().unwrap_or_default()).collect();
                let all = listed.len();
                listed.sort_unstable();
                listed.dedup();
                if listed.len() < all {
                    return wrong("names something twice");
                }
            } else if !DEFAULTS.contains(&name.as_str()) {
                return wrong(
                    "is not known: enforce, audit, warn, their versions, exempt-users, exempt-namespaces and \
                     exempt-runtime-classes are",
                );
            }
        }
        Ok(())
    }
}

fn data(document: &Document) -> Value {
    document.rest_value()["data"].take()
}

fn names(listed: &str) -> impl Iterator<Item = &str> {
    listed.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn document(data: Value) -> Document {
        Document::from_value(json!({"metadata": {"name": NAME}, "data": data}))
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (said, wrong) in [
            (json!({}), None),
            (json!({"enforce": "baseline", "warn-version": "v1.2", "exempt-users": "a, b\nc"}), None),
            (json!({"enforce": "high"}), Some("enforce")),
            (json!({"audit-version": "1"}), Some("audit-version")),
            (json!({"exempt-user": "a"}), Some("exempt-user")),
            (json!({"exempt-namespaces": "a b,a"}), Some("exempt-namespaces")),
        ] {
            let found = Configuration::check(&document(said.clone())).err().map(|wrong| wrong.label);
            assert_eq!(found.as_deref(), wrong, "{said}");
        }
    }

    #[test]
    fn names_are_whole_names_of_their_list() {
        let said = json!({"exempt-users": "system:serviceaccount:ci:runner, jane", "exempt-namespaces": " kube-system\n"});
        let configuration = Configuration { data: said };
        assert!(
            configuration.exempts_user("jane")
                && configuration.exempts_user("system:serviceaccount:ci:runner")
        );
        assert!(configuration.exempts_namespace("kube-system"));
        for (user, namespace) in [("jan", "kube"), ("", ""), ("kube-system", "jane")] {
            assert!(
                !configuration.exempts_user(user) && !configuration.exempts_namespace(namespace),
                "{user}"
            );
        }
    }
}
