//! Who asks, and whether they may.

use std::collections::BTreeMap;

use kontiki_actors::{Kind, ObjectKey, State, rbac::PolicyRule};
use kontiki_pki::{Peer, Role};

use super::{
    access::{Access, On},
    path::Route,
};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name, as Kubernetes writes it.
    pub name: String,
    /// What tells it from another user of this name, at another time; empty where there is nothing.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// More about it, for authorizers of other makers.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The name of whoever shows nothing.
    pub const ANONYMOUS: &str = "system:anonymous";

    fn named(name: String, groups: Vec<String>) -> User {
        User { name, uid: String::new(), groups, extra: BTreeMap::new() }
    }

    /// Whoever shows no certificate.
    pub fn anonymous() -> User {
        User::named(User::ANONYMOUS.into(), vec!["system:unauthenticated".into()])
    }

    /// A service account, as if one of its pods asked.
    pub(crate) fn account(namespace: &str, name: &str) -> User {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        User::named(format!("system:serviceaccount:{namespace}:{name}"), groups.into())
    }

    /// Whoever a certificate names.
    pub fn of(peer: &Peer) -> User {
        let name = match peer.role {
            Role::Controller => format!("system:controller:{}", peer.name),
            Role::Worker => format!("system:node:{}", peer.name),
            Role::User => peer.name.clone(),
        };
        let mut groups = peer.groups.clone();
        groups.push("system:authenticated".into());
        User::named(name, groups)
    }

    /// Whether it may do everything, whatever roles there are: the way back in when they are broken.
    pub fn is_master(&self) -> bool {
        self.in_group("system:masters")
    }

    /// Whether it is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The worker's node, if it is a worker.
    pub(crate) fn node(&self) -> Option<&str> {
        if self.in_group("system:nodes") { self.name.strip_prefix("system:node:") } else { None }
    }
}

/// Decides who may do what.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether a user may; the state is any view. On the way of every request: it is to cost next to nothing.
    fn allows(&self, user: &User, access: &Access<'_>, state: &State) -> bool;

    /// Why he may, or what was wrong while it was looked at, in words; empty when there is nothing to say.
    fn reason(&self, _user: &User, _access: &Access<'_>, _state: &State) -> String {
        String::new()
    }

    /// What a user may do in a namespace, or if none is named, in the whole cluster, as far as rules can say it.
    fn held(&self, _user: &User, _namespace: &str, _state: &State) -> Held {
        Held { incomplete: true, ..Held::default() }
    }
}

/// What somebody may do.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// In rules.
    pub rules: Vec<PolicyRule>,
    /// Whether there is more that rules cannot say.
    pub incomplete: bool,
    /// What was wrong while they were gathered, in words; empty when nothing was.
    pub error: String,
}

/// What a worker may do with its own node and the pods on it.
pub(crate) fn on_own_node(node: &str, access: &Access<'_>, state: &State) -> bool {
    let On::Resource(on) = access.on else { return false };
    let reads = matches!(access.verb, "get" | "list" | "watch");
    let changes = matches!(access.verb, "update" | "patch");
    match (on.group, on.resource) {
        // What it may say of itself is looked at when it is known, see `restriction`.
        ("", "nodes") => on.name == node && (reads || changes),
        ("", "pods") => {
            let key = ObjectKey::new(Kind::POD, on.namespace, on.name);
            let home = state.get(&key).and_then(|pod| pod.pod()?.node.as_deref());
            // By name only get: a watch would go on when the pod is elsewhere.
            let own = home == Some(node)
                && (matches!(access.verb, "get" | "delete") || (changes && on.subresource == "status"));
            own || (reads && on.on_node == Some(node))
        }
        _ => false,
    }
}

/// Whether anybody may, whatever roles there are: load balancers ask for health, also of a cluster that has lost its roles.
pub fn public(route: &Route) -> bool {
    matches!(route, Route::Health(..))
}
