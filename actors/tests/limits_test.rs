//! Limit ranges: what pods and claims ask for when they do not say, and how little and how much they may ask for.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, key, replica_set};
use kontiki_actors::{Document, Input, Kind, Outcome, Request};
use serde_json::{Value, json};

fn with_limits(limits: Value) -> Cluster {
    let mut cluster = Cluster::new(3);
    let range = json!({"metadata": {"name": "r", "namespace": "default"}, "spec": {"limits": limits}});
    cluster.create(Kind::LIMIT_RANGE, range);
    cluster
}

/// Creates an object, and tells why it was refused.
fn create(cluster: &mut Cluster, kind: Kind, name: &str, spec: Value) -> Result<(), String> {
    let value = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec,
        "status": {"phase": "Pending", "qosClass": "BestEffort"}});
    let request = Request::Create {
        key: key(kind, name),
        generate_name: None,
        document: Document::from_value(value),
        dry_run: false,
    };
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection.to_string()),
        _ => Ok(()),
    }
}

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "c", "image": "i", "resources": {"requests": requests, "limits": limits}})
}

fn refused(cluster: &mut Cluster, containers: Value) -> String {
    create(cluster, Kind::POD, "refused", json!({"containers": containers})).unwrap_err()
}

#[test]
fn what_is_not_said_is_set() {
    let mut cluster = with_limits(json!([{
        "type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "250m"}, "max": {"example.com/gpu": 2},
    }]));
    let spec = json!({
        "containers": [container(json!({"memory": "5Mi"}), json!({"cpu": "2"}))],
        "initContainers": [{"name": "i"}],
    });
    assert_eq!(create(&mut cluster, Kind::POD, "p", spec), Ok(()));
    let pod = cluster.get(Kind::POD, "p");
    let spec = pod.document.spec_value();
    let all = json!({"requests": {"cpu": "250m", "memory": "5Mi", "example.com/gpu": 2},
        "limits": {"cpu": "2", "memory": "1Gi", "example.com/gpu": 2}});
    assert_eq!(spec["containers"][0]["resources"], all);
    assert_eq!(spec["initContainers"][0]["resources"]["requests"]["memory"], "1Gi", "as its limit");
    assert_eq!(pod.document.status_value()["qosClass"], "Burstable");
    let told = &pod.meta.annotations["kubernetes.io/limit-ranger"];
    let words = "LimitRanger plugin set: cpu, example.com/gpu request for container c; example.com/gpu, memory limit for container c; \
                 cpu, example.com/gpu, memory request for init container i; cpu, example.com/gpu, memory limit for init container i";
    assert_eq!(told, words);
    let spec = json!({"containers": [container(json!({}), json!({}))]});
    assert_eq!(create(&mut cluster, Kind::POD, "plain", spec), Ok(()));
    let spec = cluster.get(Kind::POD, "plain").document.spec_value();
    assert_eq!(spec.get("initContainers"), None, "a list that was not there is not there as null");
}

#[test]
fn too_little_and_too_much_is_refused_in_the_words_of_kubernetes() {
    let mut cluster = with_limits(json!([
        {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "4"}},
        {"type": "Pod", "max": {"memory": "1Gi"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}},
    ]));
    let memory = json!({"memory": "1Gi"});
    let one = |request: &str, limit: &str| {
        json!([container(json!({"cpu": request, "memory": "1Gi"}), json!({"cpu": limit, "memory": "1Gi"}))])
    };
    for (request, limit, words) in [
        ("50m", "200m", "minimum cpu usage per Container is 100m, but request is 50m"),
        ("500m", "1100m", "maximum cpu usage per Container is 1, but limit is 1100m"),
        ("100m", "500m", "cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000"),
    ] {
        let why = refused(&mut cluster, one(request, limit));
        assert!(why.ends_with(&format!("forbidden: {words}")), "{why}");
    }
    let why = refused(&mut cluster, json!([container(json!({}), json!({}))]));
    assert!(why.ends_with("maximum memory usage per Pod is 1Gi.  No limit is specified"), "{why}");
    let two =
        json!([one("500m", "1")[0], {"name": "d", "resources": {"requests": memory, "limits": memory}}]);
    let why = refused(&mut cluster, two);
    assert!(why.ends_with("maximum memory usage per Pod is 1Gi, but limit is 2Gi"), "{why}");
    assert_eq!(create(&mut cluster, Kind::POD, "fits", json!({"containers": one("250m", "1")})), Ok(()));
    let claim = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    let claims = Kind::PERSISTENT_VOLUME_CLAIM;
    let why = create(&mut cluster, claims, "small", claim("500Mi")).unwrap_err();
    assert!(
        why.ends_with("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"),
        "{why}"
    );
    let why = create(&mut cluster, claims, "large", claim("11Gi")).unwrap_err();
    assert!(
        why.ends_with("maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 11Gi"),
        "{why}"
    );
    assert_eq!(create(&mut cluster, claims, "fits", claim("2Gi")), Ok(()));
}

#[test]
fn pods_that_actors_make_are_treated_the_same_and_count_in_quotas() {
    let mut cluster =
        with_limits(json!([{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "2"}}]));
    let quota =
        json!({"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"limits.cpu": "1"}}});
    cluster.create(Kind::RESOURCE_QUOTA, quota);
    cluster.create(Kind::REPLICA_SET, replica_set("web", 3));
    let pods = cluster.pods();
    assert_eq!(pods.len(), 2, "the third one finds no room");
    assert_eq!(pods[0].document.spec_value()["containers"][0]["resources"]["limits"]["cpu"], "500m");
    assert_eq!(pods[0].document.status_value()["qosClass"], "Burstable");
    assert_eq!(cluster.status(Kind::RESOURCE_QUOTA, "q")["used"]["limits.cpu"], "1");
    let mut large = replica_set("large", 1);
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "3"}});
    cluster.create(Kind::REPLICA_SET, large);
    let events = cluster.events("FailedCreate");
    let words = "maximum cpu usage per Container is 2, but limit is 3";
    assert!(events.iter().any(|event| event.contains(words)), "{events:?}");
}

#[test]
fn pods_that_actors_make_ask_for_their_limits_before_limit_ranges_are_asked() {
    let mut cluster = with_limits(json!([
        {"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "1Mi"}, "default": {"memory": "1Gi"}},
    ]));
    let mut web = replica_set("web", 1);
    let limits = json!({"cpu": "1", "memory": "512Mi"});
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": limits});
    cluster.create(Kind::REPLICA_SET, web);
    let pods = cluster.pods();
    let resources = &pods[0].document.spec_value()["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": limits, "requests": limits}));
    assert_eq!(pods[0].document.status_value()["qosClass"], "Guaranteed");
    let template = &cluster.get(Kind::REPLICA_SET, "web").document.spec_value()["template"];
    assert!(
        template["spec"]["containers"][0]["resources"]["requests"].is_null(),
        "it keeps what it was told"
    );
}

#[test]
fn amounts_are_compared_however_large_they_are() {
    let mut cluster = with_limits(json!([
        {"type": "Container", "max": {"memory": "1Gi"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "9Pi"}, "max": {"storage": "10Pi"}},
    ]));
    let memory = json!({"memory": "10Pi"});
    let why = refused(&mut cluster, json!([container(memory.clone(), memory)]));
    assert!(why.ends_with("maximum memory usage per Container is 1Gi, but limit is 10Pi"), "{why}");
    let claim = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    let claims = Kind::PERSISTENT_VOLUME_CLAIM;
    let why = create(&mut cluster, claims, "large", claim("11Pi")).unwrap_err();
    assert!(why.contains("maximum storage usage"), "{why}");
    let why = create(&mut cluster, claims, "small", claim("1Gi")).unwrap_err();
    assert!(why.contains("minimum storage usage"), "{why}");
    assert_eq!(create(&mut cluster, claims, "fits", claim("10Pi")), Ok(()));
}
