//! The daemon set: one pod per node, rolling updates, history, and what a large one costs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use driver::{Cluster, pod, template};
use kontiki_actors::{Input, Kind, Object, input::Life, turn::CHANGES_LIMIT};
use serde_json::{Value, json};

const DS: Kind = Kind::DAEMON_SET;
const HASH: &str = "controller-revision-hash";

fn daemon_set(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name},
        "annotations": {"deprecated.daemonset.template.generation": "1"}}, "spec": {
        "selector": {"matchLabels": {"app": name}}, "template": template(name, "v1"), "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    }})
}

fn with(mut set: Value, path: &str, value: Value) -> Value {
    let at = path.rsplit_once('/').unwrap();
    set.pointer_mut(at.0).unwrap()[at.1] = value;
    set
}

fn node_of(pod: &Object) -> String {
    pod.pod().unwrap().node.clone().unwrap_or_default().to_string()
}

fn nodes(cluster: &Cluster) -> Vec<String> {
    let mut nodes: Vec<String> = cluster.active().iter().map(|pod| node_of(pod)).collect();
    nodes.sort();
    nodes
}

fn set_image(cluster: &mut Cluster, image: &str) {
    cluster.edit(DS, "agent", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        let generation = &mut set["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
        *generation = (generation.as_str().unwrap().parse::<i64>().unwrap() + 1).to_string().into();
    });
}

fn image(pod: &Object) -> String {
    pod.document.spec_value()["containers"][0]["image"].as_str().unwrap().to_string()
}

fn images(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut images: BTreeMap<String, Vec<String>> = BTreeMap::new();
    cluster.active().iter().for_each(|pod| images.entry(node_of(pod)).or_default().push(image(pod)));
    images
}

fn available(state: &kontiki_actors::State) -> usize {
    driver::active(state).iter().filter(|pod| pod.pod().unwrap().ready).count()
}

fn taint(cluster: &mut Cluster, node: &str, key: &str, effect: &str) {
    cluster.edit(Kind::NODE, node, |n| n["spec"]["taints"] = json!([{"key": key, "effect": effect}]));
    cluster.settle();
}

#[test]
fn each_node_gets_one_pod_that_bears_what_daemons_bear() {
    let mut cluster = Cluster::new(3);
    cluster.create(DS, daemon_set("agent"));
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0", "node-1", "node-2"]);
    assert_eq!(
        cluster.status(DS, "agent"),
        json!({"currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 3,
            "observedGeneration": 1, "updatedNumberScheduled": 3, "numberAvailable": 3})
    );
    let pod = cluster.active()[0].clone();
    let (metadata, spec) = (pod.document.metadata_value(), pod.document.spec_value());
    assert!(pod.key.name.starts_with("agent-") && metadata["generateName"] == "agent-");
    assert_eq!(metadata["ownerReferences"][0]["kind"], "DaemonSet");
    assert_eq!(metadata["labels"]["pod-template-generation"], "1");
    let term =
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_of(&pod)]}]}]);
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    assert_eq!(spec.pointer(required), Some(&term));
    let borne: Vec<String> = spec["tolerations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            assert_eq!(t["operator"], "Exists");
            format!(
                "{} {}",
                t["key"].as_str().unwrap().trim_start_matches("node.kubernetes.io/"),
                t["effect"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        borne,
        [
            "not-ready NoExecute",
            "unreachable NoExecute",
            "disk-pressure NoSchedule",
            "memory-pressure NoSchedule",
            "pid-pressure NoSchedule",
            "unschedulable NoSchedule"
        ]
    );
    assert_eq!(cluster.events("SuccessfulCreate").len(), 3);
}

#[test]
fn the_network_of_a_host_is_awaited_by_nobody_who_brings_it() {
    let mut cluster = Cluster::new(1);
    let set = with(daemon_set("agent"), "/spec/template/spec/hostNetwork", json!(true));
    let own = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
    cluster.create(DS, with(set, "/spec/template/spec/tolerations", own));
    let spec = cluster.active()[0].document.spec_value();
    let borne = spec["tolerations"].as_array().unwrap();
    assert_eq!(borne.len(), 7);
    assert_eq!(borne[0].get("tolerationSeconds"), None, "the controller's own takes its place");
    assert_eq!(
        borne[6],
        json!({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"})
    );
}

#[test]
fn it_follows_the_nodes_that_it_selects() {
    let mut cluster = Cluster::new(3);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]}]}]}}});
    cluster.create(DS, with(daemon_set("agent"), "/spec/template/spec/affinity", affinity));
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0", "node-1"]);
    // One comes, one changes its labels, one goes.
    cluster.hello("node-4");
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0", "node-1", "node-4"]);
    cluster
        .edit(Kind::NODE, "node-1", |n| n["metadata"]["labels"]["topology.kubernetes.io/zone"] = "c".into());
    assert_eq!(cluster.status(DS, "agent")["numberMisscheduled"], 1);
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0", "node-4"]);
    cluster.delete(Kind::NODE, "node-4", None);
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0"]);
    assert_eq!(cluster.status(DS, "agent")["desiredNumberScheduled"], 1);
}

#[test]
fn taints_keep_new_pods_away_and_only_the_hard_ones_send_old_ones_away() {
    let mut cluster = Cluster::new(2);
    taint(&mut cluster, "node-0", "user", "NoSchedule");
    cluster.create(DS, daemon_set("agent"));
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-1"]);
    taint(&mut cluster, "node-1", "user", "NoSchedule");
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-1"], "it stays");
    let status = cluster.status(DS, "agent");
    assert_eq!((&status["desiredNumberScheduled"], &status["numberMisscheduled"]), (&json!(0), &json!(1)));
    taint(&mut cluster, "node-1", "user", "NoExecute");
    cluster.work_out();
    assert_eq!(nodes(&cluster), [""; 0]);
    cluster.edit(Kind::NODE, "node-1", |n| n["spec"] = json!({"unschedulable": true}));
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-1"], "daemons run on cordoned nodes");
}

#[test]
fn a_lost_node_keeps_its_pod_though_none_is_wanted_there() {
    let mut cluster = Cluster::new(2);
    cluster.create(DS, daemon_set("agent"));
    cluster.work_out();
    let before: Vec<Arc<Object>> = cluster.active();
    cluster.verdicts(&["node-1"], Life::Down);
    cluster.settle();
    let uids = |pods: &[Arc<Object>]| pods.iter().map(|pod| pod.meta.uid.clone()).collect::<BTreeSet<_>>();
    assert_eq!(uids(&cluster.active()), uids(&before));
    let status = cluster.status(DS, "agent");
    let counts = ["desiredNumberScheduled", "numberReady", "numberMisscheduled"].map(|count| &status[count]);
    assert_eq!(
        counts,
        [&json!(1), &json!(1), &json!(1)],
        "its taint for new pods is not borne, as in Kubernetes"
    );
    cluster.hello("node-1");
    cluster.work_out();
    assert_eq!(uids(&cluster.active()), uids(&before));
    assert_eq!(cluster.status(DS, "agent")["numberAvailable"], 2);
}

#[test]
fn no_more_than_one_node_at_a_time_is_without_a_pod() {
    let mut cluster = Cluster::new(4);
    cluster.create(DS, daemon_set("agent"));
    cluster.work_out();
    let least = Rc::new(RefCell::new(usize::MAX));
    let seen = least.clone();
    cluster.observer = Some(Box::new(move |state| {
        let mut least = seen.borrow_mut();
        *least = available(state).min(*least);
    }));
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert_eq!(*least.borrow(), 3);
    assert!(images(&cluster).values().all(|images| images == &["v2"]), "{:?}", images(&cluster));
    let status = cluster.status(DS, "agent");
    assert_eq!((&status["updatedNumberScheduled"], &status["numberAvailable"]), (&json!(4), &json!(4)));
}

#[test]
fn a_share_of_the_nodes_may_be_without_a_pod_and_broken_pods_go_at_once() {
    let mut cluster = Cluster::new(4);
    cluster.create(
        DS,
        with(daemon_set("agent"), "/spec/updateStrategy/rollingUpdate/maxUnavailable", json!("50%")),
    );
    cluster.work_out();
    let pods = cluster.active();
    cluster.report_ready(&pods[..1], false);
    set_image(&mut cluster, "v2");
    let leaving = cluster.pods().iter().filter(|pod| pod.meta.deleting()).count();
    assert_eq!(leaving, 2, "the broken one, and one that works");
    assert!(cluster.get(Kind::POD, &pods[0].key.name).meta.deleting());
    cluster.work_out();
    assert!(images(&cluster).values().all(|images| images == &["v2"]));
}

#[test]
fn with_a_surge_every_node_has_an_available_pod_all_the_time() {
    let mut cluster = Cluster::new(3);
    let rolling = json!({"maxUnavailable": 0, "maxSurge": 1});
    cluster.create(DS, with(daemon_set("agent"), "/spec/updateStrategy/rollingUpdate", rolling));
    cluster.work_out();
    let bounds = Rc::new(RefCell::new((usize::MAX, 0)));
    let seen = bounds.clone();
    cluster.observer = Some(Box::new(move |state| {
        let served: BTreeSet<String> = driver::active(state)
            .iter()
            .filter(|pod| pod.pod().unwrap().ready)
            .map(|pod| node_of(pod))
            .collect();
        let mut bounds = seen.borrow_mut();
        *bounds = (bounds.0.min(served.len()), bounds.1.max(driver::active(state).len()));
    }));
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert_eq!(*bounds.borrow(), (3, 4));
    assert!(images(&cluster).values().all(|images| images == &["v2"]), "{:?}", images(&cluster));
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut cluster = Cluster::new(2);
    cluster.create(DS, with(daemon_set("agent"), "/spec/updateStrategy", json!({"type": "OnDelete"})));
    cluster.work_out();
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert!(images(&cluster).values().all(|images| images == &["v1"]));
    assert_eq!(cluster.status(DS, "agent").get("updatedNumberScheduled"), None);
    let one = cluster.active()[0].clone();
    cluster.delete(Kind::POD, &one.key.name, None);
    cluster.work_out();
    assert_eq!(images(&cluster)[&node_of(&one)], ["v2"]);
    assert_eq!(cluster.status(DS, "agent")["updatedNumberScheduled"], 1);
}

fn revisions(cluster: &Cluster) -> Vec<(i64, String)> {
    let mut all: Vec<(i64, String)> = cluster
        .state
        .list(Kind::CONTROLLER_REVISION, None)
        .map(|r| {
            let rest = r.document.rest_value();
            let image = &rest["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
            (rest["revision"].as_i64().unwrap(), image.as_str().unwrap().to_string())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn each_template_is_a_revision_and_one_gone_back_to_is_the_newest() {
    let mut cluster = Cluster::new(1);
    cluster.create(DS, with(daemon_set("agent"), "/spec/revisionHistoryLimit", json!(1)));
    cluster.work_out();
    let revision = cluster.state.list(Kind::CONTROLLER_REVISION, None).next().unwrap().clone();
    let hash = revision.meta.labels[HASH].clone();
    assert_eq!(revision.key.name, format!("agent-{hash}"));
    assert_eq!(cluster.active()[0].meta.labels[HASH], hash);
    assert_eq!(revision.document.rest_value()["data"]["spec"]["template"]["$patch"], "replace");
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert_eq!(revisions(&cluster), [(1, "v1".into()), (2, "v2".into())]);
    set_image(&mut cluster, "v1");
    cluster.work_out();
    assert_eq!(revisions(&cluster), [(2, "v2".into()), (3, "v1".into())]);
    set_image(&mut cluster, "v3");
    cluster.work_out();
    assert_eq!(revisions(&cluster), [(3, "v1".into()), (4, "v3".into())], "one is kept");
    assert_eq!(cluster.active()[0].meta.labels["pod-template-generation"], "4");
}

#[test]
fn a_failed_pod_is_replaced_later_and_later() {
    let mut cluster = Cluster::new(1);
    cluster.create(DS, daemon_set("agent"));
    let mut waits = Vec::new();
    for _ in 0..4 {
        cluster.settle();
        let pod = cluster.active()[0].clone();
        let at = cluster.now_ms;
        cluster.report(&[pod], |_| (json!({"phase": "Failed"}), false));
        while cluster.active().is_empty() {
            cluster.now_ms = cluster.state.next_wake_ms().unwrap();
            cluster.settle();
        }
        waits.push((cluster.now_ms - at) / 1000);
    }
    assert_eq!(waits, [0, 1, 2, 4]);
    assert_eq!(cluster.pods().len(), 1);
    assert_eq!(cluster.events("FailedDaemonPod").len(), 4);
}

#[test]
fn pods_are_adopted_and_let_go() {
    let mut cluster = Cluster::new(1);
    let bound = with(pod("lonely", "agent"), "/spec/nodeName", json!("node-0"));
    cluster.create(Kind::POD, bound);
    cluster.create(DS, daemon_set("agent"));
    cluster.settle();
    let lonely = cluster.get(Kind::POD, "lonely");
    assert_eq!(lonely.meta.controller().unwrap().kind, "DaemonSet");
    assert!(lonely.meta.deleting(), "it is of another template");
    cluster.work_out();
    let one = cluster.active()[0].key.name.to_string();
    cluster.edit(Kind::POD, &one, |p| p["metadata"]["labels"] = json!({"debug": "yes"}));
    cluster.work_out();
    assert!(cluster.get(Kind::POD, &one).meta.owners.is_empty());
    assert_eq!(cluster.active().len(), 2);
}

#[test]
fn a_pod_is_available_when_it_was_ready_for_long_enough() {
    let mut cluster = Cluster::new(2);
    cluster.create(DS, with(daemon_set("agent"), "/spec/minReadySeconds", json!(10)));
    cluster.work();
    let status = cluster.status(DS, "agent");
    assert_eq!((&status["numberReady"], status.get("numberAvailable")), (&json!(2), None));
    cluster.advance(10);
    assert_eq!(cluster.status(DS, "agent")["numberAvailable"], 2);
}

#[test]
fn a_refused_pod_is_tried_again() {
    let mut cluster = Cluster::new(2);
    cluster.create(DS, with(daemon_set("agent"), "/spec/template/spec/serviceAccountName", json!("robot")));
    assert_eq!(cluster.pods().len(), 0);
    assert!(cluster.events("FailedCreate")[0].contains("serviceaccount \"robot\" not found"));
    cluster.create(Kind::SERVICE_ACCOUNT, json!({"metadata": {"name": "robot", "namespace": "default"}}));
    cluster.advance(10);
    assert_eq!(cluster.pods().len(), 2);
}

#[test]
fn a_full_node_is_told_of_in_the_words_of_kubernetes() {
    let mut cluster = Cluster::new(3);
    let huge = json!([{"name": "main", "image": "v1", "resources": {"requests": {"cpu": "100"}}}]);
    cluster.create(DS, with(daemon_set("agent"), "/spec/template/spec/containers", huge));
    let told = cluster.active()[0].pod().unwrap().unscheduled_message.clone().unwrap();
    assert_eq!(
        told,
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector."
    );
}

#[test]
fn a_large_one_takes_few_turns_and_is_not_counted_for_each_report() {
    let mut cluster = Cluster::new(1500);
    cluster.create(DS, daemon_set("agent"));
    cluster.settle();
    assert_eq!(cluster.active().len(), 1500);
    assert_eq!(nodes(&cluster).iter().collect::<BTreeSet<_>>().len(), 1500, "each has its own");
    cluster.advance(1);
    let before = cluster.get(DS, "agent").revision;
    // Each node reports by itself, within the same tenth of a second.
    for pod in cluster.active().iter().take(300) {
        let changes = cluster.report_ready(std::slice::from_ref(pod), true);
        assert!(changes.len() <= 3, "{changes:?}");
    }
    assert_eq!(cluster.get(DS, "agent").revision, before, "nobody counted");
    cluster.advance(1);
    assert_eq!(cluster.status(DS, "agent")["numberReady"], 300);
    // A turn stays bounded, whatever is to be done.
    cluster.observer = None;
    cluster.edit(DS, "agent", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = "100%".into()
    });
    set_image(&mut cluster, "v2");
    while let Some(at) = cluster.state.next_wake_ms() {
        cluster.now_ms = cluster.now_ms.max(at);
        let due = cluster.state.due(cluster.now_ms, 100);
        let (changes, _) = cluster.turn(Input::Wake(due));
        assert!(changes.len() <= CHANGES_LIMIT + 10, "{}", changes.len());
        if cluster.pods().iter().all(|pod| pod.meta.deleting()) {
            return;
        }
    }
    panic!("not all old pods were told to go");
}

#[test]
fn a_node_that_is_held_back_while_it_goes_keeps_its_pod() {
    let mut cluster = Cluster::new(2);
    cluster.create(DS, daemon_set("agent"));
    cluster.work_out();
    cluster.edit(Kind::NODE, "node-1", |n| n["metadata"]["finalizers"] = json!(["example.com/hold"]));
    cluster.delete(Kind::NODE, "node-1", None);
    cluster.work_out();
    assert!(cluster.get(Kind::NODE, "node-1").meta.deleting());
    assert_eq!(nodes(&cluster), ["node-0", "node-1"]);
    // It gets no new one.
    cluster.create(DS, daemon_set("late"));
    cluster.work_out();
    assert_eq!(nodes(&cluster), ["node-0", "node-0", "node-1"]);
    cluster.edit(Kind::NODE, "node-1", |n| n["metadata"]["finalizers"] = json!(["kontiki.io/pods"]));
    cluster.work_out();
    assert!(cluster.find(Kind::NODE, "node-1").is_none());
    assert_eq!(nodes(&cluster), ["node-0", "node-0"]);
}
