//! Who asks, and whether they may.

use kontiki_actors::{Kind, ObjectKey, State};
use kontiki_pki::{Peer, Role};

use super::path::{Route, Target};
use crate::status::Status;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name, as Kubernetes writes it.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// Whoever shows no certificate.
    pub fn anonymous() -> User {
        User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
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
        User { name, groups }
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

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// The path, for what is no object.
    pub path: String,
    /// The objects; none for paths that are no objects.
    pub target: Option<Target>,
    /// The node that a list of pods is limited to by its field selector.
    pub on_node: Option<String>,
}

/// Decides who may do what. The place for role-based access control.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether a user may; the state is any view.
    fn allows(&self, user: &User, access: &Access, state: &State) -> bool;
}

/// Masters may do everything; a worker may read and write what belongs to its own node; nobody else may do anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct MastersAndNodes;

impl Authorizer for MastersAndNodes {
    fn allows(&self, user: &User, access: &Access, state: &State) -> bool {
        if user.in_group("system:masters") {
            return true;
        }
        let (Some(node), Some(target)) = (user.node(), &access.target) else { return false };
        let reads = matches!(access.verb, "get" | "list" | "watch");
        match target.kind {
            Kind::NODE => target.name.as_deref() == Some(node) && access.verb != "delete",
            Kind::POD => match &target.name {
                Some(name) => {
                    let key =
                        ObjectKey::new(Kind::POD, target.namespace.as_deref().unwrap_or_default(), name);
                    let own = state.get(&key).and_then(|p| p.pod()?.node.as_deref().map(|n| n == node));
                    let status = target.subresource.as_deref() == Some("status");
                    own == Some(true) && (reads || status || access.verb == "delete")
                }
                None => reads && access.on_node.as_deref() == Some(node),
            },
            _ => false,
        }
    }
}

/// Whether anybody may, without a certificate: health, for load balancers, and the version.
pub fn public(route: &Route) -> bool {
    matches!(route, Route::Health(_) | Route::Version)
}

/// The refusal of what is not allowed.
pub fn forbidden(user: &User, access: &Access) -> Status {
    let Some(target) = &access.target else {
        let message =
            format!("forbidden: User {:?} cannot {} path {:?}", user.name, access.verb, access.path);
        return Status::new(403, "Forbidden", message);
    };
    let info = target.kind.info();
    let name = target.name.as_deref().unwrap_or_default();
    let resource = match &target.subresource {
        Some(subresource) => format!("{}/{subresource}", info.plural),
        None => info.plural.to_owned(),
    };
    let scope = match &target.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let shown = if name.is_empty() { String::new() } else { format!(" {name:?}") };
    let message = format!(
        "{}{shown} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        target.kind.resource_name(),
        user.name,
        access.verb,
        info.group
    );
    Status::new(403, "Forbidden", message).about(target.kind, name)
}
