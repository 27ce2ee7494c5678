//! The replication controller: what is its own beside what it shares with the replica set.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key, pod, template};
use kontiki_actors::{
    Document, Input, Kind, ObjectKey, Outcome, Request,
    input::{Part, Propagation},
};
use serde_json::{Value, json};

/// One as the API hands it over.
fn controller(name: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": name}, "generation": 1}, "spec": {
        "replicas": replicas, "selector": {"app": name}, "template": template(name, "v1"),
    }, "status": {"replicas": 0}})
}

#[test]
fn it_makes_adopts_and_counts_pods() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::POD, pod("lonely", "web"));
    cluster.create(Kind::POD, pod("stranger", "other"));
    cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 2));
    let me = cluster.get(Kind::REPLICATION_CONTROLLER, "web");
    let owner = cluster.get(Kind::POD, "lonely").meta.controller().cloned().unwrap();
    assert_eq!((owner.uid.as_str(), owner.kind.as_str()), (me.meta.uid.as_str(), "ReplicationController"));
    assert_eq!(owner.api_version, "v1");
    assert!(cluster.get(Kind::POD, "stranger").meta.owners.is_empty());
    assert_eq!(cluster.active().len(), 3, "one was there already");
    cluster.work_out();
    let status = json!({"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "observedGeneration": 1});
    assert_eq!(cluster.status(Kind::REPLICATION_CONTROLLER, "web"), status);
    assert_eq!(cluster.events("SuccessfulCreate").len(), 1);
    let created = cluster.state.list(Kind::EVENT, None).find(|e| {
        let event = e.document.rest_value();
        event["reason"] == "SuccessfulCreate" && event["source"]["component"] == "replication-controller"
    });
    assert!(created.is_some());
    cluster.set_replicas(Kind::REPLICATION_CONTROLLER, "web", 1);
    cluster.work_out();
    assert_eq!(cluster.active().len(), 2);
    assert_eq!(cluster.status(Kind::REPLICATION_CONTROLLER, "web")["observedGeneration"], 2);
    assert_eq!(cluster.events("SuccessfulDelete").len(), 1);
}

#[test]
fn it_lets_go_of_what_does_not_match_and_takes_what_comes_to_match() {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 1));
    cluster.work_out();
    let one = cluster.active()[0].key.name.to_string();
    cluster.edit(Kind::POD, &one, |p| p["metadata"]["labels"] = json!({"app": "debug"}));
    assert!(cluster.get(Kind::POD, &one).meta.owners.is_empty());
    assert_eq!(cluster.active().len(), 2);
    cluster.edit(Kind::POD, &one, |p| p["metadata"]["labels"] = json!({"app": "web"}));
    cluster.work_out();
    assert_eq!(cluster.active().len(), 1, "one too many was deleted");
}

#[test]
fn pods_that_a_quota_refuses_are_said_until_fewer_are_asked_for() {
    let mut cluster = Cluster::new(1);
    let quota = json!({"metadata": {"name": "two", "namespace": "default"}, "spec": {"hard": {"pods": "2"}}});
    cluster.create(Kind::RESOURCE_QUOTA, quota);
    cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 3));
    let failure =
        |cluster: &Cluster| cluster.condition(Kind::REPLICATION_CONTROLLER, "web", "ReplicaFailure");
    assert_eq!(failure(&cluster), Some(("True".into(), "FailedCreate".into())));
    assert_eq!(cluster.active().len(), 2);
    cluster.set_replicas(Kind::REPLICATION_CONTROLLER, "web", 2);
    cluster.advance(30);
    assert_eq!(failure(&cluster), None);
    assert_eq!(cluster.active().len(), 2);
}

#[test]
fn its_pods_stay_or_go_with_it_as_asked() {
    for (propagation, left) in [(Propagation::Orphan, 2), (Propagation::Background, 0)] {
        let mut cluster = Cluster::new(2);
        cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 2));
        cluster.work_out();
        cluster.delete(Kind::REPLICATION_CONTROLLER, "web", Some(propagation));
        cluster.work_out();
        assert!(cluster.find(Kind::REPLICATION_CONTROLLER, "web").is_none());
        assert_eq!(cluster.active().len(), left, "{propagation:?}");
        assert!(cluster.active().iter().all(|pod| pod.meta.owners.is_empty()));
    }
}

#[test]
fn those_that_were_stored_while_nothing_ran_them_begin_with_the_next_term() {
    let mut cluster = Cluster::new(1);
    let at = key(Kind::REPLICATION_CONTROLLER, "web");
    cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 0));
    // As a build without its actor left it.
    let mut old = cluster.state.clone();
    let mut document = controller("web", 2);
    document["metadata"]["uid"] = cluster.get(Kind::REPLICATION_CONTROLLER, "web").meta.uid.as_str().into();
    let before = old.get(&at).unwrap().document.whole();
    let change = kontiki_actors::Change::between(at, Some(&before), &Document::from_value(document)).unwrap();
    old.apply(&change);
    cluster.state = old.clone();
    cluster.follower = old;
    cluster.decide(Input::Bootstrap(Vec::new()));
    assert_eq!(cluster.active().len(), 2);
}

#[test]
fn a_client_that_writes_a_status_is_answered_with_it_before_the_actor_has_its_say() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::REPLICATION_CONTROLLER, controller("web", 1));
    cluster.work_out();
    let at: ObjectKey = key(Kind::REPLICATION_CONTROLLER, "web");
    let mut told = cluster.get(Kind::REPLICATION_CONTROLLER, "web").document.to_value();
    told["status"]["readyReplicas"] = 0.into();
    let request = Request::Update {
        key: at.clone(),
        document: Document::from_value(told),
        part: Part::Status,
        revision: None,
        uid: None,
        dry_run: false,
    };
    let (_, outcome) = cluster.decide(Input::Api(request));
    let Outcome::Object { revision, document: Some(document), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(document.status_value()["readyReplicas"], 0);
    let now = cluster.get(Kind::REPLICATION_CONTROLLER, "web");
    assert!(revision < now.revision, "{revision} {}", now.revision);
    assert_eq!(now.document.status_value()["readyReplicas"], 1);
}
