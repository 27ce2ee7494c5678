//! Evictions mind disruption budgets, and budgets tell how they stand.
#![allow(clippy::unwrap_used)]

mod driver;

use std::sync::Arc;

use driver::{Cluster, deployment, pod, replica_set, running};
use kontiki_actors::{
    Document, Input, Kind, Object, ObjectKey, Outcome, Rejection, Request, input::DeleteOptions,
};
use serde_json::{Value, json};

/// A deployment of ready pods and a budget for them.
fn with_budget(replicas: i64, spec: Value) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::DEPLOYMENT, deployment("web", replicas));
    cluster.work_out();
    let mut spec = spec;
    if spec["selector"].is_null() {
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("web", spec));
    cluster
}

fn budget(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn evict(cluster: &mut Cluster, pod: &Object) -> Result<(), Rejection> {
    let options = DeleteOptions { eviction: true, ..DeleteOptions::default() };
    let request = Request::Delete { key: pod.key.clone(), options, dry_run: false };
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection),
        _ => Ok(()),
    }
}

/// How many of these pods go when all are evicted one after the other.
fn evicted(cluster: &mut Cluster, pods: &[Arc<Object>]) -> usize {
    pods.iter().filter(|pod| evict(cluster, pod).is_ok()).count()
}

fn counts(cluster: &Cluster) -> [i64; 4] {
    let status = cluster.status(Kind::POD_DISRUPTION_BUDGET, "web");
    ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
        .map(|field| status[field].as_i64().unwrap())
}

#[test]
fn so_many_go_as_the_budget_says_and_no_more() {
    for (spec, expected) in [
        (json!({"minAvailable": 3}), 1),
        (json!({"minAvailable": 0}), 4),
        (json!({"minAvailable": 4}), 0),
        (json!({"minAvailable": "50%"}), 2),
        (json!({"minAvailable": "51%"}), 1),
        (json!({"maxUnavailable": 1}), 1),
        (json!({"maxUnavailable": "50%"}), 2),
        (json!({"maxUnavailable": "26%"}), 2),
        (json!({"maxUnavailable": 0}), 0),
        // Neither is said: nobody goes, as in Kubernetes.
        (json!({}), 0),
        // An empty selector covers the namespace, one that is absent or of others nobody.
        (json!({"minAvailable": 3, "selector": {}}), 1),
        (json!({"minAvailable": 3, "selector": {"matchLabels": {"app": "other"}}}), 4),
    ] {
        let mut cluster = with_budget(4, spec.clone());
        let pods = cluster.active();
        assert_eq!(evicted(&mut cluster, &pods), expected, "{spec}");
        cluster.assert_replicas_agree();
    }
}

#[test]
fn the_refusal_says_what_is_needed() {
    let mut cluster = with_budget(3, json!({"minAvailable": 3}));
    let pod = cluster.active()[0].clone();
    let why = "The disruption budget web needs 3 healthy pods and has 3 currently";
    assert_eq!(evict(&mut cluster, &pod), Err(Rejection::TooManyRequests(pod.key.clone(), why.into())));
    assert!(cluster.state.get(&pod.key).is_some_and(|pod| !pod.meta.deleting()));
    // Deleting asks no budget.
    let (_, outcome) = cluster.delete(Kind::POD, &pod.key.name, None);
    assert!(!matches!(outcome, Outcome::Rejected(_)));
    // Who leaves already may be asked to again.
    assert_eq!(evict(&mut cluster, &pod), Ok(()));
}

/// When the one that was taken away is replaced, the next one may go.
#[test]
fn room_comes_back_with_the_replacement() {
    let mut cluster = with_budget(3, json!({"maxUnavailable": 1}));
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    let pods = cluster.active();
    assert_eq!(evicted(&mut cluster, &pods), 1);
    cluster.advance(2);
    assert_eq!(counts(&cluster), [3, 2, 2, 0]);
    let (allowed, reason) =
        cluster.condition(Kind::POD_DISRUPTION_BUDGET, "web", "DisruptionAllowed").unwrap();
    assert_eq!((allowed.as_str(), reason.as_str()), ("False", "InsufficientPods"));
    cluster.work_out();
    cluster.advance(2);
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
    let pods = cluster.active();
    assert_eq!(evicted(&mut cluster, &pods), 1);
    cluster.assert_replicas_agree();
}

/// Pods that are not ready go while the others are enough, or always if the budget says so.
#[test]
fn unhealthy_pods_go_where_that_takes_nothing_away() {
    for (policy, spare, expected) in [
        (Value::Null, true, true),
        (Value::Null, false, false),
        (json!("IfHealthyBudget"), false, false),
        (json!("AlwaysAllow"), false, true),
    ] {
        let least = if spare { 3 } else { 4 };
        let mut cluster =
            with_budget(4, json!({"minAvailable": least, "unhealthyPodEvictionPolicy": policy}));
        let sick = cluster.active()[0].clone();
        cluster.report_ready(std::slice::from_ref(&sick), false);
        let sick = cluster.state.get(&sick.key).unwrap().clone();
        assert_eq!(evict(&mut cluster, &sick).is_ok(), expected, "{policy} {spare}");
    }
}

#[test]
fn who_does_nothing_yet_is_missed_by_nobody() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::POD, pod("waiting", "web"));
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("web", spec));
    let waiting = cluster.get(Kind::POD, "waiting");
    assert_eq!(evict(&mut cluster, &waiting), Ok(()));
}

#[test]
fn two_budgets_for_a_pod_are_not_supported() {
    let mut cluster = with_budget(3, json!({"minAvailable": 1}));
    let spec = json!({"minAvailable": 1, "selector": {}});
    cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("second", spec));
    let pod = cluster.active()[0].clone();
    assert!(matches!(evict(&mut cluster, &pod), Err(Rejection::Unsupported(..))));
}

/// A part of pods whose owner does not say how many there should be is no number.
#[test]
fn a_share_of_an_unknown_whole_allows_nothing_and_says_why() {
    let mut cluster = Cluster::new(1);
    let mut lone = pod("lone", "web");
    lone["metadata"]["ownerReferences"] = json!([{"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u", "controller": true}]);
    cluster.create(Kind::POD, lone);
    let lone = cluster.get(Kind::POD, "lone");
    let now = "2026-01-01T00:00:00Z";
    cluster.report(std::slice::from_ref(&lone), |_| (running(true, now), false));
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("web", spec));
    let status = cluster.status(Kind::POD_DISRUPTION_BUDGET, "web");
    assert_eq!(status["disruptionsAllowed"], 0);
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(status["conditions"][0]["message"], "found no controllers for pod \"lone\"");
    let lone = cluster.get(Kind::POD, "lone");
    assert!(matches!(evict(&mut cluster, &lone), Err(Rejection::TooManyRequests(..))));
}

/// While a Deployment rolls out, its replica sets together ask for more than it does.
#[test]
fn the_deployment_says_how_many_there_should_be_and_not_its_replica_sets() {
    let mut cluster = with_budget(4, json!({"maxUnavailable": 1}));
    cluster.set_image("web", "v2");
    cluster.advance(2);
    assert!(cluster.active().len() > 4, "in the middle of it");
    assert_eq!(counts(&cluster)[..2], [4, 3]);
}

/// A scale of a custom kind.
fn scale() -> Value {
    json!({"scale": {"specReplicasPath": ".spec.size.wanted", "statusReplicasPath": ".status.replicas"}})
}

/// A custom object of a kind with these subresources, and the references of what it owns.
fn with_custom(subresources: Value, size: Value) -> (Cluster, Value) {
    with_custom_stored(subresources, size, None)
}

/// The same of a kind that a webhook converts, stored in a version. In the newer one the scale is elsewhere.
fn with_custom_stored(subresources: Value, size: Value, stored: Option<&str>) -> (Cluster, Value) {
    let kind = Kind::custom("example.com", "clonesets", "CloneSet", true);
    let definition = json!({"metadata": {"name": "clonesets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "clonesets", "singular": "cloneset", "kind": "CloneSet", "listKind": "CloneSetList"},
        "versions": [
            {"name": "v1", "served": true, "storage": true, "subresources": subresources},
            {"name": "v2", "served": true, "storage": false, "subresources":
                {"scale": {"specReplicasPath": ".spec.size.newer", "statusReplicasPath": ".status.replicas"}}},
        ],
        "conversion": {"strategy": if stored.is_some() { "Webhook" } else { "None" }},
    }});
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::CUSTOM_RESOURCE_DEFINITION, definition);
    let value = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"size": size}});
    let document = Document::from_value(value);
    let document = stored.map_or(document.clone(), |version| document.in_version(version));
    let (key, dry_run) = (ObjectKey::new(kind, "default", "web"), false);
    cluster.decide(Input::Api(Request::Create { key, generate_name: None, document, dry_run }));
    let uid = cluster.get(kind, "web").meta.uid.to_string();
    let owner = json!([{"apiVersion": "example.com/v1", "kind": "CloneSet", "name": "web", "uid": uid, "controller": true}]);
    (cluster, owner)
}

/// A custom kind that makes its pods itself says by its scale how many there should be.
#[test]
fn a_custom_kind_with_a_scale_says_how_many_there_should_be() {
    for (subresources, size, stored, expected) in [
        (scale(), json!({"wanted": 3}), None, 1),
        // One more is asked for than there is: that one is missing already.
        (scale(), json!({"wanted": 4}), None, 0),
        (scale(), json!({}), None, 0),
        (json!({}), json!({"wanted": 3}), None, 0),
        // It is looked for where the version has it that is stored, not the one that owns the pods.
        (scale(), json!({"wanted": 3}), Some("v1"), 1),
        (scale(), json!({"newer": 3}), Some("v2"), 1),
        (scale(), json!({"wanted": 3}), Some("v2"), 0),
    ] {
        let case = format!("{subresources} {size} {stored:?}");
        let (mut cluster, owner) = with_custom_stored(subresources, size, stored);
        for name in ["a", "b", "c"] {
            let mut owned = pod(name, "web");
            owned["metadata"]["ownerReferences"] = owner.clone();
            cluster.create(Kind::POD, owned);
        }
        let pods = cluster.active();
        cluster.report(&pods, |_| (running(true, "2026-01-01T00:00:00Z"), false));
        let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}});
        cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("web", spec));
        let pods = cluster.active();
        assert_eq!(pods.len(), 3);
        assert_eq!(evicted(&mut cluster, &pods), expected, "{case}");
        cluster.assert_replicas_agree();
    }
}

/// Whose ReplicaSets they are does not matter, unless a Deployment's.
#[test]
fn a_replica_set_of_a_custom_kind_speaks_for_itself() {
    let (mut cluster, owner) = with_custom(scale(), json!({"wanted": 9}));
    let mut set = replica_set("web", 3);
    set["metadata"]["ownerReferences"] = owner;
    cluster.create(Kind::REPLICA_SET, set);
    cluster.work_out();
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    cluster.create(Kind::POD_DISRUPTION_BUDGET, budget("web", spec));
    assert_eq!(counts(&cluster), [3, 2, 3, 1]);
}

#[test]
fn an_evicted_pod_says_so_in_the_turn_that_asks_it_to_go() {
    let mut cluster = Cluster::new(1);
    cluster.create(Kind::POD, pod("web", "web"));
    cluster.work_out();
    let web = cluster.get(Kind::POD, "web");
    evict(&mut cluster, &web).unwrap();
    let pod = cluster.get(Kind::POD, "web");
    assert!(pod.meta.deleting());
    let status = pod.document.status_value();
    let conditions = status["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!(
        (&target["status"], &target["reason"], &target["message"]),
        (&json!("True"), &json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
}
