//! Who is sent away, and who is not.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    object::ObjectKey,
    scheduling::{
        PREEMPTIONS_LIMIT, Preemption,
        fixture::{Cluster, asks},
    },
};

const ZONE: &str = "topology.kubernetes.io/zone";

fn of(priority: i32, cpu: &str) -> Value {
    let mut spec = asks(cpu);
    spec["priority"] = priority.into();
    spec
}

fn at(mut spec: Value, node: &str) -> Value {
    spec["nodeName"] = node.into();
    spec
}

/// The node where room is made, and who has to leave; none: nobody would help.
type Said = Option<(String, Vec<String>)>;

/// What the plan does for each pod, by name.
fn preemptions(cluster: &Cluster) -> Vec<(String, Said)> {
    let said = |preemption: Preemption| {
        let victims = preemption.victims.iter().map(|key| key.name.to_string()).collect();
        (preemption.node.to_string(), victims)
    };
    let plan = cluster.plan().into_iter().filter(|placement| placement.node.is_err());
    plan.map(|placement| (placement.pod.name.to_string(), placement.preemption.map(said))).collect()
}

fn only(cluster: &Cluster) -> Said {
    let mut all = preemptions(cluster);
    assert_eq!(all.len(), 1);
    all.pop().unwrap().1
}

fn some(node: &str, victims: &[&str]) -> Said {
    Some((node.into(), victims.iter().map(ToString::to_string).collect()))
}

#[test]
fn the_least_important_leave_and_no_more_than_needed() {
    let mut cluster = Cluster::nodes(2, 1);
    // Of two nodes, one carries what matters more; on the other, the larger of two would do alone, and the smaller is spared.
    cluster.pod("a", "", at(of(5, "3"), "n0000"));
    cluster.pod("small", "", at(of(1, "1"), "n0001"));
    cluster.pod("large", "", at(of(1, "3"), "n0001"));
    cluster.pods.clear();
    cluster.pod("urgent", "", of(10, "3"));
    assert_eq!(only(&cluster), some("n0001", &["large"]));
}

#[test]
fn the_most_important_are_spared_first() {
    let mut cluster = Cluster::nodes(1, 1);
    for (name, priority) in [("a", 1), ("b", 3), ("c", 2), ("d", 3)] {
        cluster.pod(name, "", at(of(priority, "1"), "n0000"));
    }
    cluster.pods.clear();
    cluster.pod("urgent", "", of(10, "2"));
    assert_eq!(only(&cluster), some("n0000", &["c", "a"]));
}

#[test]
fn nobody_leaves_for_an_equal_or_for_who_does_not_want_it() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.pod("a", "", at(of(5, "4"), "n0000"));
    cluster.pods.clear();
    cluster.pod("equal", "", of(5, "1"));
    assert_eq!(only(&cluster), None);
    cluster.pods.clear();
    let mut polite = of(10, "1");
    polite["preemptionPolicy"] = "Never".into();
    cluster.pod("polite", "", polite);
    assert_eq!(only(&cluster), None);
}

/// Taints, selectors and nodes out of contact are no question of room.
#[test]
fn nobody_leaves_where_that_would_not_help() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.node("n0000", "4", json!({}), json!({"taints": [{"key": "t", "effect": "NoSchedule"}]}));
    cluster.pod("a", "", at(of(1, "4"), "n0000"));
    cluster.pods.clear();
    cluster.pod("urgent", "", of(10, "1"));
    assert_eq!(only(&cluster), None);
    cluster.pods.clear();
    cluster.node("n0000", "4", json!({}), json!({}));
    cluster.pod("giant", "", of(10, "5"));
    assert_eq!(only(&cluster), None);
}

#[test]
fn each_of_a_group_gets_room_of_its_own() {
    let mut cluster = Cluster::nodes(2, 1);
    for (name, node) in [("a", "n0000"), ("b", "n0001")] {
        cluster.pod(name, "", at(of(1, "3"), node));
    }
    cluster.pods.clear();
    cluster.replicas("urgent", 4, &of(10, "2"));
    let all = preemptions(&cluster);
    assert_eq!(all.len(), 4);
    let nodes: Vec<_> = all.iter().map(|(_, p)| p.clone()).collect();
    // The second on a node needs nobody more to leave than the first.
    assert_eq!(nodes[..2], [some("n0000", &["a"]), some("n0000", &[])]);
    assert_eq!(nodes[2..], [some("n0001", &["b"]), some("n0001", &[])]);
}

/// What leaves already is waited for, and nobody leaves in addition.
#[test]
fn who_leaves_already_is_waited_for() {
    let mut cluster = Cluster::nodes(2, 1);
    let leaving = cluster.pod("a", "", at(of(1, "4"), "n0000"));
    cluster.pod("b", "", at(of(1, "4"), "n0001"));
    cluster.pods.clear();
    cluster.end(&leaving);
    cluster.pod("urgent", "", of(10, "4"));
    assert_eq!(only(&cluster), some("n0000", &[]));
}

/// Room that is being made is for the pod that it is made for.
#[test]
fn what_is_set_aside_is_not_taken() {
    let mut cluster = Cluster::nodes(1, 1);
    let urgent = cluster.pod("urgent", "", of(10, "3"));
    let old = cluster.state.get(&urgent).unwrap().document.whole();
    let nominated = old.with_status(json!({"phase": "Pending", "nominatedNodeName": "n0000"}));
    let change = crate::change::Change::between(urgent.clone(), Some(&old), &nominated).unwrap();
    cluster.state.apply(&change);
    cluster.pods.clear();
    cluster.pod("late", "", of(1, "2"));
    assert_eq!(only(&cluster), None);
    cluster.pods.clear();
    // More important ones need not mind, and itself least of all.
    cluster.pod("first", "", of(11, "2"));
    assert!(cluster.plan()[0].node.is_ok());
    cluster.pods = vec![urgent];
    assert!(cluster.plan()[0].node.is_ok());
}

/// However many wait for room that is being made, more is made for others.
#[test]
fn those_who_wait_already_keep_nobody_from_having_room_made() {
    let mut cluster = Cluster::nodes(PREEMPTIONS_LIMIT + 1, 1);
    for n in 0..=PREEMPTIONS_LIMIT {
        let low = cluster.pod(&format!("low-{n:02}"), "", at(of(0, "4"), &format!("n{n:04}")));
        if n < PREEMPTIONS_LIMIT {
            cluster.end(&low);
        }
    }
    cluster.pods.clear();
    for n in 0..PREEMPTIONS_LIMIT {
        // Each of an owner of its own: a group of its own.
        let urgent = cluster.pod(&format!("urgent-{n:02}"), &format!("owner-{n}"), of(10, "4"));
        let old = cluster.state.get(&urgent).unwrap().document.whole();
        let nominated = old.with_status(json!({"phase": "Pending", "nominatedNodeName": format!("n{n:04}")}));
        let change = crate::change::Change::between(urgent, Some(&old), &nominated).unwrap();
        cluster.state.apply(&change);
    }
    cluster.pod("z", "", of(10, "4"));
    let all = preemptions(&cluster);
    assert_eq!(all.len(), PREEMPTIONS_LIMIT + 1);
    for (n, (_, said)) in all[..PREEMPTIONS_LIMIT].iter().enumerate() {
        assert_eq!(*said, some(&format!("n{n:04}"), &[]));
    }
    let last = PREEMPTIONS_LIMIT;
    assert_eq!(all[last].1, some(&format!("n{last:04}"), &[&format!("low-{last:02}")]));
}

#[test]
fn host_ports_are_freed() {
    let mut cluster = Cluster::nodes(1, 1);
    let port = |priority: i32| {
        let mut spec = of(priority, "1");
        spec["containers"][0]["ports"] = json!([{"hostPort": 80}]);
        spec
    };
    cluster.pod("a", "", at(port(1), "n0000"));
    cluster.pod("b", "", at(of(1, "1"), "n0000"));
    cluster.pods.clear();
    cluster.pod("urgent", "", port(10));
    assert_eq!(only(&cluster), some("n0000", &["a"]));
}

/// Nobody leaves for a port that this very plan gave away.
#[test]
fn host_ports_of_the_same_plan_are_taken() {
    let mut cluster = Cluster::nodes(2, 1);
    for (name, node) in [("a", "n0000"), ("b", "n0001")] {
        cluster.pod(name, "", at(of(1, "3"), node));
    }
    cluster.pods.clear();
    let mut spec = of(10, "1");
    spec["containers"][0]["ports"] = json!([{"hostPort": 80}]);
    cluster.replicas("urgent", 3, &spec);
    assert_eq!(only(&cluster), None);
}

fn processors(mut spec: Value, count: u32) -> Value {
    spec["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = count.to_string().into();
    spec
}

/// What only some nodes have is made room for by those who have it, where there would be enough of it.
#[test]
fn scalar_resources_are_freed() {
    let mut cluster = Cluster::nodes(1, 1);
    for (name, count) in [("m0000", "1"), ("n0001", "2")] {
        let status = json!({"allocatable": {"cpu": "4", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": count},
            "conditions": [{"type": "Ready", "status": "True"}]});
        cluster.node_with_status(name, json!({}), json!({}), status);
    }
    cluster.pod("lowest", "", at(of(0, "1"), "n0000"));
    cluster.pod("little", "", at(processors(of(1, "1"), 1), "m0000"));
    cluster.pod("other", "", at(of(1, "1"), "n0001"));
    cluster.pod("a", "", at(processors(of(2, "1"), 1), "n0001"));
    cluster.pod("b", "", at(processors(of(3, "1"), 1), "n0001"));
    cluster.pods.clear();
    let urgent = cluster.pod("urgent", "", processors(of(10, "1"), 2));
    assert_eq!(only(&cluster), some("n0001", &["b", "a"]));
    cluster.pods.clear();
    cluster.pod("giant", "", processors(of(10, "1"), 3));
    assert_eq!(only(&cluster), None);
    // Room that is being made is for the pod that it is made for, until it has its place.
    cluster.pods.clear();
    cluster.state.apply(&crate::change::Change::Delete { key: ObjectKey::new(Kind::POD, "default", "a") });
    let old = cluster.state.get(&urgent).unwrap().document.whole();
    let nominated = old.with_status(json!({"phase": "Pending", "nominatedNodeName": "n0001"}));
    let change = crate::change::Change::between(urgent.clone(), Some(&old), &nominated).unwrap();
    cluster.state.apply(&change);
    cluster.pod("late", "", processors(of(0, "1"), 1));
    assert!(cluster.plan()[0].node.is_err());
    cluster.pods.clear();
    cluster.pod("first", "", processors(of(11, "1"), 1));
    assert_eq!(cluster.plan()[0].node.as_deref(), Ok("n0001"));
}

#[test]
fn who_stands_too_near_leaves() {
    let mut cluster = Cluster::nodes(2, 2);
    let anti = |mut spec: Value, app: &str| {
        let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": app}}});
        spec["affinity"] =
            json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        spec
    };
    // n0000 has one that the pod avoids, n0001 one that avoids the pod, and both nothing else to be minded.
    cluster.pod("met", "met", at(of(2, "1"), "n0000"));
    cluster.pod("barring", "barring", at(anti(of(1, "1"), "urgent"), "n0001"));
    cluster.pod("bystander", "bystander", at(of(0, "1"), "n0001"));
    cluster.pods.clear();
    cluster.pod("urgent", "urgent", anti(of(10, "1"), "met"));
    assert_eq!(only(&cluster), some("n0001", &["barring"]));
    // Another node of the domain holds one more: its leaving alone does not help.
    cluster.node("n0003", "4", json!({ZONE: "z1"}), json!({}));
    cluster.pod("second", "barring", at(anti(of(1, "1"), "urgent"), "n0003"));
    cluster.pods.retain(|key| key.name == "urgent");
    assert_eq!(only(&cluster), some("n0000", &["met"]));
}

/// One whom the pod must be near is not sent away for it.
#[test]
fn who_is_wanted_near_stays() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.pod("db", "db", at(of(1, "2"), "n0000"));
    cluster.pod("other", "other", at(of(2, "2"), "n0000"));
    cluster.pods.clear();
    let mut near = of(10, "2");
    let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "db"}}});
    near["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    cluster.pod("urgent", "urgent", near);
    assert_eq!(only(&cluster), some("n0000", &["other"]));
}

#[test]
fn a_crowded_domain_is_relieved() {
    let mut cluster = Cluster::nodes(2, 2);
    let spread = |mut spec: Value| {
        spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": ZONE,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]);
        spec
    };
    // z1 is full of what matters more; z0 has one web pod more than z1 may have.
    cluster.pod("full", "full", at(of(20, "4"), "n0001"));
    cluster.pod("web-0", "web", at(of(1, "1"), "n0000"));
    cluster.pods.clear();
    cluster.pod("web-1", "web", spread(of(10, "1")));
    assert_eq!(only(&cluster), some("n0000", &["web-0"]));
}

/// Those who came last leave first when all else is equal.
#[test]
fn the_youngest_leave_first() {
    let mut cluster = Cluster::nodes(2, 1);
    for (name, node, created) in
        [("old", "n0000", "2026-01-01T00:00:00Z"), ("young", "n0001", "2026-01-02T00:00:00Z")]
    {
        let key = ObjectKey::new(Kind::POD, "default", name);
        let metadata =
            json!({"name": name, "namespace": "default", "uid": name, "creationTimestamp": created});
        cluster.put(
            &key,
            json!({"metadata": metadata, "spec": at(of(1, "4"), node), "status": {"phase": "Running"}}),
        );
    }
    cluster.pod("urgent", "", of(10, "1"));
    assert_eq!(only(&cluster), some("n0001", &["young"]));
}

/// Looking for victims takes long, and everybody who writes waits for a plan: the rest is left to the next one.
#[test]
fn a_plan_makes_room_for_some_and_leaves_out_the_rest() {
    let count = PREEMPTIONS_LIMIT + 4;
    let mut cluster = Cluster::nodes(count, 1);
    for node in 0..count {
        cluster.pod(&format!("a{node}"), "", at(of(1, "4"), &format!("n{node:04}")));
    }
    cluster.pods.clear();
    cluster.replicas("urgent", count, &of(10, "4"));
    cluster.pod("small", "", of(0, "0"));
    let plan = cluster.plan();
    let of_urgent = plan.iter().filter(|placement| placement.pod.name.starts_with("urgent"));
    assert!(of_urgent.clone().all(|placement| placement.preemption.is_some()));
    assert_eq!(of_urgent.count(), PREEMPTIONS_LIMIT);
    // Neither keeps those from being planned for whom nobody has to leave.
    assert!(plan.iter().any(|placement| placement.pod.name == "small" && placement.node.is_ok()));
}

fn budget(cluster: &mut Cluster, app: &str, min_available: u32) {
    let key = ObjectKey::new(Kind::POD_DISRUPTION_BUDGET, "default", app);
    let metadata = json!({"name": app, "namespace": "default", "uid": format!("{app}-budget")});
    let spec = json!({"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}});
    cluster.put(&key, json!({"metadata": metadata, "spec": spec}));
}

/// A pod that runs and is ready.
fn healthy(cluster: &mut Cluster, name: &str, app: &str, spec: Value) {
    let key = ObjectKey::new(Kind::POD, "default", name);
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "labels": {"app": app}});
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    cluster.put(&key, json!({"metadata": metadata, "spec": spec, "status": status}));
}

/// What a budget has no room for stays, where anybody else can leave: on the same node and on another one.
#[test]
fn who_has_a_budget_is_spared() {
    let mut cluster = Cluster::nodes(1, 1);
    budget(&mut cluster, "db", 1);
    healthy(&mut cluster, "db-0", "db", at(of(1, "2"), "n0000"));
    healthy(&mut cluster, "web-0", "web", at(of(5, "2"), "n0000"));
    cluster.pod("urgent", "", of(10, "2"));
    assert_eq!(only(&cluster), some("n0000", &["web-0"]), "though it is more important");
    cluster.node("n0001", "4", json!({}), json!({}));
    healthy(&mut cluster, "more", "web", at(of(7, "4"), "n0001"));
    cluster.pods.clear();
    cluster.pod("urgent", "", of(10, "4"));
    assert_eq!(only(&cluster), some("n0001", &["more"]));
    // Nobody else could leave.
    cluster.pods.clear();
    cluster.pod("urgent", "", of(6, "4"));
    assert_eq!(only(&cluster), some("n0000", &["db-0", "web-0"]), "a budget is no guarantee");
}

/// A budget that lets one go lets one go in a plan, not one for each pod that needs room.
#[test]
fn a_budget_is_spent_once() {
    let mut cluster = Cluster::nodes(3, 1);
    budget(&mut cluster, "db", 1);
    for (name, app, node) in [("db-0", "db", "n0000"), ("db-1", "db", "n0001"), ("web-0", "web", "n0002")] {
        let priority = if app == "web" { 5 } else { 1 };
        healthy(&mut cluster, name, app, at(of(priority, "4"), node));
    }
    cluster.replicas("urgent", 2, &of(10, "4"));
    let said: Vec<_> = preemptions(&cluster).into_iter().map(|(_, said)| said).collect();
    assert_eq!(said, [some("n0000", &["db-0"]), some("n0002", &["web-0"])]);
}
