//! What actors make besides pods and somebody is asked about first: replica sets of deployments, jobs of cron jobs, claims of stateful sets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::sync::Arc;

use driver::{Cluster, START_MS, deployment, key, replica_set, template};
use kontiki_actors::{
    Document, Input, Kind, LEVEL, Object, ObjectKey, Outcome, Rejection, Request, State, candidates,
    input::Admission,
};
use serde_json::{Value, json};

const DEPLOYMENT: Kind = Kind::DEPLOYMENT;
const CRON: Kind = Kind::CRON_JOB;
const STATEFUL_SET: Kind = Kind::STATEFUL_SET;
const WEBHOOKS: Kind = Kind::MUTATING_WEBHOOK_CONFIGURATION;

fn webhooks(kind: Kind) -> Value {
    let info = kind.info();
    let rule = json!({"operations": ["CREATE"], "apiGroups": [info.group], "apiVersions": ["v1"], "resources": [info.plural]});
    json!({"metadata": {"name": "a"}, "webhooks": [{"name": "a.example.com", "rules": [rule]}]})
}

/// A cluster in which a webhook is for all new objects of a kind.
fn asked(kind: Kind) -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.create(WEBHOOKS, webhooks(kind));
    cluster
}

fn waiting(cluster: &Cluster) -> Vec<Arc<Object>> {
    let all = cluster.state.list(Kind::CANDIDATE, None);
    all.filter(|object| !candidates::is_record(&object.key)).cloned().collect()
}

fn records(cluster: &Cluster) -> usize {
    cluster.state.list(Kind::CANDIDATE, None).count() - waiting(cluster).len()
}

/// The only one.
fn one(cluster: &Cluster) -> Arc<Object> {
    let [one] = waiting(cluster).try_into().unwrap();
    one
}

fn decide(cluster: &mut Cluster, candidate: &Object, verdict: Admission) -> Outcome {
    let request = Request::Admit { key: candidate.key.clone(), revision: candidate.revision, verdict };
    let outcome = cluster.decide(Input::Api(request)).1;
    cluster.assert_replicas_agree();
    outcome
}

fn admit_changed(cluster: &mut Cluster, candidate: &Object, change: impl FnOnce(&mut Value)) -> Outcome {
    let mut object = candidates::object(candidate);
    change(&mut object);
    decide(cluster, candidate, Admission::As(Document::from_value(object)))
}

/// Admits all that wait, as they are wanted.
fn admit_all(cluster: &mut Cluster) {
    for candidate in waiting(cluster) {
        let (kind, name) = candidates::wanted(&candidate.key).unwrap();
        let outcome = admit_changed(cluster, &candidate, |_| {});
        let made = key(kind, name);
        assert!(matches!(&outcome, Outcome::Object { key, .. } if *key == made), "{outcome:?}");
    }
}

fn refuse(cluster: &mut Cluster) {
    let one = waiting(cluster)[0].clone();
    assert_eq!(decide(cluster, &one, Admission::Not("no".into())), Outcome::Done);
}

fn progressing(cluster: &Cluster) -> (String, String) {
    cluster.condition(DEPLOYMENT, "web", "Progressing").unwrap_or_default()
}

fn texts(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}

#[test]
fn a_deployments_replica_set_is_there_when_it_is_admitted() {
    let mut cluster = asked(Kind::REPLICA_SET);
    let mut web = deployment("web", 3);
    web["spec"]["progressDeadlineSeconds"] = 600.into();
    cluster.create(DEPLOYMENT, web);
    let candidate = one(&cluster);
    assert_eq!((cluster.replica_sets().len(), cluster.pods().len()), (0, 0));
    assert_eq!(cluster.status(DEPLOYMENT, "web")["observedGeneration"], 1);
    assert_eq!(cluster.events("ScalingReplicaSet"), [""; 0]);
    let shown = candidates::object(&candidate);
    assert_eq!((&shown["kind"], &shown["apiVersion"]), (&json!("ReplicaSet"), &json!("apps/v1")));
    assert_eq!(shown["metadata"]["ownerReferences"][0]["kind"], "Deployment");
    // Whatever happens meanwhile, there is one.
    cluster.edit(DEPLOYMENT, "web", |web| web["metadata"]["labels"] = json!({"x": "y"}));
    assert_eq!(one(&cluster).revision, candidate.revision);
    admit_changed(&mut cluster, &candidate, |set| {
        set["metadata"]["annotations"]["seen"] = "yes".into();
        set["metadata"]["name"] = "other".into();
        set["metadata"]["ownerReferences"] = json!([]);
        set["status"] = json!({"replicas": 7});
    });
    let [set] = cluster.replica_sets().try_into().unwrap();
    assert_eq!((set.meta.uid.as_str(), set.meta.generation), (candidate.meta.uid.as_str(), 1));
    assert_eq!(set.meta.annotations["seen"], "yes");
    assert_eq!(Some(set.key.name.as_str()), candidates::wanted(&candidate.key).map(|(_, name)| name));
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (3, 0), "its pods are made in the same turn");
    let name = &set.key.name;
    assert_eq!(cluster.events("ScalingReplicaSet"), [format!("Scaled up replica set {name} from 0 to 3")]);
    assert_eq!(progressing(&cluster), texts("True", "ReplicaSetUpdated"));
    assert_eq!(cluster.get(DEPLOYMENT, "web").meta.annotations["deployment.kubernetes.io/revision"], "1");
    cluster.work_out();
    assert_eq!(cluster.status(DEPLOYMENT, "web")["readyReplicas"], 3);
    // The next template's takes the place of the first one's when it is admitted, and not before.
    cluster.set_image("web", "v2");
    cluster.work_out();
    assert_eq!((cluster.sizes(), waiting(&cluster).len()), (vec![3], 1));
    admit_all(&mut cluster);
    cluster.work_out();
    assert_eq!(cluster.status(DEPLOYMENT, "web")["updatedReplicas"], 3);
    // Back to the first, about which nobody is asked again.
    cluster.set_image("web", "v1");
    cluster.work_out();
    assert_eq!((waiting(&cluster).len(), cluster.replica_sets().len()), (0, 2));
}

#[test]
fn a_refused_replica_set_is_told_of_and_tried_again_later_or_as_another() {
    let mut cluster = asked(Kind::REPLICA_SET);
    let mut web = deployment("web", 2);
    web["spec"]["progressDeadlineSeconds"] = 600.into();
    cluster.create(DEPLOYMENT, web);
    let name = candidates::wanted(&one(&cluster).key).unwrap().1.to_owned();
    let mut times = Vec::new();
    for _ in 0..5 {
        refuse(&mut cluster);
        // Whatever happens to it meanwhile, it asks for none before its time.
        cluster.edit(DEPLOYMENT, "web", |web| web["metadata"]["labels"] = json!({"x": "y"}));
        let began = cluster.now_ms;
        while waiting(&cluster).is_empty() {
            cluster.now_ms = cluster.state.next_wake_ms().unwrap().max(cluster.now_ms);
            cluster.settle();
        }
        times.push((cluster.now_ms - began) / 1000);
    }
    assert_eq!(times, [1, 2, 4, 8, 16]);
    let told = format!("Failed to create new replica set {name:?}: no");
    assert_eq!(cluster.events("ReplicaSetCreateError"), [told]);
    assert_eq!(progressing(&cluster), texts("False", "ReplicaSetCreateError"));
    refuse(&mut cluster);
    assert_eq!((waiting(&cluster).len(), records(&cluster)), (0, 1));
    // A change of it is tried at once, as is all when a configuration changes.
    cluster.set_image("web", "v2");
    assert_eq!((waiting(&cluster).len(), records(&cluster)), (1, 0));
    refuse(&mut cluster);
    cluster.delete(WEBHOOKS, "a", None);
    cluster.settle();
    assert_eq!((cluster.pods().len(), waiting(&cluster).len(), records(&cluster)), (2, 0, 0));
    assert_eq!(progressing(&cluster), texts("True", "ReplicaSetUpdated"));
}

#[test]
fn a_replica_set_that_nobody_wants_any_more_goes() {
    let mut cluster = asked(Kind::REPLICA_SET);
    cluster.create(DEPLOYMENT, deployment("web", 1));
    let first = one(&cluster);
    cluster.set_image("web", "v2");
    let second = one(&cluster);
    assert_ne!(first.key, second.key, "of the present template");
    let late = decide(&mut cluster, &first, Admission::Not("no".into()));
    assert!(matches!(late, Outcome::Rejected(Rejection::NotFound(_))), "{late:?}");
    // One that its deployment would not know would be made again and again.
    admit_changed(&mut cluster, &second, |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "v3".into();
    });
    let [told] = cluster.events("ReplicaSetCreateError").try_into().unwrap();
    assert!(
        told.ends_with("webhooks made of it a replica set that its owner would not know as its own"),
        "{told}"
    );
    assert_eq!(cluster.replica_sets().len(), 0);
    cluster.delete(DEPLOYMENT, "web", None);
    cluster.settle();
    assert_eq!(cluster.state.list(Kind::CANDIDATE, None).count(), 0, "neither candidate nor record");
    // A name that somebody takes meanwhile is no refusal: there is another one.
    cluster.create(DEPLOYMENT, deployment("api", 1));
    let wanted = one(&cluster);
    let name = candidates::wanted(&wanted.key).unwrap().1.to_owned();
    cluster.create(Kind::REPLICA_SET, replica_set(&name, 0));
    assert_eq!(admit_changed(&mut cluster, &wanted, |_| {}), Outcome::Done);
    assert_ne!(one(&cluster).key, wanted.key);
    assert_eq!(cluster.status(DEPLOYMENT, "api")["collisionCount"], 1);
    admit_all(&mut cluster);
    assert_eq!(cluster.active().len(), 1);
}

fn cron(more: Value) -> Value {
    let mut pod = template("tick", "v1");
    pod["spec"]["restartPolicy"] = "Never".into();
    let mut spec = json!({"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
        "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1, "jobTemplate": {"spec": {"template": pod}}});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": "tick", "namespace": "default"}, "spec": spec})
}

/// Jobs by the minutes since the start of the test.
fn jobs(cluster: &Cluster) -> Vec<i64> {
    let minute = |name: &str| Some(name.strip_prefix("tick-")?.parse::<i64>().ok()? - START_MS / 60_000);
    cluster.state.list(Kind::JOB, None).filter_map(|job| minute(&job.key.name)).collect()
}

#[test]
fn a_cron_jobs_job_is_started_when_it_is_admitted() {
    let mut cluster = asked(Kind::JOB);
    cluster.create(CRON, cron(json!({"concurrencyPolicy": "Forbid"})));
    cluster.advance(600);
    let candidate = one(&cluster);
    assert_eq!(cluster.status(CRON, "tick"), json!({}), "it was not started yet");
    // The next start does not come before it.
    cluster.advance(600);
    assert_eq!(one(&cluster).key, candidate.key);
    admit_changed(&mut cluster, &candidate, |job| {
        job["metadata"]["annotations"] = json!({"seen": "yes"});
        job["metadata"]["finalizers"] = json!(["example.com/x"]);
    });
    assert_eq!(jobs(&cluster), [10]);
    let job = cluster.state.list(Kind::JOB, None).next().unwrap().clone();
    assert_eq!((&job.meta.uid, job.meta.annotations["seen"].as_str()), (&candidate.meta.uid, "yes"));
    let selector = &job.document.spec_value()["selector"]["matchLabels"];
    assert_eq!(selector["batch.kubernetes.io/controller-uid"], job.meta.uid.as_str());
    assert_eq!(cluster.active().len(), 1, "and its pod is there");
    let status = cluster.status(CRON, "tick");
    assert_eq!(status["lastScheduleTime"], "2026-01-01T00:10:00Z", "of the time that it was for");
    assert_eq!(status["active"][0]["name"], job.key.name.as_str());
    let created = format!("Created job {}", job.key.name);
    assert!(cluster.events("SuccessfulCreate").contains(&created));
    assert_eq!(cluster.events("UnexpectedJob"), [""; 0]);
    assert_eq!((waiting(&cluster).len(), cluster.events("JobAlreadyActive").len()), (0, 1));
}

#[test]
fn a_refused_job_is_told_of_and_the_next_is_tried_in_its_time() {
    let mut cluster = asked(Kind::JOB);
    cluster.create(CRON, cron(json!({})));
    cluster.advance(600);
    refuse(&mut cluster);
    assert_eq!(cluster.events("FailedCreate"), ["Error creating job: no"]);
    assert_eq!((waiting(&cluster).len(), jobs(&cluster).len()), (0, 0));
    cluster.advance(1);
    assert_eq!(waiting(&cluster).len(), 1);
    for _ in 0..4 {
        refuse(&mut cluster);
        cluster.advance(20);
    }
    assert_eq!(cluster.status(CRON, "tick").get("lastScheduleTime"), None);
    // A start that is due later takes the place of one that was never made.
    refuse(&mut cluster);
    cluster.now_ms = START_MS + 1_200_000;
    cluster.settle();
    admit_all(&mut cluster);
    assert_eq!((jobs(&cluster), records(&cluster)), (vec![20], 0));
    // Who is suspended wants nothing.
    cluster.advance(600);
    assert_eq!(waiting(&cluster).len(), 1);
    cluster.edit(CRON, "tick", |cron| cron["spec"]["suspend"] = true.into());
    assert_eq!(cluster.state.list(Kind::CANDIDATE, None).count(), 0);
}

fn stateful(policy: &str, replicas: i64, kept: &str) -> Value {
    json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db", "v1"),
        "podManagementPolicy": policy, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": kept, "whenScaled": "Retain"},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
    }})
}

fn claims(cluster: &Cluster) -> Vec<String> {
    let all = cluster.state.list(Kind::PERSISTENT_VOLUME_CLAIM, None);
    all.map(|claim| claim.key.name.to_string()).collect()
}

#[test]
fn a_stateful_sets_pod_waits_for_its_claim() {
    for kept in ["Retain", "Delete"] {
        let mut cluster = asked(Kind::PERSISTENT_VOLUME_CLAIM);
        cluster.create(STATEFUL_SET, stateful("OrderedReady", 2, kept));
        let candidate = one(&cluster);
        assert_eq!(candidates::wanted(&candidate.key).unwrap().1, "data-db-0");
        assert_eq!((cluster.pods().len(), claims(&cluster).len()), (0, 0));
        refuse(&mut cluster);
        let told = "create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: no";
        assert_eq!(cluster.events("FailedCreate"), [told]);
        assert_eq!((waiting(&cluster).len(), records(&cluster)), (0, 1));
        cluster.advance(1);
        let candidate = one(&cluster);
        admit_changed(&mut cluster, &candidate, |claim| {
            claim["metadata"]["labels"]["backup"] = "yes".into();
        });
        let [claim] = claims(&cluster).try_into().unwrap();
        let claim = cluster.get(Kind::PERSISTENT_VOLUME_CLAIM, &claim);
        assert_eq!(claim.meta.labels["backup"], "yes");
        assert_eq!(claim.meta.owners.len(), usize::from(kept == "Delete"));
        assert_eq!(claim.document.status_value()["phase"], "Pending");
        assert_eq!((cluster.pods().len(), records(&cluster)), (1, 0), "its pod comes in the same turn");
        let told = "create Claim data-db-0 Pod db-0 in StatefulSet db success".to_owned();
        assert!(cluster.events("SuccessfulCreate").contains(&told));
    }
}

#[test]
fn claims_of_a_parallel_set_are_asked_about_together_and_none_is_in_the_way_of_others() {
    let mut cluster = asked(Kind::PERSISTENT_VOLUME_CLAIM);
    cluster.create(STATEFUL_SET, stateful("Parallel", 3, "Retain"));
    assert_eq!(waiting(&cluster).len(), 3);
    cluster.set_replicas(STATEFUL_SET, "db", 2);
    assert_eq!(waiting(&cluster).len(), 2, "of the pods that it is to have");
    cluster.set_replicas(STATEFUL_SET, "db", 4);
    for _ in 0..20 {
        // The worst that could be: whoever is refused is the first to be told.
        for candidate in waiting(&cluster) {
            let bad = candidates::wanted(&candidate.key).unwrap().1 == "data-db-0";
            let verdict = match bad {
                true => Admission::Not("no".into()),
                false => Admission::As(Document::from_value(candidates::object(&candidate))),
            };
            decide(&mut cluster, &candidate, verdict);
        }
        cluster.advance(2);
    }
    assert_eq!(claims(&cluster), ["data-db-1", "data-db-2", "data-db-3"]);
    assert_eq!(cluster.pods().len(), 3);
    // What quotas say is asked when a claim is made.
    let quota = json!({"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"requests.storage": "3Gi"}}});
    cluster.create(Kind::RESOURCE_QUOTA, quota);
    cluster.set_replicas(STATEFUL_SET, "db", 1);
    cluster.settle();
    cluster.advance(130);
    assert!(cluster.events("FailedCreate").iter().any(|told| told.contains("exceeded quota: q")));
}

#[test]
fn all_goes_with_its_namespace() {
    let mut cluster = asked(Kind::REPLICA_SET);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    for name in ["a", "b"] {
        let mut web = deployment(name, 1);
        web["metadata"]["namespace"] = "team".into();
        cluster.create(DEPLOYMENT, web);
    }
    refuse(&mut cluster);
    assert_eq!((waiting(&cluster).len(), records(&cluster)), (1, 1));
    let key = ObjectKey::new(Kind::NAMESPACE, "", "team");
    let options = Default::default();
    cluster.decide(Input::Api(Request::Delete { key: key.clone(), options, dry_run: false }));
    cluster.settle();
    assert!(cluster.state.get(&key).is_none());
    assert_eq!(cluster.state.list(Kind::CANDIDATE, None).count(), 0);
}

/// At level 5 builds know the candidates of pods, and no others.
#[test]
fn below_its_level_only_pods_wait() {
    let mut cluster = Cluster::new(0);
    let objects = [
        (key(Kind::NAMESPACE, "default"), json!({"metadata": {"name": "default"}})),
        (
            key(Kind::SERVICE_ACCOUNT, "default"),
            json!({"metadata": {"name": "default", "namespace": "default"}}),
        ),
    ];
    let objects = objects.map(|(key, value)| (key, Document::from_value(value))).to_vec();
    (cluster.state, cluster.follower) = (State::default(), State::default());
    cluster.decide(Input::Raise { level: 5, objects });
    let rule = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
    let all = json!({"metadata": {"name": "a"}, "webhooks": [{"name": "a.example.com", "rules": [rule]}]});
    cluster.create(WEBHOOKS, all);
    cluster.create(DEPLOYMENT, deployment("web", 1));
    assert_eq!((cluster.replica_sets().len(), waiting(&cluster).len()), (1, 0));
    assert_eq!(cluster.state.list(Kind::POD_CANDIDATE, None).count(), 1);
    let key = key(Kind::CANDIDATE, "replicasets.apps:x");
    let request = Request::Admit { key, revision: 1, verdict: Admission::Not(String::new()) };
    assert_eq!(request.level(), 6);
    let outcome = cluster.decide(Input::Api(request)).1;
    assert!(matches!(outcome, Outcome::Rejected(Rejection::Level { .. })), "{outcome:?}");
    // Those that were there are admitted when the level is another one.
    cluster.decide(Input::Raise { level: LEVEL, objects: Vec::new() });
    let pod = cluster.state.list(Kind::POD_CANDIDATE, None).next().unwrap().clone();
    let outcome = admit_changed(&mut cluster, &pod, |_| {});
    assert!(matches!(outcome, Outcome::Object { .. }), "{outcome:?}");
    cluster.set_image("web", "v2");
    assert_eq!(waiting(&cluster).len(), 1);
}
