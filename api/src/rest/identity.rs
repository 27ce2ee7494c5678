//! Who asks, and whether they may.

use std::collections::BTreeMap;

use kontiki_actors::{Kind, ObjectKey, State};
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

    /// Whether it showed a certificate.
    pub fn authenticated(&self) -> bool {
        self.in_group("system:authenticated")
    }

    /// Whether it is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    fn node(&self) -> Option<&str> {
        if self.in_group("system:nodes") { self.name.strip_prefix("system:node:") } else { None }
    }
}

/// Decides who may do what. The place for role-based access control.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether a user may; the state is any view.
    fn allows(&self, user: &User, access: &Access<'_>, state: &State) -> bool;
}

/// Masters may do everything; everybody who is known may learn what is served and what he may do; a worker may read and write what
/// belongs to its own node; nobody else may do anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct MastersAndNodes;

impl Authorizer for MastersAndNodes {
    fn allows(&self, user: &User, access: &Access<'_>, state: &State) -> bool {
        user.in_group("system:masters")
            || (user.authenticated() && basic(access))
            || user.node().is_some_and(|node| on_own_node(node, access, state))
    }
}

/// The paths that everybody may get who is known, as rules of Kubernetes' role `system:discovery`: a star at the end is anything.
/// Without them kubectl could not even say what is forbidden.
pub(crate) const KNOWN_PATHS: [&str; 11] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

/// The questions about oneself that everybody may ask who is known, by group: the role `system:basic-user`.
pub(crate) const KNOWN_REVIEWS: [(&str, &[&str]); 2] = [
    ("authentication.k8s.io", &["selfsubjectreviews"]),
    ("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
];

/// What everybody may who is known.
fn basic(access: &Access<'_>) -> bool {
    match access.on {
        On::Path(path) => {
            let within = |rule: &&str| match rule.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => path == *rule,
            };
            access.verb == "get" && KNOWN_PATHS.iter().any(within)
        }
        On::Resource(on) => {
            let mut reviews = KNOWN_REVIEWS.iter();
            access.verb == "create"
                && on.subresource.is_empty()
                && reviews.any(|(group, names)| *group == on.group && names.contains(&on.resource))
        }
    }
}

fn on_own_node(node: &str, access: &Access<'_>, state: &State) -> bool {
    let On::Resource(on) = access.on else { return false };
    let reads = matches!(access.verb, "get" | "list" | "watch");
    let changes = matches!(access.verb, "update" | "patch");
    match (on.group, on.resource) {
        ("", "nodes") => on.name == node && (reads || changes),
        ("", "pods") => {
            let key = ObjectKey::new(Kind::POD, on.namespace, on.name);
            let home = state.get(&key).and_then(|pod| pod.pod()?.node.as_deref());
            let own = home == Some(node)
                && (reads || access.verb == "delete" || (changes && on.subresource == "status"));
            own || (reads && on.on_node == Some(node))
        }
        _ => false,
    }
}

/// Whether anybody may, without a certificate: health, for load balancers, and the version.
pub fn public(route: &Route) -> bool {
    matches!(route, Route::Health(..) | Route::Version)
}
