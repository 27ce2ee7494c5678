//! Pods that somebody is asked about before they are there: when actors make candidates, what becomes of them, and that nobody sees, places or
//! counts one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use std::sync::Arc;

use driver::{Cluster, START_MS, deployment, key, pod, replica_set, template};
use kontiki_actors::{
    Change, Document, Input, Kind, Object, ObjectKey, Outcome, Rejection, Request, State, candidates,
    input::{Admission, Propagation},
    level::FIRST,
    object::rfc3339,
};
use serde_json::{Value, json};

const SET: Kind = Kind::REPLICA_SET;
const WEBHOOKS: Kind = Kind::MUTATING_WEBHOOK_CONFIGURATION;

/// A configuration of one webhook for new pods, with more to say.
fn webhooks(more: Value) -> Value {
    let mut webhook = json!({"name": "a.example.com", "rules": [
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    for (key, value) in more.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    json!({"metadata": {"name": "a"}, "webhooks": [webhook]})
}

/// A cluster in which a webhook is for all new pods.
fn asked(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.create(WEBHOOKS, webhooks(json!({})));
    cluster
}

fn waiting(cluster: &Cluster) -> Vec<Arc<Object>> {
    let all = cluster.state.list(Kind::POD_CANDIDATE, None);
    all.filter(|object| !candidates::is_record(&object.key)).cloned().collect()
}

fn records(cluster: &Cluster) -> usize {
    cluster.state.list(Kind::POD_CANDIDATE, None).count() - waiting(cluster).len()
}

fn decide(cluster: &mut Cluster, candidate: &Object, verdict: Admission) -> Outcome {
    let request = Request::Admit { key: candidate.key.clone(), revision: candidate.revision, verdict };
    let outcome = cluster.decide(Input::Api(request)).1;
    cluster.assert_replicas_agree();
    outcome
}

/// Admits a candidate after a change.
fn admit_changed(cluster: &mut Cluster, candidate: &Object, change: impl FnOnce(&mut Value)) -> Outcome {
    let mut pod = candidates::object(candidate);
    change(&mut pod);
    decide(cluster, candidate, Admission::As(Document::from_value(pod)))
}

fn admit_all(cluster: &mut Cluster) {
    for candidate in waiting(cluster) {
        let outcome = admit_changed(cluster, &candidate, |_| {});
        let made = key(Kind::POD, &candidate.key.name);
        assert!(matches!(&outcome, Outcome::Object { key, .. } if *key == made), "{outcome:?}");
    }
}

fn refuse(cluster: &mut Cluster, candidate: &Object) {
    assert_eq!(decide(cluster, candidate, Admission::Not("no".into())), Outcome::Done);
}

fn refuse_first(cluster: &mut Cluster) {
    let one = waiting(cluster)[0].clone();
    refuse(cluster, &one);
}

#[test]
fn a_pod_is_there_when_it_is_admitted_and_as_it_was_admitted() {
    let mut cluster = asked(2);
    cluster.create(SET, replica_set("web", 3));
    let candidates = waiting(&cluster);
    assert_eq!((cluster.pods().len(), candidates.len()), (0, 3));
    assert_eq!(cluster.status(SET, "web"), json!({"replicas": 0, "observedGeneration": 1}));
    assert_eq!(cluster.events("SuccessfulCreate"), [""; 0]);
    let shown = candidates::object(&candidates[0]);
    assert_eq!((&shown["kind"], &shown["apiVersion"]), (&json!("Pod"), &json!("v1")));
    assert_eq!(shown["metadata"]["generateName"], "web-");
    assert_eq!(shown["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(shown["spec"]["serviceAccountName"], "default", "completed as all new pods are");
    // The first with a sidecar and a label, which also says who it is.
    let outcome = admit_changed(&mut cluster, &candidates[0], |pod| {
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": "p"}));
        pod["metadata"]["labels"]["injected"] = "yes".into();
        for field in ["name", "uid", "generateName", "namespace"] {
            pod["metadata"][field] = "other".into();
        }
        pod["metadata"]["ownerReferences"] = json!([]);
        pod["metadata"]["resourceVersion"] = "7".into();
        pod["status"] = json!({"phase": "Running"});
    });
    assert!(matches!(outcome, Outcome::Object { .. }), "{outcome:?}");
    let [made] = cluster.pods().try_into().unwrap();
    assert_eq!((&made.key.name, &made.meta.uid), (&candidates[0].key.name, &candidates[0].meta.uid));
    let value = made.to_value();
    let metadata = &value["metadata"];
    assert_eq!((&metadata["generateName"], &metadata["labels"]["injected"]), (&json!("web-"), &json!("yes")));
    assert_eq!((made.meta.created_ms, made.meta.generation), (START_MS, 1));
    assert_eq!(made.meta.controller().unwrap().uid, cluster.get(SET, "web").meta.uid);
    let names: Vec<&Value> =
        value["spec"]["containers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["main", "proxy"]);
    assert!(value["spec"]["containers"][1]["volumeMounts"].is_array(), "it gets the token, too");
    assert!(made.pod().unwrap().node.is_some(), "placed in the same entry");
    assert_eq!(made.pod().unwrap().phase, "Pending");
    assert_eq!(cluster.status(SET, "web")["replicas"], 1);
    admit_all(&mut cluster);
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (3, 0));
    cluster.work_out();
    assert_eq!(cluster.status(SET, "web")["readyReplicas"], 3);
    assert_eq!(cluster.events("SuccessfulCreate").len(), 3);
    // Clients' pods were asked about before.
    cluster.create(Kind::POD, pod("single", "other"));
    assert_eq!(waiting(&cluster).len(), 0);
}

#[test]
fn nothing_waits_where_nobody_is_to_be_asked() {
    let mut cluster = Cluster::new(1);
    for (more, held) in [
        (json!({"namespaceSelector": {"matchLabels": {"inject": "yes"}}}), 0),
        (json!({"objectSelector": {"matchLabels": {"app": "other"}}}), 0),
        (
            json!({"rules": [{"operations": ["UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}),
            0,
        ),
        (json!({"objectSelector": {"matchLabels": {"app": "web"}}}), 2),
    ] {
        cluster.create(WEBHOOKS, webhooks(more.clone()));
        cluster.create(SET, replica_set("web", 2));
        assert_eq!((waiting(&cluster).len(), cluster.pods().len()), (held, 2 - held), "{more}");
        for (kind, name) in [(SET, "web"), (WEBHOOKS, "a")] {
            cluster.delete(kind, name, None);
        }
        cluster.settle();
        cluster.work_out();
    }
    // A policy counts when it is bound.
    let rules =
        json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": rules}}});
    cluster.create(Kind::VALIDATING_ADMISSION_POLICY, policy);
    cluster.create(SET, replica_set("free", 1));
    let binding = |policy: &str| json!({"metadata": {"name": policy}, "spec": {"policyName": policy}});
    cluster.create(Kind::VALIDATING_ADMISSION_POLICY_BINDING, binding("other"));
    cluster.create(SET, replica_set("free-too", 1));
    assert_eq!((waiting(&cluster).len(), cluster.pods().len()), (0, 2));
    cluster.create(Kind::VALIDATING_ADMISSION_POLICY_BINDING, binding("p"));
    cluster.create(SET, replica_set("bound", 1));
    assert_eq!(waiting(&cluster).len(), 1);
}

#[test]
fn below_its_level_nothing_waits() {
    let mut cluster = Cluster::new(0);
    let namespace = json!({"metadata": {"name": "default"}});
    let account = json!({"metadata": {"name": "default", "namespace": "default"}});
    (cluster.state, cluster.follower) = (State::default(), State::default());
    cluster.decide(Input::Bootstrap(vec![
        (key(Kind::NAMESPACE, "default"), Document::from_value(namespace)),
        (key(Kind::SERVICE_ACCOUNT, "default"), Document::from_value(account)),
    ]));
    assert_eq!(cluster.state.level(), FIRST);
    cluster.create(WEBHOOKS, webhooks(json!({})));
    let changes = cluster.create(SET, replica_set("web", 1));
    assert!(changes.iter().all(|change| change.level() == FIRST), "older controllers read it");
    assert_eq!(cluster.pods().len(), 1);
    let verdict = Admission::Not(String::new());
    let request = Request::Admit { key: key(Kind::POD_CANDIDATE, "x"), revision: 1, verdict };
    assert_eq!(request.level(), 5);
    let outcome = cluster.decide(Input::Api(request)).1;
    assert!(matches!(outcome, Outcome::Rejected(Rejection::Level { .. })), "{outcome:?}");
}

#[test]
fn a_refusal_is_told_and_the_owner_waits_and_tries_with_one() {
    let mut cluster = asked(1);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 4));
    let set = cluster.replica_sets()[0].key.name.to_string();
    let first = waiting(&cluster);
    assert_eq!(first.len(), 4);
    refuse(&mut cluster, &first[1]);
    assert_eq!(waiting(&cluster).len(), 0, "the others would be refused as well");
    assert_eq!(cluster.events("FailedCreate"), ["Error creating: no"]);
    assert_eq!(
        cluster.condition(SET, &set, "ReplicaFailure").unwrap(),
        ("True".to_owned(), "FailedCreate".to_owned())
    );
    assert_eq!(
        cluster.condition(Kind::DEPLOYMENT, "web", "ReplicaFailure").unwrap(),
        ("True".to_owned(), "FailedCreate".to_owned())
    );
    // What comes of the others comes too late.
    let late = decide(&mut cluster, &first[0], Admission::Not("no".into()));
    assert!(matches!(late, Outcome::Rejected(Rejection::NotFound(_))), "{late:?}");
    // Whatever happens to it meanwhile, it makes none before its time, and then one.
    cluster.edit(SET, &set, |set| set["metadata"]["annotations"]["x"] = "y".into());
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = cluster.now_ms;
        while waiting(&cluster).is_empty() {
            cluster.now_ms = cluster.state.next_wake_ms().unwrap().max(cluster.now_ms);
            cluster.settle();
        }
        times.push((cluster.now_ms - began) / 1000);
        let [one] = waiting(&cluster).try_into().unwrap();
        refuse(&mut cluster, &one);
    }
    assert_eq!(times, [1, 2, 4, 8, 16]);
    assert_eq!(cluster.events("FailedCreate").len(), 1, "it counts up");
    assert_eq!((cluster.pods().len(), records(&cluster)), (0, 1));
    // When one is admitted, the others follow, and the refusals are forgotten.
    cluster.advance(32);
    admit_all(&mut cluster);
    assert_eq!((cluster.pods().len(), waiting(&cluster).len(), records(&cluster)), (1, 3, 0));
    admit_all(&mut cluster);
    cluster.work_out();
    assert_eq!(cluster.status(Kind::DEPLOYMENT, "web")["readyReplicas"], 4);
    assert_eq!(cluster.condition(SET, &set, "ReplicaFailure"), None);
}

#[test]
fn who_waits_goes_on_when_a_configuration_changes() {
    let mut cluster = asked(1);
    cluster.create(SET, replica_set("web", 2));
    for _ in 0..4 {
        refuse_first(&mut cluster);
        cluster.advance(8);
    }
    refuse_first(&mut cluster);
    cluster.delete(WEBHOOKS, "a", None);
    cluster.settle();
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (2, 0), "at once, and nobody is asked");
    assert_eq!(records(&cluster), 0);
    assert_eq!(cluster.condition(SET, "web", "ReplicaFailure"), None);
}

#[test]
fn a_set_that_shrinks_or_goes_takes_its_candidates_along() {
    let mut cluster = asked(1);
    cluster.create(SET, replica_set("web", 2));
    admit_all(&mut cluster);
    cluster.set_replicas(SET, "web", 5);
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (2, 3));
    cluster.set_replicas(SET, "web", 3);
    assert_eq!((cluster.active().len(), waiting(&cluster).len()), (2, 1), "first who is not there yet");
    cluster.set_replicas(SET, "web", 1);
    assert_eq!((cluster.active().len(), waiting(&cluster).len()), (1, 0));
    cluster.set_replicas(SET, "web", 2);
    let one = waiting(&cluster)[0].clone();
    for propagation in [None, Some(Propagation::Foreground), Some(Propagation::Orphan)] {
        let name = format!("of-{propagation:?}").to_lowercase().replace(['(', ')'], "");
        cluster.create(SET, replica_set(&name, 1));
        let candidate = waiting(&cluster).into_iter().find(|c| c.key.name.starts_with(&name)).unwrap();
        // The record of a refusal goes with it, too.
        refuse(&mut cluster, &candidate);
        cluster.advance(1);
        assert_eq!(records(&cluster), 1);
        cluster.delete(SET, &name, propagation);
        cluster.settle();
        assert_eq!(cluster.find(SET, &name).map(|_| ()), None, "{propagation:?}");
        assert_eq!((waiting(&cluster).len(), records(&cluster)), (1, 0), "{propagation:?}");
    }
    // Nobody wants it any more when it is admitted.
    cluster.edit(SET, "web", |set| set["metadata"]["finalizers"] = json!(["example.com/x"]));
    cluster.delete(SET, "web", None);
    assert_eq!(waiting(&cluster).len(), 1);
    let pods = cluster.pods().len();
    assert_eq!(admit_changed(&mut cluster, &one, |_| {}), Outcome::Done);
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (pods, 0));
}

#[test]
fn a_namespace_that_goes_is_not_held_up() {
    let mut cluster = asked(1);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    let mut set = replica_set("web", 2);
    set["metadata"]["namespace"] = "team".into();
    cluster.create(SET, set);
    let all = waiting(&cluster);
    refuse(&mut cluster, &all[0]);
    cluster.advance(1);
    assert_eq!((waiting(&cluster).len(), records(&cluster)), (1, 1));
    let key = ObjectKey::new(Kind::NAMESPACE, "", "team");
    cluster.decide(Input::Api(Request::Delete {
        key: key.clone(),
        options: Default::default(),
        dry_run: false,
    }));
    cluster.settle();
    assert!(cluster.state.get(&key).is_none());
    assert_eq!(cluster.state.list(Kind::POD_CANDIDATE, None).count(), 0);
}

#[test]
fn what_was_admitted_passes_what_every_new_pod_passes() {
    let mut cluster = asked(1);
    let quota = json!({"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1"}}});
    cluster.create(Kind::RESOURCE_QUOTA, quota);
    let mut set = replica_set("web", 3);
    set["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "300m"}});
    cluster.create(SET, set);
    assert_eq!(
        cluster.status(Kind::RESOURCE_QUOTA, "q")["used"]["pods"],
        "0",
        "what is not there is not counted"
    );
    let all = waiting(&cluster);
    admit_changed(&mut cluster, &all[0], |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "900m".into();
    });
    assert_eq!(cluster.status(Kind::RESOURCE_QUOTA, "q")["used"]["requests.cpu"], "900m");
    admit_changed(&mut cluster, &all[1], |_| {});
    assert_eq!((cluster.pods().len(), waiting(&cluster).len()), (1, 0));
    let [told] = cluster.events("FailedCreate").try_into().unwrap();
    let name = &all[1].key.name;
    assert!(
        told.starts_with(&format!(
            "Error creating: pods {name:?} is forbidden: exceeded quota: q, requested:"
        )),
        "{told}"
    );
}

#[test]
fn a_pod_that_its_owner_would_not_know_is_refused() {
    let mut cluster = asked(1);
    cluster.create(SET, replica_set("web", 1));
    let one = waiting(&cluster)[0].clone();
    admit_changed(&mut cluster, &one, |pod| pod["metadata"]["labels"] = json!({"app": "mine"}));
    assert_eq!(cluster.pods().len(), 0);
    let [told] = cluster.events("FailedCreate").try_into().unwrap();
    assert!(told.ends_with("webhooks made of it a pod that its owner would not know as its own"), "{told}");
}

#[test]
fn what_changed_since_it_was_asked_about_is_asked_about_again() {
    let mut cluster = asked(1);
    cluster.create(SET, replica_set("web", 1));
    let one = waiting(&cluster)[0].clone();
    let request = Request::Admit {
        key: one.key.clone(),
        revision: one.revision + 1,
        verdict: Admission::Not("no".into()),
    };
    let outcome = cluster.decide(Input::Api(request)).1;
    assert!(matches!(outcome, Outcome::Rejected(Rejection::Conflict(..))), "{outcome:?}");
    // No pod and no record is taken for a candidate.
    refuse(&mut cluster, &one);
    let record = cluster.state.list(Kind::POD_CANDIDATE, None).next().unwrap().clone();
    assert!(candidates::is_record(&record.key));
    let outcome = decide(&mut cluster, &record, Admission::Not("no".into()));
    assert!(matches!(outcome, Outcome::Rejected(Rejection::NotFound(_))), "{outcome:?}");
    cluster.create(Kind::POD, pod("single", "other"));
    let single = cluster.get(Kind::POD, "single");
    let outcome = decide(&mut cluster, &single, Admission::Not("no".into()));
    assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    assert!(cluster.find(Kind::POD, "single").is_some());
}

#[test]
fn a_template_that_names_its_node_is_admitted_there() {
    let mut cluster = asked(2);
    let mut set = replica_set("web", 1);
    set["spec"]["template"]["spec"]["nodeName"] = "node-1".into();
    cluster.create(SET, set);
    assert_eq!(cluster.state.pods_on("node-1").count(), 0, "no worker hears of it");
    admit_all(&mut cluster);
    assert_eq!(cluster.state.pods_on("node-1").count(), 1);
}

fn stateful(policy: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db", "v1"),
        "podManagementPolicy": policy, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
    }})
}

#[test]
fn a_stateful_sets_pods_come_one_after_the_other_and_of_the_present_template() {
    let mut cluster = asked(1);
    cluster.create(Kind::STATEFUL_SET, stateful("OrderedReady", 2));
    let [one] = waiting(&cluster).try_into().unwrap();
    assert_eq!(one.key.name, "db-0");
    refuse(&mut cluster, &one);
    assert_eq!(cluster.events("FailedCreate"), ["create Pod db-0 in StatefulSet db failed error: no"]);
    cluster.advance(1);
    assert_eq!(waiting(&cluster).len(), 1);
    // Nobody has to be rid of what was refused before another template is tried.
    cluster.edit(Kind::STATEFUL_SET, "db", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    });
    cluster.settle();
    cluster.advance(8);
    let [one] = waiting(&cluster).try_into().unwrap();
    assert_eq!(candidates::object(&one)["spec"]["containers"][0]["image"], "v2");
    admit_all(&mut cluster);
    assert_eq!(cluster.status(Kind::STATEFUL_SET, "db")["replicas"], 1);
    assert_eq!(waiting(&cluster).len(), 0, "the second waits until the first is well");
    cluster.work_out();
    admit_all(&mut cluster);
    cluster.work_out();
    let names: Vec<_> = cluster.pods().iter().map(|pod| pod.key.name.to_string()).collect();
    assert_eq!(names, ["db-0", "db-1"]);
    assert_eq!(
        cluster.events("SuccessfulCreate"),
        ["create Pod db-0 in StatefulSet db successful", "create Pod db-1 in StatefulSet db successful"]
    );
    cluster.set_replicas(Kind::STATEFUL_SET, "db", 3);
    assert_eq!(waiting(&cluster).len(), 1);
    cluster.set_replicas(Kind::STATEFUL_SET, "db", 2);
    assert_eq!(waiting(&cluster).len(), 0);
}

#[test]
fn a_parallel_stateful_set_asks_about_all_and_takes_none_away_meanwhile() {
    let mut cluster = asked(1);
    cluster.create(Kind::STATEFUL_SET, stateful("Parallel", 3));
    assert_eq!(waiting(&cluster).len(), 3);
    admit_all(&mut cluster);
    cluster.work_out();
    assert_eq!(cluster.active().len(), 3);
    cluster.edit(Kind::STATEFUL_SET, "db", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    });
    cluster.work_out();
    assert_eq!((cluster.active().len(), waiting(&cluster).len()), (2, 1), "one at a time");
    for _ in 0..3 {
        admit_all(&mut cluster);
        cluster.work_out();
    }
    assert_eq!(cluster.status(Kind::STATEFUL_SET, "db")["updatedReplicas"], 3);
}

fn daemon_set() -> Value {
    json!({"metadata": {"name": "agent", "namespace": "default"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "v1"),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "revisionHistoryLimit": 10,
    }})
}

#[test]
fn a_daemon_set_asks_once_for_each_node() {
    let mut cluster = asked(3);
    cluster.create(Kind::DAEMON_SET, daemon_set());
    assert_eq!(waiting(&cluster).len(), 3);
    cluster.hello("node-3");
    cluster.settle();
    assert_eq!(waiting(&cluster).len(), 4, "one more, and none twice");
    // One that is of another template is made anew.
    cluster.edit(Kind::DAEMON_SET, "agent", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = "v2".into();
    });
    cluster.settle();
    let images: Vec<Value> = waiting(&cluster)
        .iter()
        .map(|c| candidates::object(c)["spec"]["containers"][0]["image"].clone())
        .collect();
    assert_eq!(images, ["v2"; 4]);
    let one = waiting(&cluster)[0].clone();
    admit_changed(&mut cluster, &one, |pod| pod["spec"]["affinity"] = Value::Null);
    assert_eq!(cluster.pods().len(), 0, "nobody would know for which node it is");
    assert_eq!(cluster.events("FailedCreate").len(), 1);
    cluster.advance(1);
    admit_all(&mut cluster);
    admit_all(&mut cluster);
    let nodes = (0..4).map(|n| cluster.state.pods_on(&format!("node-{n}")).count());
    assert_eq!(nodes.collect::<Vec<_>>(), [1; 4]);
    cluster.work_out();
    assert_eq!(cluster.status(Kind::DAEMON_SET, "agent")["numberReady"], 4);
}

/// Which is refused may be for its node alone.
#[test]
fn one_that_is_always_refused_is_not_in_the_way_of_others() {
    let mut cluster = asked(4);
    cluster.create(Kind::DAEMON_SET, daemon_set());
    let bad = |candidate: &Object| {
        let affinity = &candidates::object(candidate)["spec"]["affinity"]["nodeAffinity"];
        affinity.to_string().contains("node-0")
    };
    for _ in 0..20 {
        // The worst that could be: whoever is refused is the first to be told.
        let mut all = waiting(&cluster);
        all.sort_by_key(|candidate| !bad(candidate));
        for candidate in all {
            let verdict = match bad(&candidate) {
                true => Admission::Not("no".into()),
                false => Admission::As(Document::from_value(candidates::object(&candidate))),
            };
            decide(&mut cluster, &candidate, verdict);
        }
        cluster.advance(2);
    }
    let nodes = (0..4).map(|n| cluster.state.pods_on(&format!("node-{n}")).count());
    assert_eq!(nodes.collect::<Vec<_>>(), [0, 1, 1, 1]);
}

fn job(more: Value) -> Value {
    let mut template = template("sum", "v1");
    template["spec"]["restartPolicy"] = "Never".into();
    let mut job = json!({"metadata": {"name": "sum", "namespace": "default"}, "spec": {
        "parallelism": 2, "completions": 3, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
        "podReplacementPolicy": "TerminatingOrFailed", "template": template,
    }});
    for (key, value) in more.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

fn end_all(cluster: &mut Cluster, phase: &str) {
    cluster.work();
    let pods = cluster.active();
    let ended = json!({"name": "main", "state": {"terminated": {"exitCode": 1, "finishedAt": rfc3339(cluster.now_ms)}}});
    cluster.report(&pods, |_| (json!({"phase": phase, "containerStatuses": [ended]}), false));
    cluster.settle();
}

#[test]
fn a_job_counts_who_waits_and_no_refusal_as_a_failure() {
    let mut cluster = asked(1);
    cluster.create(Kind::JOB, job(json!({})));
    assert_eq!(waiting(&cluster).len(), 2);
    refuse_first(&mut cluster);
    assert_eq!(cluster.events("FailedCreate"), ["Error creating: no"]);
    cluster.advance(1);
    admit_all(&mut cluster);
    assert_eq!((cluster.active().len(), waiting(&cluster).len()), (1, 1));
    admit_all(&mut cluster);
    end_all(&mut cluster, "Succeeded");
    assert_eq!(waiting(&cluster).len(), 1, "one is left to do");
    admit_all(&mut cluster);
    end_all(&mut cluster, "Succeeded");
    let status = cluster.status(Kind::JOB, "sum");
    assert_eq!((&status["succeeded"], &status["failed"]), (&json!(3), &Value::Null));
    assert_eq!(cluster.condition(Kind::JOB, "sum", "Complete").unwrap().0, "True");
    assert_eq!(waiting(&cluster).len() + records(&cluster), 0);
}

#[test]
fn a_job_that_ends_or_pauses_wants_nobody() {
    let mut cluster = asked(1);
    cluster.create(Kind::JOB, job(json!({"activeDeadlineSeconds": 60})));
    assert_eq!(waiting(&cluster).len(), 2);
    cluster.edit(Kind::JOB, "sum", |job| job["spec"]["suspend"] = true.into());
    assert_eq!(waiting(&cluster).len(), 0);
    cluster.edit(Kind::JOB, "sum", |job| job["spec"]["suspend"] = false.into());
    assert_eq!(waiting(&cluster).len(), 2);
    cluster.advance(61);
    assert_eq!(waiting(&cluster).len(), 0);
    assert_eq!(cluster.condition(Kind::JOB, "sum", "Failed").unwrap().1, "DeadlineExceeded");
}

#[test]
fn each_index_of_a_job_waits_once_and_keeps_its_failures() {
    let mut cluster = asked(1);
    let more = json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1, "backoffLimit": 100});
    cluster.create(Kind::JOB, job(more));
    admit_all(&mut cluster);
    assert_eq!((cluster.active().len(), waiting(&cluster).len()), (2, 0));
    end_all(&mut cluster, "Failed");
    cluster.advance(10);
    assert_eq!(waiting(&cluster).len(), 2);
    cluster.edit(Kind::JOB, "sum", |job| job["metadata"]["labels"] = json!({"x": "y"}));
    assert_eq!(waiting(&cluster).len(), 2, "and no third");
    refuse_first(&mut cluster);
    cluster.advance(1);
    admit_all(&mut cluster);
    admit_all(&mut cluster);
    let failures: Vec<_> = cluster
        .active()
        .iter()
        .map(|pod| pod.meta.annotations["batch.kubernetes.io/job-index-failure-count"].clone())
        .collect();
    assert_eq!(failures, ["1", "1"]);
    end_all(&mut cluster, "Failed");
    assert_eq!(cluster.condition(Kind::JOB, "sum", "Failed").unwrap().1, "FailedIndexes");
}

#[test]
fn nothing_of_it_is_in_the_log_but_what_it_came_to() {
    let mut cluster = asked(1);
    cluster.create(SET, replica_set("web", 1));
    let one = waiting(&cluster)[0].clone();
    let verdict = Admission::As(Document::from_value(candidates::object(&one)));
    let input = Input::Api(Request::Admit { key: one.key.clone(), revision: one.revision, verdict });
    let Input::Api(Request::Admit { verdict: Admission::As(document), .. }) = input.abridged() else {
        panic!()
    };
    assert!(document.is_empty(), "it stands in the changes");
    let (changes, _) = cluster.decide(input);
    assert!(matches!(&changes[0], Change::Delete { key } if key.kind == Kind::POD_CANDIDATE));
}
