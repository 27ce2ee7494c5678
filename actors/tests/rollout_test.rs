//! Rollouts, step by step: what each round of the workers lets happen.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment, key, time};
use kontiki_actors::{Document, Input, Kind, Request, input::Part};
use serde_json::{Value, json};

fn progressing(cluster: &Cluster) -> (String, String) {
    cluster.condition(Kind::DEPLOYMENT, "web", "Progressing").unwrap()
}

fn started(replicas: i64) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::DEPLOYMENT, deployment("web", replicas));
    cluster.work_out();
    cluster
}

#[test]
fn a_rolling_update_goes_as_far_as_its_bounds_allow() {
    let mut cluster = started(4);
    cluster.set_image("web", "v2");
    // Surge 1, unavailable 1: one old pod goes at once, two new ones come.
    assert_eq!(cluster.sizes(), [3, 2]);
    assert_eq!(progressing(&cluster), ("True".into(), "ReplicaSetUpdated".into()));
    let mut steps = vec![cluster.sizes()];
    while cluster.work() {
        steps.push(cluster.sizes());
    }
    steps.dedup();
    assert_eq!(steps, [vec![3, 2], vec![1, 4], vec![0, 4]]);
    assert_eq!(progressing(&cluster), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(
        cluster.get(Kind::DEPLOYMENT, "web").meta.annotations["deployment.kubernetes.io/revision"],
        "2"
    );
    let names: Vec<_> = cluster.replica_sets().iter().map(|s| s.key.name.to_string()).collect();
    assert_eq!(
        cluster.events("ScalingReplicaSet"),
        [
            format!("Scaled up replica set {} from 0 to 4", names[0]),
            format!("Scaled up replica set {} from 0 to 1", names[1]),
            format!("Scaled down replica set {} from 4 to 3", names[0]),
            format!("Scaled up replica set {} from 1 to 2", names[1]),
            format!("Scaled down replica set {} from 3 to 1", names[0]),
            format!("Scaled up replica set {} from 2 to 4", names[1]),
            format!("Scaled down replica set {} from 1 to 0", names[0]),
        ]
    );
}

#[test]
fn going_back_uses_the_old_set_again_under_a_new_revision() {
    let mut cluster = started(2);
    let first = cluster.replica_sets()[0].key.name.clone();
    cluster.set_image("web", "v2");
    cluster.work_out();
    cluster.set_image("web", "v1");
    cluster.work_out();
    let sets = cluster.replica_sets();
    assert_eq!(sets.len(), 2);
    assert_eq!(sets[1].key.name, first);
    assert_eq!(sets[1].replica_set().unwrap().replicas, 2);
    assert_eq!(sets[1].meta.annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(sets[1].meta.annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(
        cluster.get(Kind::DEPLOYMENT, "web").meta.annotations["deployment.kubernetes.io/revision"],
        "3"
    );
    assert!(cluster.active().iter().all(|p| p.key.name.starts_with(first.as_str())));
}

#[test]
fn the_change_cause_is_kept_with_the_set() {
    let mut cluster = started(1);
    cluster.edit(Kind::DEPLOYMENT, "web", |d| {
        d["metadata"]["annotations"]["kubernetes.io/change-cause"] = "because".into();
        d["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}".into();
    });
    let annotations = &cluster.replica_sets()[0].meta.annotations;
    assert_eq!(annotations["kubernetes.io/change-cause"], "because");
    assert!(!annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
}

#[test]
fn old_sets_beyond_the_limit_go() {
    let mut cluster = Cluster::new(1);
    let mut web = deployment("web", 1);
    web["spec"]["revisionHistoryLimit"] = 2.into();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    for version in 2..=5 {
        cluster.set_image("web", &format!("v{version}"));
        cluster.work_out();
    }
    let revision =
        |set: &kontiki_actors::Object| set.meta.annotations["deployment.kubernetes.io/revision"].clone();
    let revisions: Vec<_> = cluster.replica_sets().iter().map(|s| revision(s)).collect();
    assert_eq!(revisions, ["3", "4", "5"]);
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let mut cluster = Cluster::new(2);
    let mut web = deployment("web", 2);
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    cluster.set_image("web", "v2");
    assert_eq!(cluster.sizes(), [0]);
    assert_eq!((cluster.pods().len(), cluster.active().len()), (2, 0));
    let leaving = cluster.pods();
    cluster.report(&leaving[..1], |_| (Value::Null, true));
    assert_eq!(cluster.sizes(), [0], "one of them still runs");
    cluster.report(&leaving[1..], |_| (Value::Null, true));
    assert_eq!(cluster.sizes(), [0, 2]);
    assert_eq!(cluster.active().len(), 2);
    cluster.work_out();
    assert_eq!(progressing(&cluster).1, "NewReplicaSetAvailable");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let mut cluster = started(2);
    cluster.edit(Kind::DEPLOYMENT, "web", |d| d["spec"]["paused"] = true.into());
    assert_eq!(progressing(&cluster), ("Unknown".into(), "DeploymentPaused".into()));
    cluster.set_image("web", "v2");
    assert_eq!(cluster.sizes(), [2]);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 5);
    cluster.work_out();
    assert_eq!(cluster.sizes(), [5]);
    let observed = cluster.status(Kind::DEPLOYMENT, "web")["observedGeneration"].as_i64();
    assert_eq!(observed, Some(cluster.get(Kind::DEPLOYMENT, "web").meta.generation));
    cluster.edit(Kind::DEPLOYMENT, "web", |d| d["spec"]["paused"] = false.into());
    cluster.work_out();
    assert_eq!(cluster.sizes(), [0, 5]);
    assert_eq!(progressing(&cluster), ("True".into(), "NewReplicaSetAvailable".into()));
}

#[test]
fn without_progress_the_deadline_is_said_once_and_progress_takes_it_back() {
    let mut cluster = Cluster::new(1);
    let mut web = deployment("web", 1);
    web["spec"]["progressDeadlineSeconds"] = 60.into();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.settle();
    cluster.advance(59);
    assert_eq!(progressing(&cluster).0, "True");
    cluster.advance(3);
    assert_eq!(progressing(&cluster), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert_eq!(cluster.state.wake_of(&key(Kind::DEPLOYMENT, "web")), None);
    cluster.work_out();
    assert_eq!(progressing(&cluster), ("True".into(), "NewReplicaSetAvailable".into()));
}

#[test]
fn a_condition_keeps_its_transition_time_while_its_value_stands() {
    let mut cluster = started(3);
    let find = |cluster: &Cluster| {
        let status = cluster.status(Kind::DEPLOYMENT, "web");
        let list = status["conditions"].as_array().unwrap().clone();
        list.into_iter().find(|c| c["type"] == "Progressing").unwrap()
    };
    let before = find(&cluster);
    cluster.advance(100);
    cluster.set_image("web", "v2");
    cluster.work();
    let after = find(&cluster);
    assert_eq!(before["lastTransitionTime"], after["lastTransitionTime"]);
    assert_eq!(time(&after["lastUpdateTime"]) - time(&before["lastUpdateTime"]), 100_000);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_shared_in_proportion() {
    let mut cluster = Cluster::new(3);
    let mut web = deployment("web", 10);
    web["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 3, "maxUnavailable": 2});
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    cluster.set_image("web", "broken");
    assert_eq!(cluster.sizes(), [8, 5]);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 15);
    // 18 in all: 8 and 5 of 13 become 11 and 7.
    assert_eq!(cluster.sizes(), [11, 7]);
    for set in cluster.replica_sets() {
        assert_eq!(set.meta.annotations["deployment.kubernetes.io/desired-replicas"], "15");
        assert_eq!(set.meta.annotations["deployment.kubernetes.io/max-replicas"], "18");
    }
    cluster.work_out();
    assert_eq!(cluster.sizes(), [0, 15]);
}

#[test]
fn old_pods_that_do_not_work_go_first() {
    let mut cluster = started(4);
    let broken = cluster.active()[2].clone();
    cluster.report_ready(std::slice::from_ref(&broken), false);
    cluster.set_image("web", "v2");
    assert!(cluster.get(Kind::POD, &broken.key.name).meta.deleting());
    assert_eq!(
        cluster.active().iter().filter(|p| p.pod().unwrap().ready).count(),
        3,
        "no working pod was touched"
    );
}

#[test]
fn a_second_change_in_the_middle_of_a_rollout_leaves_both_old_sets() {
    let mut cluster = started(4);
    cluster.set_image("web", "broken");
    cluster.set_image("web", "v3");
    assert_eq!(cluster.replica_sets().len(), 3);
    cluster.work_out();
    assert_eq!(cluster.sizes(), [0, 0, 4]);
    assert!(cluster.active().iter().all(|p| p.document.spec_value()["containers"][0]["image"] == "v3"));
}

#[test]
fn min_ready_seconds_hold_the_rollout_until_they_are_over() {
    let mut cluster = Cluster::new(1);
    let mut web = deployment("web", 1);
    web["spec"]["minReadySeconds"] = 30.into();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster.work_out();
    assert_eq!(cluster.status(Kind::DEPLOYMENT, "web")["readyReplicas"], 1);
    assert!(cluster.status(Kind::DEPLOYMENT, "web").get("availableReplicas").is_none());
    cluster.advance(29);
    assert!(cluster.status(Kind::DEPLOYMENT, "web").get("availableReplicas").is_none());
    cluster.advance(2);
    assert_eq!(cluster.status(Kind::DEPLOYMENT, "web")["availableReplicas"], 1);
    assert_eq!(progressing(&cluster).1, "NewReplicaSetAvailable");
}

#[test]
fn a_set_without_owner_is_adopted_and_one_that_does_not_match_let_go() {
    let mut cluster = started(2);
    let set = cluster.replica_sets()[0].clone();
    cluster.delete(Kind::DEPLOYMENT, "web", Some(kontiki_actors::input::Propagation::Orphan));
    assert!(cluster.find(Kind::DEPLOYMENT, "web").is_none());
    let orphan = cluster.get(Kind::REPLICA_SET, &set.key.name);
    assert!(orphan.meta.owners.is_empty());
    assert_eq!(cluster.active().len(), 2);
    // The same deployment again finds its set and its pods: nothing is started.
    let before: Vec<_> = cluster.active().iter().map(|p| p.meta.uid.clone()).collect();
    cluster.create(Kind::DEPLOYMENT, deployment("web", 2));
    cluster.work_out();
    let owner = cluster.get(Kind::DEPLOYMENT, "web").meta.uid.clone();
    assert_eq!(cluster.get(Kind::REPLICA_SET, &set.key.name).meta.controller().unwrap().uid, owner);
    assert_eq!(cluster.replica_sets().len(), 1);
    assert_eq!(cluster.active().iter().map(|p| p.meta.uid.clone()).collect::<Vec<_>>(), before);
    // Without its labels it is let go, and the deployment makes its own.
    cluster.edit(Kind::REPLICA_SET, &set.key.name, |s| s["metadata"]["labels"] = json!({"other": "1"}));
    assert!(cluster.get(Kind::REPLICA_SET, &set.key.name).meta.owners.is_empty());
    cluster.settle();
    assert_eq!(cluster.status(Kind::DEPLOYMENT, "web")["collisionCount"], 1, "its name was taken");
    assert_eq!(cluster.replica_sets().len(), 2);
}

#[test]
fn a_deployment_of_none_and_back() {
    let mut cluster = started(3);
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 0);
    cluster.work_out();
    assert_eq!((cluster.sizes(), cluster.pods().len()), (vec![0], 0));
    assert_eq!(progressing(&cluster).1, "NewReplicaSetAvailable");
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 2);
    cluster.work_out();
    assert_eq!((cluster.sizes(), cluster.active().len()), (vec![2], 2));
}

#[test]
fn conditions_of_others_stay_as_they_wrote_them() {
    let mut cluster = started(1);
    let mut value = cluster.get(Kind::DEPLOYMENT, "web").document.to_value();
    let written = json!({"type": "Theirs", "status": "True"});
    value["status"]["conditions"].as_array_mut().unwrap().push(written.clone());
    let document = Document::from_value(value);
    let key = key(Kind::DEPLOYMENT, "web");
    let request =
        Request::Update { key, document, part: Part::Status, revision: None, uid: None, dry_run: false };
    cluster.decide(Input::Api(request));
    cluster.set_replicas(Kind::DEPLOYMENT, "web", 2);
    cluster.work_out();
    let status = cluster.status(Kind::DEPLOYMENT, "web");
    let found = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Theirs");
    assert_eq!(found, Some(&written), "without what nobody said");
}
