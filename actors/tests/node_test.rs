//! Nodes: joining, being lost, coming back; who has to leave, and where the replacements go.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment, key, pod, words};
use kontiki_actors::{
    Document, Input, Kind, ObjectKey, Request,
    input::{Life, Part},
    turn::CHANGES_LIMIT,
};
use serde_json::{Value, json};

fn on<'a>(
    cluster: &'a Cluster,
    node: &'a str,
) -> impl Iterator<Item = std::sync::Arc<kontiki_actors::Object>> + 'a {
    cluster.active().into_iter().filter(move |p| p.pod().unwrap().node.as_deref() == Some(node))
}

fn taints(cluster: &Cluster, node: &str) -> Vec<String> {
    let node = cluster.get(Kind::NODE, node);
    node.node().unwrap().taints.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect()
}

#[test]
fn a_worker_that_says_hello_is_a_ready_node() {
    let mut cluster = Cluster::new(1);
    assert_eq!(
        cluster.condition(Kind::NODE, "node-0", "Ready").unwrap(),
        ("True".into(), "KubeletReady".into())
    );
    for pressure in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        assert_eq!(cluster.condition(Kind::NODE, "node-0", pressure).unwrap().0, "False");
    }
    assert_eq!(cluster.events("RegisteredNode"), ["Node node-0 event: Registered Node node-0 in Controller"]);
    cluster.edit(Kind::NODE, "node-0", |n| {
        n["metadata"]["labels"]["disk"] = "ssd".into();
        n["metadata"]["annotations"] = json!({"note": "mine"});
        n["spec"]["taints"] = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]);
    });
    cluster.advance(60);
    assert_eq!(cluster.hello("node-0"), [], "nothing new, nothing written");
    let node = cluster.get(Kind::NODE, "node-0");
    assert_eq!((node.meta.labels["disk"].as_str(), node.meta.annotations["note"].as_str()), ("ssd", "mine"));
    assert_eq!(taints(&cluster, "node-0"), ["gpu:NoSchedule"]);
}

/// Extended resources are said by others than the worker, in the node's status.
#[test]
fn what_others_say_that_a_node_has_stays() {
    let mut cluster = Cluster::new(1);
    let mut asking = pod("asking", "web");
    asking["spec"]["containers"][0]["resources"] = json!({"requests": {"example.com/dongle": "1"}});
    cluster.create(Kind::POD, asking);
    cluster.settle();
    assert_eq!(
        cluster.condition(Kind::POD, "asking", "PodScheduled").unwrap(),
        ("False".into(), "Unschedulable".into())
    );
    let mut value = cluster.get(Kind::NODE, "node-0").document.to_value();
    value["status"]["capacity"]["example.com/dongle"] = "4".into();
    value["status"]["capacity"]["cpu"] = "1".into();
    cluster.decide(Input::Api(Request::Update {
        key: ObjectKey::new(Kind::NODE, "", "node-0"),
        document: Document::from_value(value),
        part: Part::Status,
        revision: None,
        uid: None,
        dry_run: false,
    }));
    cluster.settle();
    assert_eq!(cluster.get(Kind::POD, "asking").pod().unwrap().node.as_deref(), Some("node-0"));
    cluster.hello("node-0");
    let status = cluster.status(Kind::NODE, "node-0");
    assert_eq!(
        status["capacity"],
        json!({"cpu": "64", "memory": "256Gi", "pods": "500", "example.com/dongle": "4"})
    );
    assert_eq!(cluster.hello("node-0"), [], "nothing new, nothing written");
}

#[test]
fn a_suspect_keeps_its_pods_and_gets_no_new_ones() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    cluster.verdicts(&["node-0"], Life::Suspect);
    cluster.settle();
    assert_eq!(
        cluster.condition(Kind::NODE, "node-0", "Ready").unwrap(),
        ("Unknown".into(), "NodeStatusUnknown".into())
    );
    assert_eq!(on(&cluster, "node-0").count(), 2);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 8);
    assert_eq!((on(&cluster, "node-0").count(), on(&cluster, "node-1").count()), (2, 6));
    cluster.verdicts(&["node-0"], Life::Ready);
    assert_eq!(taints(&cluster, "node-0"), [""; 0]);
    assert_eq!(cluster.condition(Kind::NODE, "node-0", "Ready").unwrap().0, "True");
}

#[test]
fn a_lost_nodes_pods_are_replaced_elsewhere_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 6));
    cluster.work_out();
    let turns = cluster.turns;
    cluster.verdicts(&["node-1"], Life::Down);
    assert_eq!(cluster.turns, turns + 2, "one that says it and makes new ones, one that places them");
    assert_eq!(
        taints(&cluster, "node-1"),
        ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    );
    let (lost, rest): (Vec<_>, Vec<_>) = cluster.pods().into_iter().partition(|p| p.meta.deleting());
    assert_eq!((lost.len(), rest.len()), (2, 6));
    for pod in &lost {
        let status = pod.document.status_value();
        assert_eq!(status["reason"], "NodeLost");
        assert!(!pod.pod().unwrap().ready);
        let target = cluster.condition(Kind::POD, &pod.key.name, "DisruptionTarget").unwrap();
        assert_eq!(target, ("True".into(), "DeletionByTaintManager".into()));
        assert_eq!(pod.meta.deletion_grace_s, Some(30));
    }
    for pod in &rest {
        let node = pod.pod().unwrap().node.clone();
        assert!(node.is_some_and(|n| n != "node-1"), "{}", pod.key.name);
    }
    assert_eq!(cluster.verdicts(&["node-1"], Life::Down), [], "known already");
    // Back again: its old pods are told to leave, the node takes new ones.
    cluster.hello("node-1");
    assert_eq!(taints(&cluster, "node-1"), [""; 0]);
    cluster.work_out();
    assert_eq!(cluster.pods().len(), 6);
    assert_eq!(cluster.status(Kind::DEPLOYMENT, "web")["availableReplicas"], 6);
}

#[test]
fn patience_with_a_lost_node_ends_when_it_says() {
    let mut cluster = Cluster::new(1);
    let mut patient = pod("patient", "web");
    patient["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    ]);
    let mut daemon = pod("daemon", "web");
    daemon["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    cluster.create(Kind::POD, patient);
    cluster.create(Kind::POD, daemon);
    cluster.work_out();
    cluster.verdicts(&["node-0"], Life::Down);
    for name in ["patient", "daemon"] {
        let pod = cluster.get(Kind::POD, name);
        assert!(
            !pod.meta.deleting() && !pod.pod().unwrap().ready,
            "{name} stays, but nobody can say that it is ready"
        );
    }
    assert_eq!(cluster.state.wake_of(&key(Kind::NODE, "node-0")), Some(cluster.now_ms + 300_000));
    cluster.advance(299);
    assert!(!cluster.get(Kind::POD, "patient").meta.deleting());
    cluster.advance(2);
    assert!(cluster.get(Kind::POD, "patient").meta.deleting());
    assert!(!cluster.get(Kind::POD, "daemon").meta.deleting());
    assert_eq!(cluster.state.wake_of(&key(Kind::NODE, "node-0")), None);
}

#[test]
fn a_node_that_is_back_in_time_keeps_its_patient_pods() {
    let mut cluster = Cluster::new(1);
    let mut patient = pod("patient", "web");
    patient["spec"]["tolerations"] = json!([{"operator": "Exists", "tolerationSeconds": 300}]);
    cluster.create(Kind::POD, patient);
    cluster.work_out();
    cluster.verdicts(&["node-0"], Life::Down);
    cluster.advance(100);
    cluster.hello("node-0");
    assert_eq!(cluster.state.wake_of(&key(Kind::NODE, "node-0")), None);
    cluster.advance(1000);
    assert!(!cluster.get(Kind::POD, "patient").meta.deleting());
}

#[test]
fn peoples_taints_send_pods_away_too() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    cluster.edit(Kind::NODE, "node-0", |n| {
        n["spec"]["taints"] = json!([{"key": "k", "value": "v", "effect": "NoExecute"}])
    });
    assert_eq!((on(&cluster, "node-0").count(), on(&cluster, "node-1").count()), (0, 4));
    let evicted: Vec<_> = cluster.pods().into_iter().filter(|p| p.meta.deleting()).collect();
    assert!(
        evicted.iter().all(|p| p.document.status_value().get("reason").is_none()),
        "the node is not lost"
    );
    cluster.work_out();
    assert_eq!(cluster.pods().len(), 4);
}

#[test]
fn a_cordon_shows_as_a_taint() {
    let mut cluster = Cluster::new(1);
    cluster.edit(Kind::NODE, "node-0", |n| n["spec"]["unschedulable"] = true.into());
    assert_eq!(taints(&cluster, "node-0"), ["node.kubernetes.io/unschedulable:NoSchedule"]);
    cluster.edit(Kind::NODE, "node-0", |n| n["spec"]["unschedulable"] = false.into());
    assert_eq!(taints(&cluster, "node-0"), [""; 0]);
    for said in ["NodeNotSchedulable", "NodeSchedulable"] {
        assert_eq!(cluster.events(said), [format!("Node node-0 status is now: {said}")]);
    }
}

#[test]
fn a_nodes_lease_comes_and_goes_with_it() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "kube-node-lease"}}));
    cluster.hello("node-0");
    let lease = ObjectKey::new(Kind::LEASE, "kube-node-lease", "node-0");
    let spec = cluster.state.get(&lease).unwrap().document.spec_value();
    assert_eq!(spec, json!({"holderIdentity": "node-0"}));
    cluster.delete(Kind::NODE, "node-0", None);
    cluster.settle();
    assert!(cluster.state.get(&lease).is_none());
}

#[test]
fn a_deleted_nodes_pods_go_with_it_and_are_replaced() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    let turns = cluster.turns;
    let (changes, _) = cluster.delete(Kind::NODE, "node-0", None);
    assert_eq!(cluster.turns, turns + 2, "one that deletes and makes new ones, one that places them");
    assert_eq!(words(&changes).iter().filter(|w| *w == "delete Pod").count(), 2);
    assert!(cluster.find(Kind::NODE, "node-0").is_none());
    assert_eq!((cluster.pods().len(), on(&cluster, "node-1").count()), (4, 4));
}

#[test]
fn a_deleted_node_that_somebody_else_holds_keeps_its_pods_until_the_end() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    let finalizers = |cluster: &mut Cluster, names: Value| {
        cluster.edit(Kind::NODE, "node-0", |n| n["metadata"]["finalizers"] = names);
        cluster.work_out();
    };
    finalizers(&mut cluster, json!(["kontiki.io/pods", "example.com/drains"]));
    cluster.delete(Kind::NODE, "node-0", None);
    cluster.work_out();
    assert_eq!((on(&cluster, "node-0").count(), on(&cluster, "node-1").count()), (2, 2));
    finalizers(&mut cluster, json!(["kontiki.io/pods"]));
    assert!(cluster.find(Kind::NODE, "node-0").is_none());
    assert_eq!((cluster.pods().len(), on(&cluster, "node-1").count()), (4, 4));
}

#[test]
fn a_pod_may_not_name_a_missing_node_for_long() {
    let mut cluster = Cluster::new(1);
    let mut lost = pod("lost", "web");
    lost["spec"]["nodeName"] = "nowhere".into();
    cluster.create(Kind::POD, lost);
    cluster.advance(39);
    assert!(cluster.find(Kind::POD, "lost").is_some());
    cluster.advance(2);
    assert!(cluster.find(Kind::POD, "lost").is_none());
}

#[test]
fn a_lost_zone_is_bounded_turns_and_everything_comes_back() {
    let mut cluster = Cluster::new(30);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 900));
    cluster.work_out();
    let zone: Vec<String> = (0..30).step_by(3).map(|n| format!("node-{n}")).collect();
    let zone: Vec<&str> = zone.iter().map(String::as_str).collect();
    let lost: usize = zone.iter().map(|node| on(&cluster, node).count()).sum();
    assert!(lost > 200, "{lost}");
    let turns = cluster.turns;
    let changes = cluster.verdicts(&zone, Life::Down);
    let bound = CHANGES_LIMIT + 1000;
    assert!(changes.len() <= bound, "{}", changes.len());
    assert!(zone.iter().all(|node| taints(&cluster, node).len() == 2), "one verdict, one turn");
    cluster.settle();
    assert!(cluster.turns - turns < 20, "{}", cluster.turns - turns);
    assert_eq!(cluster.active().len(), 900);
    for pod in cluster.active() {
        let node = pod.pod().unwrap().node.clone().unwrap();
        assert!(!zone.contains(&node.as_str()));
    }
}

#[test]
fn a_node_under_pressure_says_so_and_gets_no_more_pods() {
    let mut cluster = Cluster::new(2);
    cluster.hello_under("node-0", &["DiskPressure"]);
    assert_eq!(
        cluster.condition(Kind::NODE, "node-0", "DiskPressure").unwrap(),
        ("True".into(), "KubeletHasDiskPressure".into())
    );
    assert_eq!(cluster.condition(Kind::NODE, "node-0", "MemoryPressure").unwrap().0, "False");
    assert_eq!(cluster.condition(Kind::NODE, "node-0", "Ready").unwrap().0, "True");
    assert_eq!(taints(&cluster, "node-0"), ["node.kubernetes.io/disk-pressure:NoSchedule"]);
    assert_eq!(cluster.events("NodeHasDiskPressure"), ["Node node-0 status is now: NodeHasDiskPressure"]);
    assert_eq!(cluster.hello_under("node-0", &["DiskPressure"]), [], "nothing new, nothing written");
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    assert_eq!((on(&cluster, "node-0").count(), on(&cluster, "node-1").count()), (0, 4));

    // What the leader holds of its life changes nothing about that; its word does.
    cluster.verdicts(&["node-0"], Life::Suspect);
    cluster.verdicts(&["node-0"], Life::Ready);
    assert_eq!(cluster.condition(Kind::NODE, "node-0", "DiskPressure").unwrap().0, "True");
    cluster.hello_under("node-0", &["MemoryPressure", "PIDPressure"]);
    assert_eq!(
        taints(&cluster, "node-0"),
        ["node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/pid-pressure:NoSchedule"]
    );
    cluster.hello("node-0");
    assert!(taints(&cluster, "node-0").is_empty());
    assert_eq!(
        cluster.condition(Kind::NODE, "node-0", "DiskPressure").unwrap(),
        ("False".into(), "KubeletHasNoDiskPressure".into())
    );
    assert_eq!(cluster.events("NodeHasNoDiskPressure").len(), 1);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 8);
    assert_eq!(on(&cluster, "node-0").count(), 4);
}

#[test]
fn a_node_whose_machine_goes_down_is_not_ready_and_gets_no_more_pods() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    cluster.work_out();
    cluster.hello_with("node-0", json!([{"type": "Ready", "status": "False"}]));
    let ready = |cluster: &Cluster| cluster.condition(Kind::NODE, "node-0", "Ready").unwrap();
    assert_eq!(ready(&cluster), ("False".into(), "KubeletNotReady".into()));
    assert_eq!(taints(&cluster, "node-0"), ["node.kubernetes.io/not-ready:NoSchedule"]);
    assert_eq!(cluster.events("NodeNotReady"), ["Node node-0 status is now: NodeNotReady"]);
    assert_eq!(on(&cluster, "node-0").count(), 2, "its pods are for its worker to end");
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 8);
    cluster.work_out();
    assert_eq!((on(&cluster, "node-0").count(), on(&cluster, "node-1").count()), (2, 6));

    // It is not heard for a moment, which changes nothing about that; then it comes back.
    cluster.verdicts(&["node-0"], Life::Suspect);
    cluster.verdicts(&["node-0"], Life::Ready);
    assert_eq!(ready(&cluster).0, "False");
    cluster.hello("node-0");
    assert_eq!(ready(&cluster).0, "True");
    assert!(taints(&cluster, "node-0").is_empty());
    assert_eq!(cluster.events("NodeNotReady").len(), 1);
}

#[test]
fn who_is_put_on_a_node_that_does_not_take_him_has_failed_there() {
    let mut cluster = Cluster::new(2);
    let asking = |name: &str, node: &str, asks: &Value| {
        let mut pod = pod(name, "web");
        pod["spec"]["nodeName"] = node.into();
        for (pointer, value) in asks.as_object().unwrap() {
            pod["spec"]["containers"][0][pointer] = value.clone();
        }
        pod
    };
    let port =
        |protocol: &str| json!({"ports": [{"hostPort": 8080, "containerPort": 80, "protocol": protocol}]});
    let cpu = |amount: &str| json!({"resources": {"requests": {"cpu": amount}}});
    cluster.create(Kind::POD, asking("first", "node-0", &port("TCP")));
    cluster.create(Kind::POD, asking("other", "node-0", &port("UDP")));
    cluster.create(Kind::POD, asking("large", "node-0", &cpu("60")));
    let mut elsewhere = asking("elsewhere", "node-0", &json!({}));
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    cluster.create(Kind::POD, elsewhere);
    cluster.create(Kind::POD, asking("second", "node-0", &port("TCP")));
    cluster.create(Kind::POD, asking("larger", "node-0", &cpu("5")));
    // Whoever else places pods is told the same.
    cluster.create(Kind::POD, asking("bound", "", &cpu("65")));
    let bind = Request::Bind { key: key(Kind::POD, "bound"), node: "node-1".into(), dry_run: false };
    cluster.decide(Input::Api(bind));
    for name in ["first", "other", "large"] {
        assert_eq!(cluster.status(Kind::POD, name)["phase"], "Pending", "{name}");
    }
    let ports = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let affinity = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let room = |wanted, used| {
        format!("Node didn't have enough resource: cpu, requested: {wanted}, used: {used}, capacity: 64000")
    };
    for (name, node, reason, message) in [
        ("second", "node-0", "NodePorts", ports),
        ("elsewhere", "node-0", "NodeAffinity", affinity),
        ("larger", "node-0", "OutOfcpu", room(5000, 60_000).as_str()),
        ("bound", "node-1", "OutOfcpu", room(65_000, 0).as_str()),
    ] {
        let status = cluster.status(Kind::POD, name);
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!(reason)), "{name}");
        assert_eq!(status["message"], format!("Pod was rejected: {message}"), "{name}");
        assert!(cluster.events(reason).iter().any(|said| said == message), "{name}");
        assert_eq!(cluster.get(Kind::POD, name).document.spec_value()["nodeName"], node, "{name}");
    }
    // What has failed takes no room, and is deleted without a worker.
    cluster.create(Kind::POD, asking("small", "node-0", &cpu("4")));
    assert_eq!(cluster.status(Kind::POD, "small")["phase"], "Pending");
    cluster.delete(Kind::POD, "second", None);
    assert!(cluster.find(Kind::POD, "second").is_none());
    // Nobody is there to refuse anybody.
    cluster.verdicts(&["node-1"], Life::Down);
    cluster.create(Kind::POD, asking("early", "node-1", &cpu("65")));
    assert_eq!(cluster.status(Kind::POD, "early")["phase"], "Pending");
}
