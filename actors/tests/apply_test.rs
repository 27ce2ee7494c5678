//! From apply to placement: the whole cascade is one decision.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment, words};
use kontiki_actors::{
    Kind,
    input::{Input, Note, PodReport},
};
use serde_json::json;

#[test]
fn a_deployment_its_pods_and_their_places_are_one_entry() {
    let mut cluster = Cluster::new(3);
    let turns = cluster.turns;
    let changes = cluster.create(Kind::DEPLOYMENT, deployment("web", 3));
    assert_eq!(cluster.turns, turns + 2, "one that makes them, one that places them");
    let expected: Vec<&str> = [
        vec!["put Deployment", "put ReplicaSet", "put Event", "put Deployment", "put Deployment"],
        ["put Pod", "put Event"].repeat(3),
        vec!["put ReplicaSet", "put Deployment", "wake Deployment"],
    ]
    .concat();
    let expected_after: Vec<&str> = ["put Pod", "put Event"].repeat(3);
    let events = vec!["wake Event"; 7];
    let got = words(&changes);
    assert_eq!(got[..expected.len()], expected);
    let rest: Vec<&str> = got[expected.len()..].iter().map(String::as_str).collect();
    let (placing, waking): (Vec<&str>, Vec<&str>) = rest.into_iter().partition(|w| w.starts_with("put"));
    assert_eq!(placing, expected_after);
    assert_eq!(waking, events, "each event is to go after its time");

    let sets = cluster.replica_sets();
    let [set] = sets.as_slice() else { panic!("one set") };
    let hash = set.meta.labels["pod-template-hash"].to_string();
    assert_eq!(set.key.name, format!("web-{hash}"));
    assert_eq!(
        set.document.spec_value()["selector"]["matchLabels"],
        json!({"app": "web", "pod-template-hash": hash})
    );
    for (annotation, value) in [("revision", "1"), ("desired-replicas", "3"), ("max-replicas", "4")] {
        assert_eq!(set.meta.annotations[format!("deployment.kubernetes.io/{annotation}").as_str()], value);
    }
    let mut nodes = Vec::new();
    for pod in cluster.pods() {
        let suffix = pod.key.name.strip_prefix(&format!("web-{hash}-")).unwrap();
        assert_eq!(suffix.len(), 5);
        let metadata = pod.document.metadata_value();
        assert_eq!(metadata["generateName"], format!("web-{hash}-"));
        assert_eq!(
            metadata["ownerReferences"],
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set.key.name, "uid": set.meta.uid,
                "controller": true, "blockOwnerDeletion": true}])
        );
        assert_eq!(pod.meta.labels["app"], "web");
        let spec = pod.document.spec_value();
        assert_eq!(
            (&spec["serviceAccountName"], &spec["serviceAccount"]),
            (&json!("default"), &json!("default"))
        );
        assert_eq!(pod.document.status_value()["qosClass"], "BestEffort");
        nodes.push(pod.pod().unwrap().node.clone().unwrap());
    }
    nodes.sort();
    assert_eq!(nodes, ["node-0", "node-1", "node-2"]);
    assert_eq!(
        cluster.events("ScalingReplicaSet"),
        [format!("Scaled up replica set web-{hash} from 0 to 3")]
    );
    assert_eq!(cluster.events("SuccessfulCreate").len(), 3);
    let status = cluster.status(Kind::DEPLOYMENT, "web");
    assert_eq!(
        (&status["observedGeneration"], &status["replicas"], &status["unavailableReplicas"]),
        (&json!(1), &json!(3), &json!(3))
    );
    assert_eq!(cluster.get(Kind::DEPLOYMENT, "web").meta.generation, 1);
    cluster.assert_replicas_agree();
}

#[test]
fn ready_pods_complete_it_and_nothing_more_is_said() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 3));
    cluster.work_out();
    let status = cluster.status(Kind::DEPLOYMENT, "web");
    for counter in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[counter], 3, "{counter}");
    }
    assert!(status.get("unavailableReplicas").is_none());
    let condition = |name| cluster.condition(Kind::DEPLOYMENT, "web", name).unwrap();
    assert_eq!(condition("Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition("Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(cluster.state.wake_of(&driver::key(Kind::DEPLOYMENT, "web")), None);
    let pods = cluster.pods();
    assert_eq!(cluster.report_ready(&pods, true), [], "the same report again changes nothing");
}

#[test]
fn events_go_after_an_hour() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 1));
    cluster.work_out();
    assert!(!cluster.events("ScalingReplicaSet").is_empty());
    cluster.advance(3599);
    assert!(!cluster.events("ScalingReplicaSet").is_empty());
    cluster.advance(2);
    assert_eq!(cluster.state.list(Kind::EVENT, None).count(), 0);
}

#[test]
fn events_stand_in_the_order_in_which_they_happened_and_repetitions_count_up() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::POD, driver::pod("p", "web"));
    let pod = cluster.get(Kind::POD, "p");
    let note = |reason: &str| Note {
        r#type: "Normal".into(),
        reason: reason.into(),
        message: format!("it was {reason}"),
        field_path: Default::default(),
        time_ms: cluster.now_ms,
    };
    let report = |reasons: &[&str]| {
        Input::Reports(vec![PodReport {
            node: "node-0".into(),
            uid: pod.meta.uid.clone(),
            namespace: pod.key.namespace.clone(),
            name: pod.key.name.clone(),
            status: Default::default(),
            gone: false,
            events: reasons.iter().map(|reason| note(reason)).collect(),
        }])
    };
    let (first, again) = (report(&["Pulled", "Created", "Started"]), report(&["Created"]));
    cluster.decide(first);
    cluster.decide(again);
    let events: Vec<_> = cluster
        .state
        .list(Kind::EVENT, None)
        .map(|event| event.document.rest_value())
        .filter(|event| event["involvedObject"]["name"] == "p")
        .map(|event| (event["reason"].as_str().unwrap().to_string(), event["count"].as_i64().unwrap()))
        .collect();
    let expected = [("Scheduled", 1), ("Pulled", 1), ("Created", 2), ("Started", 1)];
    assert_eq!(events, expected.map(|(reason, count)| (reason.to_string(), count)));
}
