//! What the planner promises, on small clusters.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Placement, Reason, explain, fits,
    fixture::{Cluster, asks},
    plan_measured, plan_within,
};
use crate::{change::Change, kind::Kind, object::ObjectKey};

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

/// How many pods each node got.
fn per_node(placements: &[Placement]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for placement in placements {
        *counts.entry(placement.node.clone().unwrap().to_string()).or_default() += 1;
    }
    counts
}

fn nodes_of(placements: &[Placement]) -> Vec<String> {
    placements.iter().map(|p| p.node.clone().unwrap().to_string()).collect()
}

fn zone_spread(hard: bool, max_skew: i64) -> Value {
    let rule = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
    json!([{"maxSkew": max_skew, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": rule,
        "labelSelector": {"matchLabels": {"app": "web"}}}])
}

#[test]
fn three_replicas_take_three_zones() {
    let mut cluster = Cluster::nodes(9, 3);
    cluster.replicas("load", 4, &asks("100m"));
    cluster.replicas("web", 3, &asks("500m"));
    let placements = cluster.plan();
    let web: Vec<String> = nodes_of(&placements[4..]);
    let zones: std::collections::BTreeSet<usize> =
        web.iter().map(|n| n[1..].parse::<usize>().unwrap() % 3).collect();
    assert_eq!(zones.len(), 3, "{web:?}");
}

#[test]
fn spread_beats_free_room() {
    let mut cluster = Cluster::default();
    cluster.node("big", "64", json!({"topology.kubernetes.io/zone": "a"}), json!({}));
    cluster.node("small", "1", json!({"topology.kubernetes.io/zone": "b"}), json!({}));
    cluster.replicas("web", 2, &asks("500m"));
    assert_eq!(nodes_of(&cluster.plan()), ["big", "small"]);
}

#[test]
fn fifty_pods_spread_evenly_over_five_workers() {
    for zones in [1, 5] {
        let mut cluster = Cluster::nodes(5, zones);
        cluster.replicas("web", 50, &asks("10m"));
        assert!(per_node(&cluster.plan()).values().all(|count| *count == 10));
    }
}

#[test]
fn pods_without_requests_and_owners_spread_too() {
    let mut cluster = Cluster::nodes(5, 1);
    for pod in 0..10 {
        cluster.pod(&format!("p{pod}"), "", json!({"containers": [{"name": "c"}]}));
    }
    assert!(per_node(&cluster.plan()).values().all(|count| *count == 2));
}

#[test]
fn later_plans_see_earlier_places() {
    let mut cluster = Cluster::nodes(6, 3);
    cluster.replicas("web", 2, &asks("100m"));
    let first = cluster.plan();
    cluster.assign(&first);
    cluster.pod("web-a", "web", asks("100m"));
    let second = cluster.plan();
    let zone = |p: &Placement| p.node.clone().unwrap()[1..].parse::<usize>().unwrap() % 3;
    let zones: std::collections::BTreeSet<usize> = first.iter().chain(&second).map(zone).collect();
    assert_eq!(zones.len(), 3);
}

#[test]
fn pods_on_their_way_out_do_not_count_for_spread_but_take_room() {
    let mut cluster = Cluster::default();
    cluster.node("big", "4", json!({}), json!({}));
    cluster.node("small", "1", json!({}), json!({}));
    let key = cluster.pod("old", "web", with(asks("1"), "nodeName", json!("big")));
    cluster.replicas("web", 1, &asks("500m"));
    assert_eq!(nodes_of(&cluster.plan()), ["small"]);
    cluster.end(&key);
    assert_eq!(nodes_of(&cluster.plan()), ["big"]);
    let large = cluster.pod("large", "", asks("4"));
    let refusal = Err("0/2 nodes are available: 2 Insufficient cpu.".into());
    assert!(cluster.plan().contains(&Placement { pod: large, node: refusal, preemption: None }));
}

#[test]
fn a_rule_over_nodes_passes_over_the_least_crowded() {
    let mut cluster = Cluster::nodes(2, 1);
    for (name, owner, node) in [
        ("a", "other", "n0000"),
        ("b", "other", "n0000"),
        ("c", "web", "n0001"),
        ("d", "web", "n0001"),
        ("e", "web", "n0001"),
    ] {
        cluster.pod(name, owner, with(asks("100m"), "nodeName", json!(node)));
    }
    let rule = |app: &str, max_skew: i64| {
        json!({"maxSkew": max_skew, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": app}}})
    };
    let spread = json!([rule("other", 1), rule("web", 9)]);
    cluster.replicas("web", 1, &with(asks("100m"), "topologySpreadConstraints", spread));
    // n0000 holds two pods that are counted and n0001 three, but one kind of them is too many on n0000.
    assert_eq!(nodes_of(&cluster.plan()), ["n0001"]);
}

#[test]
fn full_nodes_say_what_is_missing() {
    let mut cluster = Cluster::nodes(2, 1);
    cluster.replicas("web", 3, &asks("3"));
    let placements = cluster.plan();
    assert_eq!(nodes_of(&placements[..2]), ["n0000", "n0001"]);
    assert_eq!(placements[2].node, Err("0/2 nodes are available: 2 Insufficient cpu.".into()));
}

#[test]
fn every_reason_is_counted() {
    let mut cluster = Cluster::default();
    let ready = json!({"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "1"},
        "conditions": [{"type": "Ready", "status": "True"}]});
    let ssd = json!({"disk": "ssd"});
    cluster.node("cordoned", "4", ssd.clone(), json!({"unschedulable": true}));
    cluster.node_with_status("full", ssd.clone(), json!({}), ready.clone());
    cluster.node_with_status("hdd", json!({"disk": "hdd"}), json!({}), ready.clone());
    cluster.node_with_status("lost", ssd.clone(), json!({}), json!({"allocatable": ready["allocatable"]}));
    let unreachable = json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]});
    cluster.node_with_status("unreachable", ssd.clone(), unreachable, json!({}));
    cluster.node("port", "4", ssd.clone(), json!({}));
    cluster.node("small", "1", ssd.clone(), json!({}));
    let port = json!([{"name": "c", "ports": [{"hostPort": 80}]}]);
    for (name, node) in [("a", "full"), ("b", "port")] {
        cluster.pod(name, "", json!({"nodeName": node, "containers": port}));
    }
    let mut wanted = asks("2");
    wanted["nodeSelector"] = ssd;
    wanted["containers"][0]["ports"] = json!([{"hostPort": 80}]);
    let key = cluster.pod("p", "", wanted.clone());
    let message = "0/7 nodes are available: 1 Insufficient cpu, \
        1 node(s) didn't match Pod's node affinity/selector, \
        1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 1 node(s) were not ready, \
        1 node(s) were unschedulable, 2 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(cluster.plan(), [Placement { pod: key.clone(), node: Err(message.into()), preemption: None }]);

    let explained = explain(&cluster.state, &key);
    assert_eq!(explained.len(), 7);
    assert!(explained.contains(&("port".into(), vec![Reason::Ports])));
    // The shared function agrees with the planner on every node.
    let pod = cluster.state.get(&key).unwrap();
    for (name, reasons) in explained {
        let node = cluster.state.get(&ObjectKey::new(Kind::NODE, "", &name)).unwrap();
        assert_eq!(fits(&cluster.state, pod, node).err().unwrap_or_default(), reasons, "{name}");
    }
    wanted["containers"][0]["ports"] = json!([]);
    let key = cluster.pod("q", "", wanted);
    assert!(explain(&cluster.state, &key).contains(&("full".into(), vec![Reason::TooManyPods])));
}

#[test]
fn no_nodes_at_all() {
    let mut cluster = Cluster::default();
    cluster.pod("p", "", asks("1"));
    assert_eq!(cluster.plan()[0].node, Err("no nodes available to schedule pods".into()));
}

#[test]
fn required_affinity_is_a_rule_and_preferred_a_wish() {
    let mut cluster = Cluster::nodes(3, 3);
    cluster.node("ssd", "1", json!({"disk": "ssd"}), json!({}));
    let matches = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
    let preferred = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 1, "preference": matches}]}});
    cluster.replicas("wish", 2, &with(asks("600m"), "affinity", preferred));
    let wish = nodes_of(&cluster.plan());
    assert_eq!(wish[0], "ssd");
    assert_ne!(wish[1], "ssd");
    cluster.pods.clear();
    let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [matches]}}});
    cluster.replicas("rule", 2, &with(asks("600m"), "affinity", required));
    let rule = cluster.plan();
    assert_eq!(rule[0].node.as_deref(), Ok("ssd"));
    assert!(rule[1].node.is_err());
}

#[test]
fn taints_keep_away_or_only_ask_to() {
    let mut cluster = Cluster::default();
    cluster.node("a", "64", json!({}), json!({"taints": [{"key": "soft", "effect": "PreferNoSchedule"}]}));
    cluster.node(
        "b",
        "64",
        json!({}),
        json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
    );
    cluster.node("c", "1", json!({}), json!({}));
    cluster.replicas("web", 2, &asks("600m"));
    assert_eq!(nodes_of(&cluster.plan()), ["c", "a"]);
    cluster.pods.clear();
    // a asks to be avoided and c has less room; b is borne.
    cluster.replicas(
        "gpu",
        1,
        &with(asks("1"), "tolerations", json!([{"key": "gpu", "operator": "Exists"}])),
    );
    let gpu = nodes_of(&cluster.plan());
    assert_eq!(gpu, ["b"]);
}

#[test]
fn host_ports_are_given_once_per_node() {
    let mut cluster = Cluster::nodes(2, 1);
    let spec = json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]});
    cluster.replicas("web", 3, &spec);
    let placements = cluster.plan();
    assert_eq!(per_node(&placements[..2]).len(), 2);
    let message = "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(placements[2].node, Err(message.into()));
    // Another template of the same plan meets the ports that the first was given.
    cluster.pod("z", "", with(spec, "priority", json!(-1)));
    assert_eq!(cluster.plan()[3].node, Err(message.into()));
}

/// A pod that asks for so much of a resource and nothing else.
fn asks_for(resource: &str, amount: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {resource: amount}}}]})
}

/// A cluster of a node with two graphics processors and huge pages, and one without.
fn with_processors() -> Cluster {
    let mut cluster = Cluster::nodes(1, 1);
    let status = json!({
        "allocatable": {"cpu": "4", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    cluster.node_with_status("gpu", json!({}), json!({}), status);
    cluster
}

#[test]
fn what_only_some_nodes_have_is_counted() {
    for (resource, amount) in [("nvidia.com/gpu", "1"), ("hugepages-2Mi", "2Mi")] {
        let mut cluster = with_processors();
        cluster.replicas("web", 3, &asks_for(resource, amount));
        let first = cluster.plan();
        assert_eq!(nodes_of(&first[..2]), ["gpu", "gpu"]);
        let message = format!("0/2 nodes are available: 2 Insufficient {resource}.");
        assert_eq!(first[2].node, Err(message.clone()));
        // A later plan meets them there, until they have ended.
        cluster.assign(&first);
        let key = cluster.pod("late", "", asks_for(resource, amount));
        assert_eq!(cluster.plan()[0].node, Err(message));
        let (pod, node) = (cluster.state.get(&key).unwrap(), ObjectKey::new(Kind::NODE, "", "gpu"));
        let missing = fits(&cluster.state, pod, cluster.state.get(&node).unwrap());
        assert_eq!(missing, Err(vec![Reason::Insufficient(resource.into())]));
        let old = cluster.state.get(&first[0].pod).unwrap().document.whole();
        let ended = old.with_status(json!({"phase": "Succeeded"}));
        let change = Change::between(first[0].pod.clone(), Some(&old), &ended).unwrap();
        cluster.state.apply(&change);
        assert_eq!(nodes_of(&cluster.plan()), ["gpu"]);
        // Who asks for none of it goes anywhere.
        cluster.pods.clear();
        cluster.pod(
            "none",
            "",
            with(asks_for(resource, "0"), "nodeSelector", json!({"kubernetes.io/hostname": "n0000"})),
        );
        assert_eq!(nodes_of(&cluster.plan()), ["n0000"]);
    }
}

/// Pods of one owner may ask for different amounts.
#[test]
fn who_asks_for_more_is_planned_by_itself() {
    let mut cluster = with_processors();
    for (name, amount) in [("a", "1"), ("b", "2"), ("c", "1")] {
        cluster.pod(name, "web", asks_for("nvidia.com/gpu", amount));
    }
    let plan = cluster.plan();
    let placed = plan.iter().filter(|placement| placement.node.is_ok());
    assert_eq!(placed.map(|placement| placement.pod.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn host_ports_of_sidecars_count() {
    let mut cluster = Cluster::nodes(1, 1);
    let port = json!([{"name": "s", "restartPolicy": "Always", "ports": [{"hostPort": 80}]}]);
    cluster.replicas("web", 2, &with(asks("1"), "initContainers", port));
    let placed: Vec<bool> = cluster.plan().iter().map(|placement| placement.node.is_ok()).collect();
    assert_eq!(placed, [true, false]);
    // The others have ended before anybody binds the port.
    let mut cluster = Cluster::nodes(1, 1);
    let port = json!([{"name": "i", "ports": [{"hostPort": 80}]}]);
    cluster.replicas("web", 2, &with(asks("1"), "initContainers", port));
    assert!(cluster.plan().iter().all(|placement| placement.node.is_ok()));
}

/// Whether nodes count that would not take the pod is for each constraint to say.
#[test]
fn spread_counts_nodes_by_its_policies() {
    let tainted = json!({"taints": [{"key": "t", "effect": "NoSchedule"}]});
    let placed = |spec: &Value, policy: &str, value: &str, selector: Value| {
        let mut cluster = Cluster::nodes(3, 3);
        let labels = json!({"topology.kubernetes.io/zone": "z1", "kubernetes.io/hostname": "n0001"});
        cluster.node("n0001", "4", labels, spec.clone());
        let mut constraint = zone_spread(true, 1);
        constraint[0][policy] = value.into();
        let pod = with(asks("100m"), "topologySpreadConstraints", constraint);
        cluster.replicas("web", 6, &with(pod, "nodeSelector", selector));
        cluster.plan().iter().filter(|placement| placement.node.is_ok()).count()
    };
    for closed in [tainted, json!({"unschedulable": true})] {
        assert_eq!(placed(&closed, "nodeTaintsPolicy", "Ignore", json!({})), 2, "an empty zone");
        assert_eq!(placed(&closed, "nodeTaintsPolicy", "Honor", json!({})), 6);
    }
    let (open, one) = (json!({}), json!({"kubernetes.io/hostname": "n0000"}));
    assert_eq!(placed(&open, "nodeAffinityPolicy", "Honor", one.clone()), 6);
    assert_eq!(placed(&open, "nodeAffinityPolicy", "Ignore", one), 1, "the other zones are empty");
}

#[test]
fn hard_spread_refuses_rather_than_tilts() {
    let mut cluster = Cluster::nodes(2, 2);
    cluster.node("bare", "64", json!({}), json!({}));
    cluster.replicas("web", 10, &with(asks("1500m"), "topologySpreadConstraints", zone_spread(true, 1)));
    // Two fit on each labelled node; none goes to the node without a zone.
    let placements = cluster.plan();
    assert_eq!(per_node(&placements[..4]), [("n0000".into(), 2), ("n0001".into(), 2)].into());
    assert_eq!(
        placements[4].node,
        Err("0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints \
            (missing required label), 2 Insufficient cpu."
            .into())
    );
    // With one zone cordoned its domain still counts as empty.
    let mut cluster = Cluster::nodes(2, 2);
    cluster.node("n0001", "4", json!({"topology.kubernetes.io/zone": "z1"}), json!({"unschedulable": true}));
    cluster.replicas("web", 2, &with(asks("100m"), "topologySpreadConstraints", zone_spread(true, 1)));
    let placements = cluster.plan();
    assert!(placements[0].node.is_ok());
    assert_eq!(
        placements[1].node,
        Err("0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
            1 node(s) were unschedulable."
            .into())
    );
}

/// With the key of the label that tells revisions apart, each revision is spread by itself.
#[test]
fn spread_may_count_only_pods_with_the_same_labels() {
    for (keys, placed) in [(json!([]), false), (json!(["revision"]), true)] {
        let mut cluster = Cluster::nodes(2, 2);
        let mut constraint = zone_spread(true, 1);
        constraint[0]["matchLabelKeys"] = keys;
        let spec = with(asks("1"), "topologySpreadConstraints", constraint);
        let mut full = asks("4");
        full["nodeName"] = "n0001".into();
        cluster.pod("other", "", full);
        let pod = |cluster: &mut Cluster, name: &str, revision: &str, spec: Value| {
            let key = cluster.pod(name, "web", spec);
            let old = cluster.state.get(&key).unwrap().document.whole();
            let mut metadata = old.metadata_value();
            metadata["labels"]["revision"] = revision.into();
            let change = Change::between(key, Some(&old), &old.with_metadata(metadata)).unwrap();
            cluster.state.apply(&change);
        };
        let mut at_first = spec.clone();
        at_first["nodeName"] = "n0000".into();
        pod(&mut cluster, "old", "1", at_first);
        cluster.pods.clear();
        pod(&mut cluster, "new", "2", spec);
        assert_eq!(cluster.plan()[0].node.is_ok(), placed);
    }
}

#[test]
fn minimum_of_domains_counts_missing_ones_as_empty() {
    let mut cluster = Cluster::nodes(4, 2);
    let mut spread = zone_spread(true, 1);
    spread[0]["minDomains"] = json!(3);
    cluster.replicas("web", 3, &with(asks("100m"), "topologySpreadConstraints", spread));
    let placements = cluster.plan();
    assert!(placements[..2].iter().all(|p| p.node.is_ok()) && placements[2].node.is_err());
}

#[test]
fn soft_spread_gives_way_when_a_zone_is_full() {
    let mut cluster = Cluster::default();
    cluster.node("a", "64", json!({"topology.kubernetes.io/zone": "a"}), json!({}));
    cluster.node("b", "1", json!({"topology.kubernetes.io/zone": "b"}), json!({}));
    cluster.replicas("web", 6, &with(asks("500m"), "topologySpreadConstraints", zone_spread(false, 1)));
    assert_eq!(per_node(&cluster.plan()), [("a".into(), 4), ("b".into(), 2)].into());
}

#[test]
fn greater_priority_goes_first() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.pod("a", "", asks("3"));
    let urgent = cluster.pod("b", "", with(asks("3"), "priority", json!(1000)));
    let placements = cluster.plan();
    assert_eq!(placements[0].pod, urgent);
    assert!(placements[0].node.is_ok() && placements[1].node.is_err());
}

#[test]
fn what_is_gone_or_placed_is_left_out() {
    let mut cluster = Cluster::nodes(1, 1);
    cluster.pod("placed", "", json!({"nodeName": "n0000"}));
    cluster.pods.push(ObjectKey::new(Kind::POD, "default", "gone"));
    assert_eq!(cluster.plan(), []);
}

/// The filters are asked once per template and node and once more per placement, never per pod and node.
#[test]
fn work_grows_with_nodes_plus_pods() {
    let (nodes, pods) = (1000, 3000);
    let mut cluster = Cluster::nodes(nodes, 3);
    cluster.replicas("web", pods, &asks("10m"));
    let (placements, work) = plan_measured(&cluster.state, &cluster.pods);
    assert!(placements.iter().all(|p| p.node.is_ok()));
    let bound = (2 * nodes + pods) as u64;
    assert!(work.filters <= bound, "{work:?}");
    assert!(work.scores <= bound, "{work:?}");
    assert!(work.cells <= 3 * pods as u64, "{work:?}");
    // Owners that share a template share the verdicts of the fixed filters.
    let mut cluster = Cluster::nodes(nodes, 3);
    (0..5).for_each(|owner| cluster.replicas(&format!("web{owner}"), 10, &asks("10m")));
    let (_, work) = plan_measured(&cluster.state, &cluster.pods);
    assert!(work.filters <= (6 * nodes + 50) as u64, "{work:?}");
}

/// A plan ends when its work is done, and what it leaves is placed by those after it.
#[test]
fn a_plan_ends_early_and_goes_on_in_the_next() {
    let mut cluster = Cluster::nodes(4, 2);
    cluster.replicas("web", 3, &asks("1"));
    cluster.replicas("large", 2, &asks("5"));
    cluster.replicas("db", 3, &asks("2"));
    let mut waiting = cluster.pods.clone();
    let mut plans = 0;
    while !waiting.is_empty() {
        let (placements, _) = plan_within(&cluster.state, &waiting, 1);
        assert!(!placements.is_empty() && placements.len() < 3, "{placements:?}");
        assert!(placements.iter().all(|p| p.node.is_ok() != p.pod.name.starts_with("large")));
        waiting.retain(|key| placements.iter().all(|placement| placement.pod != *key));
        cluster.assign(&placements);
        plans += 1;
    }
    assert!(plans > 4, "{plans}");
}

/// Labels that no node has, however many, cost little, and change nothing.
#[test]
fn wishes_for_labels_that_no_node_has_are_cheap() {
    let (nodes, constraints, pods) = (100, 1000, 20);
    let place = |constraints: usize| {
        let mut cluster = Cluster::nodes(nodes, 3);
        for pod in 0..pods {
            let mut spread = zone_spread(false, 1);
            spread.as_array_mut().unwrap().extend((0..constraints).map(|n| {
                json!({"maxSkew": 1, "topologyKey": format!("k{pod}-{n}"), "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"app": "web"}}})
            }));
            let spec = with(asks("100m"), "topologySpreadConstraints", spread);
            cluster.pod(&format!("web-{pod:02}"), "web", spec);
        }
        plan_measured(&cluster.state, &cluster.pods)
    };
    let (wide, work) = place(constraints);
    let (plain, _) = place(0);
    assert_eq!(wide, plain);
    assert!(work.terms < (pods * (constraints + 10 * nodes)) as u64, "{work:?}");
}

/// Pods that find no place cost nothing after the first of them.
#[test]
fn refusals_are_worked_out_once() {
    let mut cluster = Cluster::nodes(100, 1);
    cluster.replicas("web", 1000, &asks("5"));
    let (placements, work) = plan_measured(&cluster.state, &cluster.pods);
    assert!(
        placements.iter().all(|p| p.node == Err("0/100 nodes are available: 100 Insufficient cpu.".into()))
    );
    assert!(work.filters <= 200, "{work:?}");
}

/// Measures, asserts nothing of time: `cargo test --release -p kontiki-actors placements_per_second -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn placements_per_second() {
    let mut cluster = Cluster::nodes(5000, 3);
    cluster.replicas("web", 10_000, &asks("10m"));
    let started = std::time::Instant::now();
    let (placements, work) = plan_measured(&cluster.state, &cluster.pods);
    println!("{} placements of one template at once in {:?}, {work:?}", placements.len(), started.elapsed());
    let started = std::time::Instant::now();
    for pods in cluster.pods.chunks(500) {
        plan_measured(&cluster.state, pods);
    }
    println!("the same by 500 in {:?}", started.elapsed());
    let mut cluster = Cluster::nodes(5000, 3);
    (0..500).for_each(|owner| cluster.replicas(&format!("web{owner}"), 1, &asks("10m")));
    let started = std::time::Instant::now();
    plan_measured(&cluster.state, &cluster.pods);
    println!("500 single pods of as many owners in {:?}", started.elapsed());
}
