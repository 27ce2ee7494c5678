//! The stateful set: identities, order, updates, claims; and never two pods of one identity.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use driver::{Cluster, key, pod, template};
use kontiki_actors::{
    Input, Kind, Object, Request, State,
    input::{DeleteOptions, Life, Propagation},
};
use serde_json::{Value, json};

const STS: Kind = Kind::STATEFUL_SET;
const PVC: Kind = Kind::PERSISTENT_VOLUME_CLAIM;

fn set(replicas: i64, spec: &Value) -> Value {
    let mut all = json!({"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": template("db", "v1"), "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}});
    for (field, value) in spec.as_object().unwrap() {
        all[field] = value.clone();
    }
    json!({"metadata": {"name": "db", "namespace": "default"}, "spec": all})
}

fn names(cluster: &Cluster) -> Vec<String> {
    cluster.pods().iter().map(|pod| pod.key.name.to_string()).collect()
}

fn image(pod: &Object) -> String {
    pod.document.spec_value()["containers"][0]["image"].as_str().unwrap().to_string()
}

fn images(cluster: &Cluster) -> Vec<String> {
    cluster.pods().iter().map(|pod| image(pod)).collect()
}

fn ready(cluster: &mut Cluster, name: &str) {
    let pod = cluster.get(Kind::POD, name);
    cluster.report_ready(&[pod], true);
    cluster.settle();
}

fn gone(cluster: &mut Cluster, name: &str) {
    let pod = cluster.get(Kind::POD, name);
    assert!(pod.meta.deleting(), "{name} was not told to leave");
    cluster.report(&[pod], |_| (Value::Null, true));
    cluster.settle();
}

fn set_image(cluster: &mut Cluster, image: &str) {
    cluster.edit(STS, "db", |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into());
    cluster.settle();
}

fn leaving(state: &State) -> Vec<String> {
    let pods = state.list(Kind::POD, None).filter(|pod| pod.meta.deleting());
    pods.map(|pod| pod.key.name.to_string()).collect()
}

#[test]
fn pods_come_in_order_each_when_those_before_are_ready() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(3, &json!({})));
    assert_eq!(names(&cluster), ["db-0"]);
    ready(&mut cluster, "db-0");
    assert_eq!(names(&cluster), ["db-0", "db-1"]);
    ready(&mut cluster, "db-1");
    ready(&mut cluster, "db-2");
    let pod = cluster.get(Kind::POD, "db-1");
    let labels = |name: &str| pod.meta.labels[name].to_string();
    assert_eq!(labels("statefulset.kubernetes.io/pod-name"), "db-1");
    assert_eq!(labels("apps.kubernetes.io/pod-index"), "1");
    let spec = pod.document.spec_value();
    assert_eq!((&spec["hostname"], &spec["subdomain"]), (&json!("db-1"), &json!("db")));
    let status = cluster.status(STS, "db");
    let revision = status["currentRevision"].as_str().unwrap().to_string();
    assert_eq!(labels("controller-revision-hash"), revision, "the whole name, other than with daemon sets");
    assert_eq!(
        status,
        json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3,
            "updatedReplicas": 3, "currentRevision": revision, "updateRevision": revision, "collisionCount": 0})
    );
    assert_eq!(cluster.events("SuccessfulCreate")[0], "create Pod db-0 in StatefulSet db successful");
}

#[test]
fn in_parallel_all_come_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(3, &json!({"podManagementPolicy": "Parallel"})));
    assert_eq!(names(&cluster), ["db-0", "db-1", "db-2"]);
    cluster.set_replicas(STS, "db", 1);
    assert_eq!(cluster.active().len(), 1);
}

#[test]
fn a_smaller_set_loses_the_highest_one_by_one() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(3, &json!({})));
    cluster.work_out();
    cluster.set_replicas(STS, "db", 1);
    cluster.settle();
    assert_eq!(leaving(&cluster.state), ["db-2"]);
    gone(&mut cluster, "db-2");
    assert_eq!(leaving(&cluster.state), ["db-1"]);
    gone(&mut cluster, "db-1");
    assert_eq!(names(&cluster), ["db-0"]);
}

#[test]
fn ordinals_may_start_anywhere() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(2, &json!({"ordinals": {"start": 5}})));
    cluster.work_out();
    assert_eq!(names(&cluster), ["db-5", "db-6"]);
    cluster.edit(STS, "db", |set| set["spec"]["ordinals"]["start"] = 6.into());
    cluster.work_out();
    assert_eq!(names(&cluster), ["db-6", "db-7"]);
}

#[test]
fn an_update_goes_from_the_last_to_the_first_one_at_a_time() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(3, &json!({})));
    cluster.work_out();
    let before = cluster.status(STS, "db")["currentRevision"].clone();
    set_image(&mut cluster, "v2");
    assert_eq!(leaving(&cluster.state), ["db-2"]);
    gone(&mut cluster, "db-2");
    assert_eq!((images(&cluster).join(" "), leaving(&cluster.state).len()), ("v1 v1 v2".to_string(), 0));
    let status = cluster.status(STS, "db");
    assert_eq!(
        (&status["currentRevision"], &status["updatedReplicas"], &status["currentReplicas"]),
        (&before, &json!(1), &json!(2))
    );
    assert_ne!(status["updateRevision"], before);
    ready(&mut cluster, "db-2");
    assert_eq!(leaving(&cluster.state), ["db-1"]);
    cluster.work_out();
    assert_eq!(images(&cluster), ["v2", "v2", "v2"]);
    let status = cluster.status(STS, "db");
    assert_eq!(
        (&status["currentRevision"], &status["currentReplicas"]),
        (&status["updateRevision"], &json!(3))
    );
}

#[test]
fn the_partition_keeps_the_former_template_below_it() {
    let mut cluster = Cluster::new(3);
    cluster.create(
        STS,
        set(3, &json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}})),
    );
    cluster.work_out();
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert_eq!(images(&cluster), ["v1", "v1", "v2"]);
    cluster.delete(Kind::POD, "db-0", None);
    cluster.work_out();
    assert_eq!(images(&cluster), ["v1", "v1", "v2"], "who comes back below it is of the former template");
    cluster.edit(STS, "db", |set| set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into());
    cluster.work_out();
    assert_eq!(images(&cluster), ["v2", "v2", "v2"]);
}

#[test]
fn several_may_be_missing_in_an_update() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(5, &json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}}})));
    cluster.work_out();
    set_image(&mut cluster, "v2");
    assert_eq!(leaving(&cluster.state), ["db-3", "db-4"]);
    let most = Rc::new(RefCell::new(0));
    let seen = most.clone();
    cluster.observer = Some(Box::new(move |state| {
        let ready = driver::active(state).iter().filter(|pod| pod.pod().unwrap().ready).count();
        let mut most = seen.borrow_mut();
        *most = (5 - ready).max(*most);
    }));
    cluster.work_out();
    assert_eq!((*most.borrow(), images(&cluster).iter().all(|image| image == "v2")), (2, true));
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(2, &json!({"updateStrategy": {"type": "OnDelete"}})));
    cluster.work_out();
    set_image(&mut cluster, "v2");
    cluster.work_out();
    assert_eq!(images(&cluster), ["v1", "v1"]);
    cluster.delete(Kind::POD, "db-0", None);
    cluster.work_out();
    assert_eq!(images(&cluster), ["v2", "v1"]);
}

#[test]
fn an_update_gone_back_on_is_the_revision_that_was() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(2, &json!({})));
    cluster.work_out();
    let first = cluster.status(STS, "db")["currentRevision"].clone();
    set_image(&mut cluster, "v2");
    gone(&mut cluster, "db-1");
    set_image(&mut cluster, "v1");
    cluster.work_out();
    let status = cluster.status(STS, "db");
    assert_eq!(
        (&status["updateRevision"], &status["currentRevision"], images(&cluster).join(" ")),
        (&first, &first, "v1 v1".into())
    );
    let numbers: Vec<i64> = cluster
        .state
        .list(Kind::CONTROLLER_REVISION, None)
        .map(|r| r.document.rest_value()["revision"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers.iter().max(), Some(&3));
}

/// Whatever happens to nodes and pods: a pod of an identity comes only when the one before it is gone for certain.
#[test]
fn there_are_never_two_of_one_identity() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(2, &json!({"podManagementPolicy": "Parallel"})));
    cluster.work_out();
    let lost = cluster.get(Kind::POD, "db-1");
    let node = lost.pod().unwrap().node.clone().unwrap();
    cluster.verdicts(&[&node], Life::Down);
    cluster.advance(3600);
    let there = cluster.get(Kind::POD, "db-1");
    assert_eq!(
        (&there.meta.uid, there.meta.deleting()),
        (&lost.meta.uid, true),
        "it may run on: nobody knows"
    );
    assert_eq!(cluster.status(STS, "db")["readyReplicas"], 1);
    // Its worker comes back and says that nothing of it runs.
    cluster.hello(&node);
    assert_eq!(cluster.get(Kind::POD, "db-1").meta.uid, lost.meta.uid);
    gone(&mut cluster, "db-1");
    let next = cluster.get(Kind::POD, "db-1");
    assert_ne!(next.meta.uid, lost.meta.uid);
    assert_eq!(
        next.meta.controller().unwrap().kind,
        "StatefulSet",
        "by which its worker knows that it must never run twice"
    );
    // Or somebody says that the node is gone.
    cluster.work_out();
    let node = cluster.get(Kind::POD, "db-1").pod().unwrap().node.clone().unwrap();
    cluster.verdicts(&[&node], Life::Down);
    cluster.settle();
    cluster.delete(Kind::NODE, &node, None);
    cluster.settle();
    assert_ne!(cluster.get(Kind::POD, "db-1").meta.uid, next.meta.uid);
}

#[test]
fn a_pod_that_ended_comes_back() {
    let mut cluster = Cluster::new(1);
    cluster.create(STS, set(1, &json!({})));
    for (phase, reason) in [("Failed", "RecreatingFailedPod"), ("Succeeded", "RecreatingTerminatedPod")] {
        let pod = cluster.get(Kind::POD, "db-0");
        cluster.report(std::slice::from_ref(&pod), |_| (json!({"phase": phase}), false));
        cluster.settle();
        assert_ne!(cluster.get(Kind::POD, "db-0").meta.uid, pod.meta.uid);
        assert_eq!(cluster.events(reason).len(), 1);
    }
}

/// Several may end at once, with their worker: none of them is waited for.
#[test]
fn who_has_ended_and_is_too_many_goes() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(4, &json!({})));
    cluster.work_out();
    cluster.report_ready(&cluster.active(), false);
    cluster.settle();
    cluster.set_replicas(STS, "db", 1);
    cluster.settle();
    assert_eq!(leaving(&cluster.state), Vec::<String>::new(), "the first is not well");
    let beyond = ["db-1", "db-2", "db-3"].map(|name| cluster.get(Kind::POD, name));
    cluster.report(&beyond, |_| (json!({"phase": "Failed"}), false));
    cluster.settle();
    ready(&mut cluster, "db-0");
    assert_eq!(names(&cluster), ["db-0"]);
}

#[test]
fn a_name_that_somebody_else_has_is_waited_for() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::POD, pod("db-0", "other"));
    cluster.create(Kind::POD, pod("stranger-0", "db"));
    cluster.create(STS, set(1, &json!({})));
    assert_eq!(
        cluster.events("FailedCreate"),
        ["create Pod db-0 in StatefulSet db failed error: pods \"db-0\" already exists"]
    );
    assert!(cluster.get(Kind::POD, "stranger-0").meta.owners.is_empty(), "no name of its own");
    let request = Request::Delete {
        key: key(Kind::POD, "db-0"),
        options: DeleteOptions { grace_s: Some(0), ..DeleteOptions::default() },
        dry_run: false,
    };
    cluster.decide(Input::Api(request));
    cluster.advance(10);
    assert_eq!(cluster.get(Kind::POD, "db-0").meta.controller().unwrap().name, "db");
}

fn with_claims(when_deleted: &str, when_scaled: &str) -> Value {
    json!({"volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"tier": "disk"}}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when_deleted, "whenScaled": when_scaled}})
}

/// Somebody makes the volume that a claim waits for.
fn bind(cluster: &mut Cluster, claim: &str) {
    cluster.create(
        Kind::PERSISTENT_VOLUME,
        json!({"metadata": {"name": format!("of-{claim}")}, "status": {"phase": "Pending"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/srv"},
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "default", "name": claim}}}),
    );
    cluster.settle();
}

#[test]
fn pods_with_claims_wait_for_them_and_say_so() {
    let mut cluster = Cluster::new(3);
    cluster.create(STS, set(2, &with_claims("Retain", "Retain")));
    let claim = cluster.get(PVC, "data-db-0");
    assert_eq!((claim.meta.labels["app"].as_str(), claim.meta.labels["tier"].as_str()), ("db", "disk"));
    assert_eq!(claim.document.spec_value()["resources"]["requests"]["storage"], "1Gi");
    let pod = cluster.get(Kind::POD, "db-0");
    assert_eq!(
        pod.document.spec_value()["volumes"][0],
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}})
    );
    let told = pod.pod().unwrap().unscheduled_message.clone().unwrap();
    assert_eq!(told, "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    bind(&mut cluster, "data-db-0");
    assert!(cluster.get(Kind::POD, "db-0").pod().unwrap().node.is_some());
    assert_eq!(
        cluster.events("SuccessfulCreate")[0],
        "create Claim data-db-0 Pod db-0 in StatefulSet db success"
    );
    let lone = json!({"metadata": {"name": "lone", "namespace": "default"}, "spec": {
        "containers": [{"name": "main"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "nothing"}}]},
        "status": {"phase": "Pending"}});
    cluster.create(Kind::POD, lone);
    let told = cluster.get(Kind::POD, "lone").pod().unwrap().unscheduled_message.clone().unwrap();
    assert_eq!(told, "0/3 nodes are available: persistentvolumeclaim \"nothing\" not found.");
}

fn claims(cluster: &Cluster) -> Vec<String> {
    cluster.state.list(PVC, None).map(|claim| claim.key.name.to_string()).collect()
}

fn owner(cluster: &Cluster, claim: &str) -> Vec<String> {
    cluster.get(PVC, claim).meta.owners.iter().map(|owner| owner.kind.to_string()).collect()
}

#[test]
fn claims_stay_or_go_as_the_set_says() {
    for (when_deleted, when_scaled, after_scale, after_deletion) in [
        ("Retain", "Retain", 2, 2),
        ("Delete", "Retain", 2, 0),
        ("Retain", "Delete", 1, 1),
        ("Delete", "Delete", 1, 0),
    ] {
        let case = format!("{when_deleted} {when_scaled}");
        let mut cluster = Cluster::new(3);
        cluster.create(STS, set(2, &with_claims(when_deleted, when_scaled)));
        bind(&mut cluster, "data-db-0");
        cluster.work_out();
        bind(&mut cluster, "data-db-1");
        cluster.work_out();
        let held = if when_deleted == "Delete" { vec!["StatefulSet"] } else { vec![] };
        assert_eq!(owner(&cluster, "data-db-1"), held, "{case}");
        cluster.set_replicas(STS, "db", 1);
        cluster.settle();
        if when_scaled == "Delete" {
            assert_eq!(owner(&cluster, "data-db-1"), ["Pod"], "{case}");
        }
        cluster.work_out();
        assert_eq!(claims(&cluster).len(), after_scale, "{case}");
        cluster.delete(STS, "db", Some(Propagation::Background));
        cluster.work_out();
        assert_eq!((claims(&cluster).len(), cluster.pods().len()), (after_deletion, 0), "{case}");
    }
}

#[test]
fn a_pod_is_waited_for_until_it_was_ready_for_long_enough() {
    let mut cluster = Cluster::new(2);
    cluster.create(STS, set(2, &json!({"minReadySeconds": 10})));
    ready(&mut cluster, "db-0");
    assert_eq!(names(&cluster), ["db-0"]);
    cluster.advance(10);
    assert_eq!(names(&cluster), ["db-0", "db-1"]);
    assert_eq!(cluster.status(STS, "db")["availableReplicas"], 1);
}

#[test]
fn who_is_adopted_gets_its_labels() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::POD, pod("db-0", "db"));
    cluster.create(STS, set(1, &json!({"updateStrategy": {"type": "OnDelete"}})));
    cluster.settle();
    let one: Arc<Object> = cluster.get(Kind::POD, "db-0");
    assert_eq!(one.meta.controller().unwrap().name, "db");
    ready(&mut cluster, "db-0");
    let one = cluster.get(Kind::POD, "db-0");
    assert_eq!(one.meta.labels["apps.kubernetes.io/pod-index"], "0");
}

#[test]
fn the_first_refusal_ends_a_turn_and_is_tried_again_later() {
    let claims = with_claims("Retain", "Retain");
    for (resource, spec) in [("pods", json!({})), ("persistentvolumeclaims", claims)] {
        let mut cluster = Cluster::new(3);
        let quota =
            json!({"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {resource: "10"}}});
        cluster.create(Kind::RESOURCE_QUOTA, quota);
        let mut set = set(600, &spec);
        set["spec"]["podManagementPolicy"] = "Parallel".into();
        cluster.create(STS, set);
        cluster.settle();
        assert_eq!(cluster.pods().len(), 10, "{resource}");
        assert_eq!(cluster.state.wake_of(&key(STS, "db")), Some(cluster.now_ms + 10_000), "{resource}");
        let events = cluster.events("FailedCreate");
        assert!(events.iter().all(|event| event.contains("Pod db-10 in")), "{resource}: {events:?}");
        cluster.edit(Kind::RESOURCE_QUOTA, "q", |quota| quota["spec"]["hard"][resource] = "600".into());
        cluster.advance(60);
        assert_eq!(cluster.pods().len(), 600, "{resource}");
    }
}

#[test]
fn a_pod_that_its_node_refuses_is_made_anew_until_it_is_taken() {
    let mut cluster = Cluster::new(1);
    let conflict = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]);
    let mut guest = pod("guest", "other");
    guest["spec"]["nodeName"] = "node-0".into();
    guest["spec"]["containers"][0]["ports"] = conflict.clone();
    cluster.create(Kind::POD, guest);
    let mut template = template("db", "v1");
    template["spec"]["nodeName"] = "node-0".into();
    template["spec"]["containers"][0]["ports"] = conflict;
    cluster.create(STS, set(1, &json!({"template": template})));
    let first = cluster.get(Kind::POD, "db-0");
    assert_eq!(cluster.status(Kind::POD, "db-0")["reason"], "NodePorts");
    // Not at once: it would be refused as soon, for ever in the same turn.
    cluster.advance(9);
    assert_eq!(cluster.get(Kind::POD, "db-0").meta.uid, first.meta.uid);
    cluster.advance(2);
    assert_ne!(cluster.get(Kind::POD, "db-0").meta.uid, first.meta.uid);
    assert_eq!(cluster.status(Kind::POD, "db-0")["phase"], "Failed");
    assert_eq!(
        cluster.events("RecreatingFailedPod"),
        ["StatefulSet default/db is recreating failed Pod db-0"]
    );
    cluster.delete(Kind::POD, "guest", None);
    cluster.work_out();
    cluster.advance(11);
    cluster.work_out();
    assert_eq!(cluster.status(Kind::POD, "db-0")["phase"], "Running");
}
