//! What may be in an object depends on who writes it, whatever roles allow him: join tokens, and what workers say of their own nodes:
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.

use std::collections::BTreeSet;

use kontiki_actors::{Kind, Object, ObjectKey};
use serde_json::{Map, Value};

use super::identity::User;
use crate::status::Status;

/// The records of join tokens are Secrets of this type, and are looked for in this namespace only.
const TOKEN: &str = "kontiki.io/join-token";
const TOKENS: &str = "kube-system";

/// Labels of Kubernetes that tell what a node is, so that it knows best.
const OF_NODES: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Whether a node may give itself a label, and take it away: any but those of Kubernetes that are for people to give, as by them they say
/// which pods, and so which Secrets, come to it.
pub fn node_may_label(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| {
        domain.strip_suffix(parent).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes
        || OF_NODES.contains(&label)
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
}

/// Refuses what this user may not write; `old` is what it replaces.
pub(crate) fn check(user: &User, key: &ObjectKey, new: &Value, old: Option<&Object>) -> Result<(), Status> {
    match key.kind {
        Kind::SECRET if key.namespace == TOKENS && !user.is_master() => join_token(key, new, old),
        Kind::NODE => match (user.node(), old) {
            (Some(node), Some(old)) => of_node(node, key, new, &old.to_value()),
            _ => Ok(()),
        },
        // Labels say which Services send their requests to a pod.
        Kind::POD => match (user.node(), old) {
            (Some(node), Some(old)) if labels(new) != labels(&old.to_value()) => {
                let why = format!("node {node:?} cannot update labels through pod status");
                Err(Status::forbidden(key.kind, &key.name, why))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn labels(object: &Value) -> Map<String, Value> {
    object["metadata"]["labels"].as_object().cloned().unwrap_or_default()
}

/// A join token makes a controller, which holds the CA's key: that is more than any role for Secrets is meant to give.
fn join_token(key: &ObjectKey, new: &Value, old: Option<&Object>) -> Result<(), Status> {
    if new["type"] != TOKEN && old.is_none_or(|old| old.to_value()["type"] != TOKEN) {
        return Ok(());
    }
    let why = format!("only users of the group system:masters may write secrets of type {TOKEN}");
    Err(Status::forbidden(key.kind, &key.name, why))
}

fn of_node(node: &str, key: &ObjectKey, new: &Value, old: &Value) -> Result<(), Status> {
    let refuse = |what: &str| {
        let why = format!("node {node:?} is not allowed to modify {what}");
        Err(Status::forbidden(key.kind, &key.name, why))
    };
    let differs = |section: &str, list: &str| {
        let entries = |object: &Value| object[section][list].as_array().cloned().unwrap_or_default();
        entries(new) != entries(old)
    };
    if differs("spec", "taints") {
        return refuse("taints");
    }
    if differs("metadata", "ownerReferences") {
        return refuse("ownerReferences");
    }
    let (new, old) = (labels(new), labels(old));
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    let modified = names.into_iter().filter(|name| new.get(*name) != old.get(*name)).map(String::as_str);
    let refused: Vec<&str> = modified.filter(|name| !node_may_label(name)).collect();
    if refused.is_empty() { Ok(()) } else { refuse(&format!("labels: {}", refused.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_node_may_give_itself() {
        let may = [
            "disk",
            "acme.com/rack",
            "notkubernetes.io/x",
            "kubernetes.io/hostname",
            "topology.kubernetes.io/region",
            "node.kubernetes.io/instance-type",
            "node.kubernetes.io/anything",
            "a.kubelet.kubernetes.io/x",
        ];
        let may_not = [
            "node-restriction.kubernetes.io/tier",
            "a.node-restriction.kubernetes.io/tier",
            "node-role.kubernetes.io/control-plane",
            "kubernetes.io/role",
            "k8s.io/x",
            "a.k8s.io/x",
            "xnode.kubernetes.io/x",
        ];
        assert_eq!(may.map(node_may_label), [true; 8]);
        assert_eq!(may_not.map(node_may_label), [false; 7]);
    }
}
