//! The replica set: adoption, release, who goes first, large sets, refused pods.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key, pod, replica_set};
use kontiki_actors::{Kind, ObjectKey, turn::CHANGES_LIMIT};
use serde_json::{Value, json};

#[test]
fn it_adopts_what_matches_and_counts_it() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::POD, pod("lonely", "web"));
    cluster.create(Kind::POD, pod("stranger", "other"));
    cluster.create(Kind::REPLICA_SET, replica_set("web", 2));
    assert_eq!(cluster.pods().len(), 3, "one was there already");
    let set = cluster.get(Kind::REPLICA_SET, "web");
    assert_eq!(cluster.get(Kind::POD, "lonely").meta.controller().unwrap().uid, set.meta.uid);
    assert!(cluster.get(Kind::POD, "stranger").meta.owners.is_empty());
    assert_eq!(
        cluster.status(Kind::REPLICA_SET, "web"),
        json!({"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1})
    );
    // One that comes later is one too many.
    cluster.create(Kind::POD, pod("late", "web"));
    assert_eq!(cluster.active().len(), 3);
}

#[test]
fn it_lets_go_of_what_does_not_match_and_replaces_it() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 2));
    cluster.work_out();
    let one = cluster.active()[0].key.name.to_string();
    cluster.edit(Kind::POD, &one, |p| p["metadata"]["labels"] = json!({"debug": "yes"}));
    assert!(cluster.get(Kind::POD, &one).meta.owners.is_empty());
    assert_eq!(cluster.active().len(), 3);
    assert_eq!(cluster.status(Kind::REPLICA_SET, "web")["replicas"], 2);
}

#[test]
fn ended_pods_are_replaced() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 2));
    cluster.work_out();
    let one = cluster.active()[0].clone();
    cluster.report(&[one], |_| (json!({"phase": "Failed", "reason": "Evicted"}), false));
    assert_eq!((cluster.pods().len(), cluster.active().len()), (3, 2));
}

#[test]
fn those_whose_loss_is_felt_least_go_first() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 6));
    cluster.settle();
    let pods = cluster.active();
    // Two on each node; all ready but one; one is said to be dear, one cheap.
    cluster.report_ready(&pods[1..], true);
    let cost = |cost: &'static str| {
        move |p: &mut Value| {
            p["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": cost});
        }
    };
    cluster.edit(Kind::POD, &pods[2].key.name, cost("-1"));
    cluster.edit(Kind::POD, &pods[3].key.name, cost("100"));
    cluster.set_replicas(Kind::REPLICA_SET, "web", 4);
    let gone = |cluster: &Cluster, n: usize| {
        cluster.find(Kind::POD, &pods[n].key.name).is_none_or(|p| p.meta.deleting())
    };
    assert!(gone(&cluster, 0), "not ready");
    assert!(gone(&cluster, 2), "cheap");
    cluster.set_replicas(Kind::REPLICA_SET, "web", 1);
    assert!(!gone(&cluster, 3), "dear");
    assert_eq!(cluster.active().len(), 1);
    assert_eq!(cluster.events("SuccessfulDelete").len(), 5);
}

#[test]
fn of_equals_those_on_the_fullest_node_go_first() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 3));
    cluster.work_out();
    cluster.hello("node-1");
    cluster.set_replicas(Kind::REPLICA_SET, "web", 4);
    cluster.work_out();
    let lone: Vec<_> =
        cluster.active().into_iter().filter(|p| p.pod().unwrap().node.as_deref() == Some("node-1")).collect();
    assert_eq!(lone.len(), 1);
    cluster.set_replicas(Kind::REPLICA_SET, "web", 2);
    let left: Vec<_> =
        cluster.active().iter().map(|p| p.pod().unwrap().node.clone().unwrap().to_string()).collect();
    assert!(left.contains(&"node-1".to_string()), "{left:?}");
}

#[test]
fn a_large_set_takes_several_turns_and_others_get_in_between() {
    let mut cluster = Cluster::new(3);
    let changes = cluster.create(Kind::REPLICA_SET, replica_set("big", 1000));
    assert!(changes.len() <= CHANGES_LIMIT + 10, "{}", changes.len());
    let first = cluster.active();
    assert!((1..1000).contains(&first.len()), "{}", first.len());
    assert!(
        first.iter().all(|p| p.pod().unwrap().node.is_some()),
        "what was made is placed in the same turn"
    );
    assert!(cluster.state.wake_of(&key(Kind::REPLICA_SET, "big")).is_some());
    cluster.create(Kind::REPLICA_SET, replica_set("small", 1));
    assert_eq!(cluster.status(Kind::REPLICA_SET, "small")["replicas"], 1);
    cluster.settle();
    assert_eq!(cluster.active().len(), 1001);
    assert_eq!(cluster.status(Kind::REPLICA_SET, "big")["replicas"], 1000);
    cluster.set_replicas(Kind::REPLICA_SET, "big", 0);
    cluster.settle();
    assert_eq!(cluster.active().len(), 1);
    assert_eq!(cluster.state.wake_of(&key(Kind::REPLICA_SET, "big")), None);
}

#[test]
fn refused_pods_are_said_and_tried_again() {
    let mut cluster = Cluster::new(1);
    let mut set = replica_set("web", 2);
    set["spec"]["template"]["spec"]["serviceAccountName"] = "robot".into();
    cluster.create(Kind::REPLICA_SET, set);
    cluster.settle();
    assert!(cluster.pods().is_empty());
    let failure = cluster.condition(Kind::REPLICA_SET, "web", "ReplicaFailure").unwrap();
    assert_eq!(failure, ("True".into(), "FailedCreate".into()));
    assert_eq!(
        cluster.events("FailedCreate"),
        [
            "Error creating: pods \"web-\" is forbidden: error looking up service account default/robot: serviceaccount \
          \"robot\" not found"
        ]
    );
    cluster.create(Kind::SERVICE_ACCOUNT, json!({"metadata": {"name": "robot", "namespace": "default"}}));
    cluster.advance(30);
    assert_eq!(cluster.active().len(), 2);
    assert_eq!(cluster.condition(Kind::REPLICA_SET, "web", "ReplicaFailure"), None);
}

#[test]
fn a_priority_class_gives_its_pods_their_priority() {
    let mut cluster = Cluster::new(1);
    cluster.create(
        Kind::PRIORITY_CLASS,
        json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}),
    );
    let mut set = replica_set("web", 1);
    set["spec"]["template"]["spec"]["priorityClassName"] = "high".into();
    cluster.create(Kind::REPLICA_SET, set);
    let spec = cluster.active()[0].document.spec_value();
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(1000), &json!("Never")));
}

#[test]
fn a_large_set_gathers_news_of_its_pods_but_replaces_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 600));
    cluster.settle();
    assert_eq!(cluster.active().len(), 600);
    // Each pod tells of itself, all within a moment: the set is written once, when the moment is over.
    let before = cluster.get(Kind::REPLICA_SET, "web").revision;
    for pod in cluster.active() {
        cluster.report_ready(&[pod], true);
    }
    assert_eq!(cluster.get(Kind::REPLICA_SET, "web").revision, before);
    cluster.advance(1);
    assert_eq!(cluster.status(Kind::REPLICA_SET, "web")["readyReplicas"], 600);
    assert_eq!(cluster.state.wake_of(&key(Kind::REPLICA_SET, "web")), None);
    // A loss is made up for in the turn that tells of it, and so is what the set itself is told.
    let lost = cluster.active()[0].clone();
    cluster.report(&[lost], |_| (json!({"phase": "Failed"}), false));
    assert_eq!(cluster.active().len(), 600);
    cluster.set_replicas(Kind::REPLICA_SET, "web", 610);
    assert_eq!(cluster.active().len(), 610);
}

#[test]
fn pods_of_another_namespace_that_name_it_are_none_of_its() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 3));
    cluster.work_out();
    let own: Vec<_> = cluster.active().iter().map(|pod| pod.key.clone()).collect();
    let uid = cluster.get(Kind::REPLICA_SET, "web").meta.uid.to_string();
    // They would all be kept sooner than the set's own, and an owner that lives keeps them from being collected.
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "other"}}));
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": {"name": "anchor", "namespace": "other"}}));
    let anchor =
        cluster.state.get(&ObjectKey::new(Kind::CONFIG_MAP, "other", "anchor")).unwrap().meta.uid.to_string();
    for n in 0..3 {
        let mut foreign = pod(&format!("web-{n}"), "web");
        foreign["metadata"]["namespace"] = "other".into();
        foreign["metadata"]["annotations"] =
            json!({"controller.kubernetes.io/pod-deletion-cost": "2147483647"});
        foreign["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": anchor},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true},
        ]);
        cluster.create(Kind::POD, foreign);
    }
    cluster.work_out();
    let annotate = |set: &mut Value| set["metadata"]["annotations"] = json!({"example.com/note": "a"});
    cluster.edit(Kind::REPLICA_SET, "web", annotate);
    cluster.set_replicas(Kind::REPLICA_SET, "web", 4);
    cluster.work_out();
    let left: Vec<_> = cluster.active().iter().map(|pod| pod.key.clone()).collect();
    assert!(own.iter().all(|pod| left.contains(pod)), "{left:?}");
    assert_eq!(left.len(), 4 + 3);
    let status = cluster.status(Kind::REPLICA_SET, "web");
    assert_eq!((&status["replicas"], &status["readyReplicas"]), (&json!(4), &json!(4)));
}

#[test]
fn a_node_that_refuses_pods_is_not_asked_at_once_again() {
    let mut cluster = Cluster::new(1);
    let mut set = replica_set("web", 3);
    let template = &mut set["spec"]["template"]["spec"];
    template["nodeName"] = "node-0".into();
    template["containers"][0]["ports"] = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]);
    cluster.create(Kind::REPLICA_SET, set);
    cluster.advance(9);
    assert_eq!((cluster.active().len(), cluster.pods().len()), (1, 2), "one has the port, one was refused");
    cluster.advance(2);
    assert_eq!((cluster.active().len(), cluster.pods().len()), (1, 3));
    assert_eq!(cluster.status(Kind::REPLICA_SET, "web")["replicas"], 1);
    // What becomes free is taken then.
    let one = cluster.active()[0].clone();
    cluster.advance(10);
    cluster.report(&[one], |_| (json!({"phase": "Failed", "reason": "Evicted"}), false));
    cluster.advance(10);
    assert_eq!(cluster.active().len(), 1);
}
