//! Role-based access control: may somebody do this, why, and what may he do at all. Answered from the roles and bindings of a view,
//! which are read once when they change: a request costs the look-up of its user's own bindings, and allocates nothing.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

pub(crate) mod escalation;
mod params;

use kontiki_actors::{
    Kind, State,
    object::{Subject, service_account},
    rbac::{GROUP, PolicyRule},
    state::Grant,
};

use super::{
    access::{Access, On},
    identity::{Authorizer, Held, User, on_own_node},
};

/// Members of `system:masters` may do everything, a worker may read and write what belongs to its own node, and everybody may do what
/// roles allow that he is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rbac;

impl Authorizer for Rbac {
    fn allows(&self, user: &User, access: &Access<'_>, state: &State) -> bool {
        user.is_master()
            || user.node().is_some_and(|node| on_own_node(node, access, state))
            || grant_for(user, access, state).is_some()
    }

    fn reason(&self, user: &User, access: &Access<'_>, state: &State) -> String {
        if user.is_master() || user.node().is_some_and(|node| on_own_node(node, access, state)) {
            return String::new();
        }
        match grant_for(user, access, state) {
            Some(grant) => format!("RBAC: allowed by {}", described(&grant, user)),
            None => match together(&missing(user, namespace(access), state)) {
                none if none.is_empty() => none,
                roles => format!("RBAC: {roles}"),
            },
        }
    }

    fn held(&self, user: &User, namespace: &str, state: &State) -> Held {
        let grants = state.grants(&user.name, &user.groups, namespace);
        let mut rules: Vec<PolicyRule> =
            grants.filter_map(|grant| grant.allows).flat_map(|role| role.rules.iter().cloned()).collect();
        if user.is_master() {
            let all = || vec!["*".into()];
            let everything =
                PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() };
            let paths = PolicyRule { verbs: all(), paths: all(), ..PolicyRule::default() };
            rules.splice(0..0, [everything, paths]);
        }
        // A node's own rule cannot be said in these words.
        let incomplete = user.node().is_some();
        Held { rules, incomplete, error: together(&missing(user, namespace, state)) }
    }
}

/// Where a request counts: paths are nowhere, so that only what is given for the whole cluster allows them.
fn namespace<'a>(access: &Access<'a>) -> &'a str {
    match access.on {
        On::Path(_) => "",
        On::Resource(on) => on.namespace,
    }
}

fn grant_for<'a>(user: &'a User, access: &Access<'a>, state: &'a State) -> Option<Grant<'a>> {
    let allows = |rule: &PolicyRule| match access.on {
        On::Path(path) => rule.allows_path(access.verb, path),
        On::Resource(on) => rule.allows(access.verb, on.group, on.resource, on.subresource, on.name),
    };
    let mut grants = state.grants(&user.name, &user.groups, namespace(access));
    grants.find(|grant| grant.allows.is_some_and(|role| role.rules.iter().any(allows)))
}

/// Roles that the user is given and that are not there, in words.
fn missing(user: &User, namespace: &str, state: &State) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for grant in state.grants(&user.name, &user.groups, namespace).filter(|grant| grant.allows.is_none()) {
        let word = format!("{}.{GROUP} {:?} not found", grant.role.kind.info().singular, grant.role.name);
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Several errors as Kubernetes writes them.
fn together(errors: &[String]) -> String {
    match errors {
        [] => String::new(),
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    }
}

/// `RoleBinding "b/ns" of Role "r" to User "jane"`.
fn described(grant: &Grant<'_>, user: &User) -> String {
    let (binding, role) = (&grant.binding.key, grant.role);
    let what = binding.kind.info().kind;
    let mut name = binding.name.to_string();
    if !binding.namespace.is_empty() {
        name = format!("{name}/{}", binding.namespace);
    }
    let subjects = grant.binding.binding().map(|binding| binding.subjects.as_slice()).unwrap_or_default();
    let to = subjects.iter().find_map(|subject| match subject {
        Subject::User(name) if *name == user.name => Some(describe_user(name)),
        Subject::Group(name) if user.in_group(name) => Some(format!("Group {name:?}")),
        _ => None,
    });
    let to = to.unwrap_or_default();
    format!("{what} {name:?} of {} {:?} to {to}", role.kind.info().kind, role.name)
}

fn describe_user(name: &str) -> String {
    let account = name.strip_prefix(service_account("", "").trim_end_matches(':'));
    match account.and_then(|account| account.trim_start_matches(':').split_once(':')) {
        Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
        None => format!("User {name:?}"),
    }
}

/// Whether a kind is a role, whose rules may not be more than its writer's.
fn is_role(kind: Kind) -> bool {
    matches!(kind, Kind::ROLE | Kind::CLUSTER_ROLE)
}

/// Whether a kind is a binding, which may not give more than its writer has.
fn is_binding(kind: Kind) -> bool {
    matches!(kind, Kind::ROLE_BINDING | Kind::CLUSTER_ROLE_BINDING)
}
