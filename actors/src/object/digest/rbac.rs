//! The digests of roles and of their bindings.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::Value;

use super::{Selector, read};
use crate::{
    kind::Kind,
    object::{Document, ObjectKey},
    rbac::{GROUP, PolicyRule},
};

/// What a Role or ClusterRole allows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RoleDigest {
    /// Its rules; none where one of them cannot be read, since half of a rule could allow too much.
    pub rules: Vec<PolicyRule>,
    /// Which cluster roles its rules are gathered from; empty for one that has rules of its own.
    pub gathers: Vec<Selector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    rules: Option<Vec<PolicyRule>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Aggregation {
    cluster_role_selectors: Option<Vec<Value>>,
}

impl RoleDigest {
    /// Derives the digest.
    pub fn of(document: &Document) -> RoleDigest {
        let Role { rules, aggregation_rule } = read(&document.rest);
        let selectors = aggregation_rule.unwrap_or_default().cluster_role_selectors.unwrap_or_default();
        RoleDigest { rules: rules.unwrap_or_default(), gathers: selectors.iter().map(Selector::of).collect() }
    }
}

/// Whom a RoleBinding or ClusterRoleBinding gives which role.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BindingDigest {
    /// The role; none where it cannot be one.
    pub role: Option<ObjectKey>,
    /// Who gets it.
    pub subjects: Vec<Subject>,
}

/// Who gets a role.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A user, also a service account by its user name.
    User(CompactString),
    /// All users of a group.
    Group(CompactString),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    role_ref: Reference,
    subjects: Option<Vec<Reference>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_group: CompactString,
    kind: CompactString,
    name: CompactString,
    namespace: CompactString,
}

impl BindingDigest {
    /// Derives the digest of the binding of a key.
    pub fn of(key: &ObjectKey, document: &Document) -> BindingDigest {
        let Binding { role_ref, subjects } = read(&document.rest);
        let role = match role_ref.kind.as_str() {
            _ if role_ref.api_group != GROUP => None,
            "ClusterRole" => Some(ObjectKey::new(Kind::CLUSTER_ROLE, "", &role_ref.name)),
            "Role" if !key.namespace.is_empty() => {
                Some(ObjectKey::new(Kind::ROLE, &key.namespace, &role_ref.name))
            }
            _ => None,
        };
        let subject = |subject: Reference| match subject.kind.as_str() {
            "User" => Some(Subject::User(subject.name)),
            "Group" => Some(Subject::Group(subject.name)),
            "ServiceAccount" => {
                let own = subject.namespace.is_empty();
                let namespace = if own { &key.namespace } else { &subject.namespace };
                let name = &subject.name;
                (!namespace.is_empty()).then(|| Subject::User(service_account(namespace, name).into()))
            }
            _ => None,
        };
        BindingDigest {
            role,
            subjects: subjects.unwrap_or_default().into_iter().filter_map(subject).collect(),
        }
    }
}

/// The user name of a service account.
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
