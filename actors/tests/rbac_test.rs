//! Roles that gather their rules from others, and the upkeep of the default roles and bindings.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::{Document, Input, Kind, ObjectKey, rbac::defaults};
use serde_json::{Value, json};

const TEAM: &str = "example.com/team";

fn bootstrap(cluster: &mut Cluster) {
    cluster.decide(Input::Bootstrap(defaults::objects()));
}

fn value(cluster: &Cluster, kind: Kind, name: &str) -> Value {
    cluster.get(kind, name).document.to_value()
}

/// Replaces all but the metadata that stays.
fn update(cluster: &mut Cluster, kind: Kind, new: Value) {
    let name = new["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.edit(kind, &name, |old| {
        let labels = new["metadata"]["labels"].clone();
        let annotations = new["metadata"]["annotations"].clone();
        (old["metadata"]["labels"], old["metadata"]["annotations"]) = (labels, annotations);
        for part in ["rules", "aggregationRule", "subjects", "roleRef"] {
            if let Some(part_value) = new.get(part) {
                old[part] = part_value.clone();
            }
        }
    });
}

/// The first verb of each rule.
fn verbs(cluster: &Cluster, name: &str) -> Vec<String> {
    let role = cluster.get(Kind::CLUSTER_ROLE, name);
    role.role().unwrap().rules.iter().map(|rule| rule.verbs[0].to_string()).collect()
}

fn role(name: &str, team: &str, verb: &str) -> Value {
    let rule = json!({"verbs": [verb], "apiGroups": ["x"], "resources": ["y"]});
    json!({"metadata": {"name": name, "labels": {TEAM: team}}, "rules": [rule]})
}

fn gathering(name: &str, team: &str, from: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {TEAM: team}},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {TEAM: from}}]}})
}

#[test]
fn rules_are_gathered_in_the_turn_that_changes_them() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::CLUSTER_ROLE, role("b", "red", "list"));
    cluster.create(Kind::CLUSTER_ROLE, gathering("all", "top", "red"));
    assert_eq!(verbs(&cluster, "all"), ["list"]);
    let turns = cluster.turns;
    cluster.create(Kind::CLUSTER_ROLE, role("a", "red", "get"));
    assert_eq!((verbs(&cluster, "all"), cluster.turns), (vec!["get".into(), "list".into()], turns + 1));
    // One that gathers from one that gathers.
    cluster.create(Kind::CLUSTER_ROLE, gathering("above", "none", "top"));
    update(&mut cluster, Kind::CLUSTER_ROLE, role("b", "red", "watch"));
    assert_eq!(verbs(&cluster, "above"), ["get", "watch"]);
    update(&mut cluster, Kind::CLUSTER_ROLE, role("b", "blue", "watch"));
    assert_eq!(verbs(&cluster, "above"), ["get"], "its label says that it is no part any more");
    cluster.delete(Kind::CLUSTER_ROLE, "a", None);
    assert_eq!(verbs(&cluster, "above"), [""; 0]);
}

#[test]
fn what_somebody_writes_where_rules_are_gathered_does_not_stay() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::CLUSTER_ROLE, role("a", "red", "get"));
    cluster.create(Kind::CLUSTER_ROLE, gathering("all", "top", "red"));
    let mut more = gathering("all", "top", "red");
    more["rules"] = role("x", "", "delete")["rules"].clone();
    update(&mut cluster, Kind::CLUSTER_ROLE, more);
    assert_eq!(verbs(&cluster, "all"), ["get"]);
}

#[test]
fn two_that_gather_from_each_other_come_to_rest() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::CLUSTER_ROLE, role("a", "red", "get"));
    cluster.create(Kind::CLUSTER_ROLE, role("b", "red", "list"));
    for name in ["m", "n", "o"] {
        cluster.create(Kind::CLUSTER_ROLE, gathering(name, "red", "red"));
    }
    for name in ["m", "n", "o"] {
        let mut all = verbs(&cluster, name);
        all.sort();
        assert_eq!(all, ["get", "list"], "{name}");
    }
    assert_eq!(cluster.state.next_wake_ms(), None, "nothing goes on");
}

#[test]
fn default_roles_build_on_each_other() {
    let mut cluster = Cluster::new(0);
    bootstrap(&mut cluster);
    let allowed = |name: &str, verb: &str, group: &str, resource: &str, below: &str| {
        let role = cluster.get(Kind::CLUSTER_ROLE, name);
        role.role().unwrap().rules.iter().any(|rule| rule.allows(verb, group, resource, below, "x"))
    };
    for (verb, group, resource, below, who) in [
        ("list", "", "pods", "", "view edit admin cluster-admin"),
        ("get", "", "pods", "log", "view edit admin cluster-admin"),
        ("get", "", "secrets", "", "edit admin cluster-admin"),
        ("create", "", "pods", "exec", "edit admin cluster-admin"),
        ("create", "", "serviceaccounts", "token", "edit admin cluster-admin"),
        ("patch", "apps", "deployments", "scale", "edit admin cluster-admin"),
        ("create", "rbac.authorization.k8s.io", "roles", "", "admin cluster-admin"),
        ("escalate", "rbac.authorization.k8s.io", "roles", "", "cluster-admin"),
        ("delete", "", "namespaces", "", "cluster-admin"),
        ("list", "", "nodes", "", "cluster-admin"),
    ] {
        for name in ["view", "edit", "admin", "cluster-admin"] {
            let expected = who.split(' ').any(|w| w == name);
            assert_eq!(
                allowed(name, verb, group, resource, below),
                expected,
                "{name} {verb} {resource}/{below}"
            );
        }
    }
    cluster.assert_replicas_agree();
    let revision = cluster.state.revision();
    bootstrap(&mut cluster);
    assert_eq!(cluster.state.revision(), revision, "the next leader has nothing to add");
}

#[test]
fn defaults_get_back_what_they_lack() {
    let mut cluster = Cluster::new(0);
    bootstrap(&mut cluster);
    let (role_kind, binding_kind) = (Kind::CLUSTER_ROLE, Kind::CLUSTER_ROLE_BINDING);
    let before = value(&cluster, role_kind, "system:auth-delegator");
    // Somebody took a rule and a label away, and added a rule of his own.
    let mut changed = before.clone();
    changed["rules"] = json!([before["rules"][0], role("x", "", "own")["rules"][0]]);
    changed["metadata"]["labels"] = json!({"mine": "1"});
    update(&mut cluster, role_kind, changed);
    let mut bound = value(&cluster, binding_kind, "system:public-info-viewer");
    let own = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"});
    bound["subjects"] = json!([bound["subjects"][0], own]);
    update(&mut cluster, binding_kind, bound);
    let mut other = value(&cluster, binding_kind, "system:discovery");
    other["roleRef"]["name"] = "cluster-admin".into();
    update(&mut cluster, binding_kind, other);
    cluster.delete(role_kind, "view", None);
    bootstrap(&mut cluster);
    let after = value(&cluster, role_kind, "system:auth-delegator");
    let expected = json!([before["rules"][0], role("x", "", "own")["rules"][0], before["rules"][1]]);
    assert_eq!(after["rules"], expected);
    let labels = json!({"mine": "1", "kubernetes.io/bootstrapping": "rbac-defaults"});
    assert_eq!(after["metadata"]["labels"], labels);
    let subjects = value(&cluster, binding_kind, "system:public-info-viewer")["subjects"].clone();
    let names: Vec<&str> = subjects.as_array().unwrap().iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["system:authenticated", "jane", "system:unauthenticated"]);
    let role_ref = value(&cluster, binding_kind, "system:discovery")["roleRef"]["name"].clone();
    assert_eq!(role_ref, "system:discovery", "a binding to another role is made anew");
    assert!(!verbs(&cluster, "view").is_empty(), "one that was deleted is there again, gathered");
}

#[test]
fn who_wants_a_default_as_it_is_says_so() {
    let mut cluster = Cluster::new(0);
    bootstrap(&mut cluster);
    let mut mine = value(&cluster, Kind::CLUSTER_ROLE, "system:discovery");
    mine["rules"] = json!([]);
    mine["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    update(&mut cluster, Kind::CLUSTER_ROLE, mine);
    bootstrap(&mut cluster);
    assert_eq!(value(&cluster, Kind::CLUSTER_ROLE, "system:discovery")["rules"], json!([]));
}

#[test]
fn objects_that_are_no_roles_are_put_once() {
    let mut cluster = Cluster::new(0);
    let first = |data: &str| {
        let key = ObjectKey::new(Kind::CONFIG_MAP, "default", "c");
        Input::Bootstrap(vec![(
            key,
            Document::from_value(json!({"metadata": {"name": "c"}, "data": {"a": data}})),
        )])
    };
    cluster.decide(first("1"));
    cluster.decide(first("2"));
    let kept = cluster.state.get(&key(Kind::CONFIG_MAP, "c")).unwrap();
    assert_eq!(kept.document.rest_value()["data"]["a"], "1");
}
