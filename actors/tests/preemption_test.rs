//! A pod that is more important gets its place by others leaving theirs, once they are gone.
#![allow(clippy::unwrap_used)]

mod driver;

use std::sync::Arc;

use driver::{Cluster, key, replica_set};
use kontiki_actors::{Kind, Object};
use serde_json::{Value, json};

fn pod(name: &str, priority: i64, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"priority": priority, "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn get(cluster: &Cluster, name: &str) -> Option<Arc<Object>> {
    cluster.state.get(&key(Kind::POD, name)).cloned()
}

fn node_of(cluster: &Cluster, name: &str) -> Option<String> {
    get(cluster, name).unwrap().pod().unwrap().node.as_ref().map(ToString::to_string)
}

#[test]
fn a_pod_waits_until_its_victims_are_gone() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::POD, pod("low", 0, "60"));
    cluster.work();
    cluster.create(Kind::POD, pod("high", 10, "32"));
    let (low, high) = (get(&cluster, "low").unwrap(), get(&cluster, "high").unwrap());
    assert!(low.meta.deleting());
    let status = low.document.status_value();
    let disrupted =
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&disrupted["status"], &disrupted["reason"]),
        (&json!("True"), &json!("PreemptionByScheduler"))
    );
    assert_eq!(high.document.status_value()["nominatedNodeName"], "node-0");
    assert_eq!(node_of(&cluster, "high"), None);
    let told = cluster.state.iter().any(|object| {
        let rest = object.document.rest_value();
        rest["reason"] == "Preempted"
            && rest["involvedObject"]["name"] == "low"
            && rest["message"] == format!("Preempted by pod {} on node node-0", high.meta.uid)
    });
    assert!(told, "the victim's event says for whom");

    // Another one that would fit into what comes free does not take it, though it comes before the victim is gone and after.
    cluster.create(Kind::POD, pod("small", 0, "40"));
    assert_eq!(node_of(&cluster, "small"), None);
    cluster.report(&[low], |_| (Value::Null, true));
    assert_eq!(node_of(&cluster, "high").as_deref(), Some("node-0"));
    assert_eq!(node_of(&cluster, "small"), None);
    assert!(get(&cluster, "high").unwrap().document.status_value()["nominatedNodeName"].is_null());
    assert_eq!((cluster.state.nominated().count(), cluster.state.lowest_priority()), (0, Some(10)));
    cluster.assert_replicas_agree();
}

/// Tried again while its victims leave, it sends away nobody else.
#[test]
fn a_pod_that_waits_for_its_victims_sends_away_no_more() {
    let mut cluster = Cluster::new(2);
    for name in ["a", "b"] {
        cluster.create(Kind::POD, pod(name, 0, "60"));
    }
    cluster.create(Kind::POD, pod("high", 10, "60"));
    let leaving = |cluster: &Cluster| {
        ["a", "b"].iter().filter(|name| get(cluster, name).unwrap().meta.deleting()).count()
    };
    assert_eq!(leaving(&cluster), 1);
    let changes = cluster.hello("node-0");
    assert_eq!(leaving(&cluster), 1, "{changes:?}");
    cluster.edit(Kind::NODE, "node-1", |node| node["metadata"]["labels"]["x"] = "y".into());
    assert_eq!(leaving(&cluster), 1);
    let before = get(&cluster, "high").unwrap().revision;
    cluster.advance(60);
    assert_eq!(get(&cluster, "high").unwrap().revision, before, "nothing new is said");
}

/// A deployment of low priority is thinned out for one of high priority, and its pods wait.
#[test]
fn a_rollout_of_more_important_pods_comes_through() {
    let mut cluster = Cluster::new(3);
    let deployment = |name: &str, replicas: i64, priority: i64| {
        let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"priorityClassName": name,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "16"}}}]}});
        let class = json!({"metadata": {"name": name}, "value": priority});
        let deployment = json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}});
        (class, deployment)
    };
    for (name, replicas, priority) in [("low", 12, 1), ("high", 6, 100)] {
        let (class, deployment) = deployment(name, replicas, priority);
        cluster.create(Kind::PRIORITY_CLASS, class);
        cluster.create(Kind::DEPLOYMENT, deployment);
        while cluster.work() {}
    }
    let running = |name: &str| {
        let of = |o: &&Arc<Object>| o.meta.labels.get("app").is_some_and(|app| app == name);
        cluster.pods().iter().filter(of).filter(|o| o.pod().unwrap().ready).count()
    };
    assert_eq!((running("high"), running("low")), (6, 6));
    assert_eq!(cluster.state.unplaced().count(), 6);
}

/// The pod of a stateful set that has to leave is there again in the turn in which it is gone: it is not before the pod for which it left,
/// whatever stood between them.
#[test]
fn a_victim_that_comes_back_does_not_take_the_place() {
    let port = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let avoids = json!({"containers": [{"name": "c", "image": "i"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "s"}}}]}}});
    for (theirs, mine) in [(&port, &port), (&json!({"containers": port["containers"]}), &avoids)] {
        let mut cluster = Cluster::new(1);
        let template = json!({"metadata": {"labels": {"app": "s"}}, "spec": theirs});
        cluster.create(
            Kind::STATEFUL_SET,
            json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"replicas": 1, "serviceName": "s",
                "selector": {"matchLabels": {"app": "s"}}, "template": template,
                "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}}),
        );
        while cluster.work() {}
        assert_eq!(node_of(&cluster, "s-0").as_deref(), Some("node-0"));
        let mut high = json!({"metadata": {"name": "high", "namespace": "default"}, "spec": mine});
        high["spec"]["priority"] = 10.into();
        cluster.create(Kind::POD, high);
        let victim = get(&cluster, "s-0").unwrap();
        assert!(victim.meta.deleting());
        cluster.report(&[victim], |_| (Value::Null, true));
        cluster.settle();
        assert_eq!(node_of(&cluster, "high").as_deref(), Some("node-0"));
        assert_eq!(node_of(&cluster, "s-0"), None, "it is back, and waits");
        cluster.assert_replicas_agree();
    }
}

/// More of them than one turn makes room for: the others get theirs by the turns after it.
#[test]
fn many_at_once_get_room_by_several_turns() {
    let count = 20;
    let mut cluster = Cluster::new(count);
    for n in 0..count {
        cluster.create(Kind::POD, pod(&format!("low-{n}"), 0, "60"));
    }
    cluster.create(Kind::PRIORITY_CLASS, json!({"metadata": {"name": "high"}, "value": 1000}));
    let mut set = replica_set("high", count as i64);
    set["spec"]["template"]["spec"]["priorityClassName"] = "high".into();
    set["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "60"}});
    cluster.create(Kind::REPLICA_SET, set);
    assert_eq!(cluster.state.nominated().count(), count);
    let leaving = cluster.pods().iter().filter(|pod| pod.meta.deleting()).count();
    assert_eq!(leaving, count);
    cluster.assert_replicas_agree();
}
