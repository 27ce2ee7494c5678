//! Pods that want each other near, or far.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    object::ObjectKey,
    scheduling::{
        Placement, Reason, explain,
        fixture::{Cluster, asks},
        plan_measured,
    },
};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

/// A spec with `podAffinity` or `podAntiAffinity`, required.
fn required(which: &str, terms: &[Value]) -> Value {
    let mut spec = asks("100m");
    spec["affinity"] = json!({which: {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    spec
}

/// The same, preferred.
fn preferred(which: &str, weight: i64, term: Value) -> Value {
    let mut spec = asks("100m");
    let preferred = json!([{"weight": weight, "podAffinityTerm": term}]);
    spec["affinity"] = json!({which: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}});
    spec
}

fn at(mut spec: Value, node: &str) -> Value {
    spec["nodeName"] = node.into();
    spec
}

fn nodes(placements: &[Placement]) -> Vec<&str> {
    placements.iter().map(|p| p.node.as_deref().unwrap()).collect()
}

fn zones(placements: &[Placement], zones: usize) -> BTreeSet<usize> {
    nodes(placements).iter().map(|node| node[1..].parse::<usize>().unwrap() % zones).collect()
}

fn refusal(placement: &Placement) -> &str {
    placement.node.as_ref().unwrap_err()
}

#[test]
fn one_per_node_and_no_more() {
    let mut cluster = Cluster::nodes(3, 3);
    cluster.replicas("web", 4, &required("podAntiAffinity", &[term(HOST, "web")]));
    let placements = cluster.plan();
    assert_eq!(nodes(&placements[..3]).into_iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(
        refusal(&placements[3]),
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    );
    // A later plan sees those that have a place.
    cluster.assign(&placements);
    let late = cluster.pod("web-late", "web", required("podAntiAffinity", &[term(HOST, "web")]));
    assert!(explain(&cluster.state, &late).iter().all(|(_, why)| *why == [Reason::PodAntiAffinity]));
}

#[test]
fn one_per_zone_closes_the_zone() {
    let mut cluster = Cluster::nodes(9, 3);
    cluster.replicas("web", 4, &required("podAntiAffinity", &[term(ZONE, "web")]));
    let placements = cluster.plan();
    assert_eq!(zones(&placements[..3], 3).len(), 3);
    assert_eq!(
        refusal(&placements[3]),
        "0/9 nodes are available: 9 node(s) didn't match pod anti-affinity rules."
    );
}

/// A node without the label is in no domain: nobody is too near there.
#[test]
fn anti_affinity_leaves_nodes_without_the_label_open() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.node("z-bare", "4", json!({}), json!({}));
    cluster.replicas("web", 3, &required("podAntiAffinity", &[term(ZONE, "web")]));
    assert_eq!(nodes(&cluster.plan()).iter().filter(|node| **node == "z-bare").count(), 2);
}

#[test]
fn who_stands_keeps_others_away() {
    let mut cluster = Cluster::nodes(4, 2);
    let loner = cluster.pod("loner", "loner", at(required("podAntiAffinity", &[term(ZONE, "web")]), "n0000"));
    cluster.replicas("web", 2, &asks("100m"));
    let placements = cluster.plan();
    assert_eq!(zones(&placements, 2), BTreeSet::from([1]));
    let web = ObjectKey::new(Kind::POD, "default", "web-00000");
    let barred =
        explain(&cluster.state, &web).into_iter().filter(|(_, why)| *why == [Reason::Barred]).count();
    assert_eq!(barred, 2);
    // On its way out it still does, as in Kubernetes; once it is gone it does not.
    cluster.end(&loner);
    assert_eq!(zones(&cluster.plan(), 2), BTreeSet::from([1]));
    cluster.state.apply(&crate::change::Change::Delete { key: loner });
    assert_eq!(zones(&cluster.plan(), 2).len(), 2);
    assert!(cluster.state.no_terms_stand());
}

/// Also those that get their place by the same plan.
#[test]
fn who_is_placed_before_keeps_others_away() {
    let mut cluster = Cluster::nodes(2, 2);
    let mut first = required("podAntiAffinity", &[term(ZONE, "web")]);
    first["priority"] = 1.into();
    cluster.pod("loner", "loner", first);
    cluster.replicas("web", 2, &asks("100m"));
    let placements = cluster.plan();
    assert_eq!(placements[0].pod.name, "loner");
    assert_ne!(zones(&placements[..1], 2), zones(&placements[1..], 2));
    assert_eq!(zones(&placements[1..], 2).len(), 1);
}

#[test]
fn affinity_follows_who_stands() {
    let mut cluster = Cluster::nodes(9, 3);
    cluster.pod("db", "db", at(asks("100m"), "n0004"));
    cluster.replicas("web", 5, &required("podAffinity", &[term(ZONE, "db")]));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([1]));
    cluster.pods.clear();
    cluster.replicas("host", 3, &required("podAffinity", &[term(HOST, "db")]));
    assert_eq!(nodes(&cluster.plan()), ["n0004"; 3]);
    cluster.pods.clear();
    cluster.replicas("lost", 1, &required("podAffinity", &[term(ZONE, "nobody")]));
    assert_eq!(
        refusal(&cluster.plan()[0]),
        "0/9 nodes are available: 9 node(s) didn't match pod affinity rules."
    );
}

/// Nobody is there to follow: pods that select themselves begin somewhere, and the rest comes after the first.
#[test]
fn the_first_of_those_that_want_each_other_goes_anywhere() {
    let mut cluster = Cluster::nodes(6, 3);
    cluster.replicas("web", 12, &required("podAffinity", &[term(ZONE, "web")]));
    assert_eq!(zones(&cluster.plan(), 3).len(), 1);
    // More than one node holds, so that those after the first need others of its zone.
    let mut cluster = Cluster::nodes(6, 3);
    let mut spec = required("podAffinity", &[term(ZONE, "web")]);
    spec["containers"][0]["resources"]["requests"]["cpu"] = "3".into();
    cluster.replicas("web", 3, &spec);
    let placements = cluster.plan();
    assert_eq!(zones(&placements[..2], 3).len(), 1);
    assert_eq!(
        refusal(&placements[2]),
        "0/6 nodes are available: 2 Insufficient cpu, 4 node(s) didn't match pod affinity rules."
    );
    // Nowhere without the label.
    let mut cluster = Cluster::default();
    cluster.node("bare", "4", json!({}), json!({}));
    cluster.replicas("web", 1, &required("podAffinity", &[term(ZONE, "web")]));
    assert!(refusal(&cluster.plan()[0]).contains("1 node(s) didn't match pod affinity rules"));
}

/// One pod must be of all terms at once to be followed, in the domain of each.
#[test]
fn all_terms_select_the_same_pods() {
    let mut cluster = Cluster::nodes(4, 2);
    cluster.pod("db", "db", at(asks("100m"), "n0000"));
    cluster.pod("cache", "cache", at(asks("100m"), "n0000"));
    cluster.replicas("web", 1, &required("podAffinity", &[term(ZONE, "db"), term(HOST, "cache")]));
    assert!(cluster.plan()[0].node.is_err());
    cluster.pods.clear();
    cluster.replicas("near", 2, &required("podAffinity", &[term(ZONE, "db"), term(HOST, "db")]));
    assert_eq!(nodes(&cluster.plan()), ["n0000"; 2]);
}

#[test]
fn wishes_draw_and_repel_by_their_weight() {
    let mut cluster = Cluster::nodes(6, 3);
    cluster.pod("db", "db", at(asks("100m"), "n0001"));
    cluster.pod("noise", "noise", at(asks("100m"), "n0002"));
    cluster.replicas("drawn", 2, &preferred("podAffinity", 10, term(ZONE, "db")));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([1]));
    cluster.pods.clear();
    cluster.replicas("shy", 4, &preferred("podAntiAffinity", 10, term(ZONE, "noise")));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([0, 1]));
    // A wish gives way where there is no room.
    cluster.pods.clear();
    let mut large = preferred("podAffinity", 1, term(HOST, "db"));
    large["containers"][0]["resources"]["requests"]["cpu"] = "2".into();
    cluster.replicas("large", 2, &large);
    let placements = cluster.plan();
    assert_eq!(nodes(&placements)[0], "n0001");
    assert_ne!(nodes(&placements)[1], "n0001");
}

/// Those who stand wish for others, too, and who must be near its like is drawn to them.
#[test]
fn wishes_of_those_who_stand_count() {
    let mut cluster = Cluster::nodes(6, 3);
    cluster.pod("host", "host", at(preferred("podAffinity", 5, term(ZONE, "guest")), "n0001"));
    cluster.pod("hermit", "hermit", at(preferred("podAntiAffinity", 5, term(ZONE, "walker")), "n0000"));
    cluster.pod("needs", "needs", at(required("podAffinity", &[term(ZONE, "friend")]), "n0002"));
    cluster.replicas("guest", 2, &asks("100m"));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([1]));
    cluster.pods.clear();
    cluster.replicas("walker", 4, &asks("100m"));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([1, 2]));
    cluster.pods.clear();
    cluster.replicas("friend", 1, &asks("100m"));
    assert_eq!(zones(&cluster.plan(), 3), BTreeSet::from([2]));
}

/// What is wished for changes with each pod that comes.
#[test]
fn a_group_is_drawn_to_its_own() {
    let mut cluster = Cluster::nodes(4, 2);
    cluster.replicas("web", 6, &preferred("podAffinity", 1, term(HOST, "web")));
    let placements = cluster.plan();
    assert_eq!(nodes(&placements).into_iter().collect::<BTreeSet<_>>().len(), 1);
    cluster.pods.clear();
    cluster.replicas("shy", 4, &preferred("podAntiAffinity", 1, term(HOST, "shy")));
    let placements = cluster.plan();
    assert_eq!(nodes(&placements).into_iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn namespaces_are_told_apart() {
    let mut cluster = Cluster::nodes(2, 2);
    let namespace =
        |name: &str, team: &str| json!({"metadata": {"name": name, "uid": name, "labels": {"team": team}}});
    for (name, team) in [("default", "blue"), ("other", "red")] {
        cluster.put(&ObjectKey::new(Kind::NAMESPACE, "", name), namespace(name, team));
    }
    let stranger = ObjectKey::new(Kind::POD, "other", "db");
    let metadata = json!({"name": "db", "namespace": "other", "uid": "other-db", "labels": {"app": "db"}});
    cluster.put(
        &stranger,
        json!({"metadata": metadata, "spec": at(asks("1"), "n0001"), "status": {"phase": "Running"}}),
    );
    for (i, (namespaces, selector, found)) in [
        (json!([]), json!(null), false),
        (json!(["other"]), json!(null), true),
        (json!([]), json!({}), true),
        (json!([]), json!({"matchLabels": {"team": "red"}}), true),
        (json!([]), json!({"matchLabels": {"team": "blue"}}), false),
    ]
    .into_iter()
    .enumerate()
    {
        cluster.pods.clear();
        let mut wanted = term(HOST, "db");
        (wanted["namespaces"], wanted["namespaceSelector"]) = (namespaces, selector);
        cluster.replicas(&format!("web{i}"), 1, &required("podAffinity", &[wanted]));
        assert_eq!(cluster.plan()[0].node.as_deref().ok(), found.then_some("n0001"), "{i}");
    }
}

/// Pods of one owner with other labels may be seen otherwise by those who stand.
#[test]
fn labels_decide_not_the_owner() {
    let mut cluster = Cluster::nodes(2, 2);
    cluster.pod("loner", "loner", at(required("podAntiAffinity", &[term(ZONE, "b")]), "n0000"));
    for app in ["a", "b"] {
        let key = cluster.pod(app, "set", asks("1"));
        let old = cluster.state.get(&key).unwrap().document.whole();
        let mut metadata = old.metadata_value();
        metadata["labels"]["app"] = app.into();
        let change = crate::change::Change::between(key, Some(&old), &old.with_metadata(metadata)).unwrap();
        cluster.state.apply(&change);
    }
    let placements = cluster.plan();
    let b = placements.iter().find(|placement| placement.pod.name == "b").unwrap();
    assert_eq!(b.node.as_deref(), Ok("n0001"));
}

/// What terms are held against is work, or a plan with many of them would not end when it should.
#[test]
fn terms_are_counted_as_work() {
    let (standing, terms) = (30, 20);
    let mut cluster = Cluster::nodes(1, 1);
    for n in 0..standing {
        let mut spec = asks("10m");
        spec["nodeName"] = "n0000".into();
        cluster.pod(&format!("old-{n}"), "old", spec);
    }
    cluster.pods.clear();
    let own: Vec<Value> = (0..terms).map(|_| term(ZONE, "old")).collect();
    cluster.pod("near", "web", required("podAffinity", &own));
    let (placements, work) = plan_measured(&cluster.state, &cluster.pods);
    assert!(placements[0].node.is_ok());
    assert!(work.terms >= standing * terms, "{work:?}");
    // They stand now, and bear on all that come.
    cluster.assign(&placements);
    cluster.pod("other", "other", asks("10m"));
    let (_, work) = plan_measured(&cluster.state, &cluster.pods);
    assert!(work.terms >= 1, "{work:?}");
}

/// Rules over nodes cost no more than plain ones: nodes once per template, then what is picked.
#[test]
fn work_grows_with_nodes_plus_pods() {
    let (nodes, pods) = (1000, 900);
    for spec in [
        required("podAntiAffinity", &[term(HOST, "web")]),
        preferred("podAntiAffinity", 1, term(HOST, "web")),
        required("podAffinity", &[term(ZONE, "web")]),
        preferred("podAffinity", 1, term(ZONE, "web")),
    ] {
        let mut cluster = Cluster::nodes(nodes, 3);
        cluster.replicas("web", pods, &spec);
        let (placements, work) = plan_measured(&cluster.state, &cluster.pods);
        assert!(placements.iter().all(|p| p.node.is_ok()));
        assert!(work.filters <= (2 * nodes + pods) as u64, "{work:?}");
        assert!(work.cells <= 3 * pods as u64, "{work:?}");
    }
}
