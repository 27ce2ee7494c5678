//! Resource quotas: nothing takes more than there is, whoever makes it, and what is used is what is there.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, deployment, key, replica_set};
use kontiki_actors::{Change, Document, Input, Kind, ObjectKey, Outcome, Request, input::Part};
use serde_json::{Value, json};

fn quota(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {}})
}

fn with_quota(hard: Value) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::RESOURCE_QUOTA, quota("q", json!({"hard": hard})));
    cluster
}

fn used(cluster: &Cluster, name: &str) -> Value {
    cluster.status(Kind::RESOURCE_QUOTA, name)["used"].clone()
}

/// Creates an object, and tells why it was refused.
fn create(cluster: &mut Cluster, kind: Kind, value: Value) -> Result<(), String> {
    let request = Request::Create {
        key: key(kind, value["metadata"]["name"].as_str().unwrap()),
        generate_name: None,
        document: Document::from_value(value),
        dry_run: false,
    };
    match cluster.decide(Input::Api(request)).1 {
        Outcome::Rejected(rejection) => Err(rejection.to_string()),
        _ => Ok(()),
    }
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": {"phase": "Pending"}})
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "image": "i", "resources": {"requests": requests, "limits": limits}})
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {}})
}

/// What is used is what a recount would find.
fn assert_exact(cluster: &mut Cluster, name: &str) {
    let before = used(cluster, name);
    cluster
        .edit(Kind::RESOURCE_QUOTA, name, |quota| quota["metadata"]["labels"] = json!({"counted": "anew"}));
    assert_eq!(used(cluster, name), before);
}

#[test]
fn pods_that_actors_make_do_not_go_beyond_it_within_one_turn() {
    let mut cluster = with_quota(json!({"pods": "4", "count/replicasets.apps": "9"}));
    cluster.create(Kind::DEPLOYMENT, deployment("web", 10));
    assert_eq!(cluster.pods().len(), 4, "one turn makes as many as there are");
    assert_eq!(used(&cluster, "q"), json!({"pods": "4", "count/replicasets.apps": "1"}));
    let failure = "exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4";
    let events = cluster.events("FailedCreate");
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("Error creating: pods \"web-") && event.ends_with(failure)),
        "{events:?}"
    );
    cluster.assert_replicas_agree();
    // With more of it, there are more.
    cluster.edit(Kind::RESOURCE_QUOTA, "q", |quota| quota["spec"]["hard"]["pods"] = "7".into());
    cluster.advance(60);
    assert_eq!((cluster.pods().len(), used(&cluster, "q")["pods"].clone()), (7, json!("7")));
    assert_exact(&mut cluster, "q");
}

#[test]
fn what_goes_or_ends_is_given_back() {
    let mut cluster = with_quota(json!({"pods": "3", "count/pods": "5"}));
    cluster.create(Kind::REPLICA_SET, replica_set("web", 3));
    cluster.work_out();
    let pods = cluster.pods();
    cluster.report(&pods[..1], |_| (json!({"phase": "Failed"}), false));
    cluster.work_out();
    let status = used(&cluster, "q");
    assert_eq!(
        status,
        json!({"pods": "3", "count/pods": "4"}),
        "the failed one is there, and another one runs for it"
    );
    cluster.delete(Kind::REPLICA_SET, "web", None);
    cluster.work_out();
    assert_eq!(used(&cluster, "q"), json!({"pods": "0", "count/pods": "0"}));
    assert_exact(&mut cluster, "q");
}

#[test]
fn computing_power_and_memory_are_added_up_as_in_kubernetes() {
    let hard =
        json!({"requests.cpu": "1", "memory": "1Gi", "limits.cpu": "2", "requests.example.com/gpu": "2"});
    let mut cluster = with_quota(hard);
    let spec = json!({
        "initContainers": [
            container("first", json!({"cpu": "600m", "memory": "10Mi"}), json!({"cpu": "600m"})),
            {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m", "memory": "10Mi"}, "limits": {"cpu": "100m"}}},
        ],
        "containers": [
            container("a", json!({"cpu": "100m", "memory": "100Mi", "example.com/gpu": 1}), json!({"cpu": "1"})),
            container("b", json!({"cpu": "0.2", "memory": "156Mi"}), json!({"cpu": "500m"})),
        ],
    });
    assert_eq!(create(&mut cluster, Kind::POD, pod("one", spec.clone())), Ok(()));
    let expected = json!({"requests.cpu": "600m", "memory": "266Mi", "limits.cpu": "1600m", "requests.example.com/gpu": "1"});
    assert_eq!(used(&cluster, "q"), expected);
    let refused = create(&mut cluster, Kind::POD, pod("two", spec)).unwrap_err();
    let words = "exceeded quota: q, requested: limits.cpu=1600m,requests.cpu=600m, used: limits.cpu=1600m,requests.cpu=600m, \
                 limited: limits.cpu=2,requests.cpu=1";
    assert!(refused.ends_with(words), "{refused}");
    let bare = json!({"containers": [{"name": "x"}, container("y", json!({"cpu": "1m", "memory": "1"}), json!({}))]});
    let refused = create(&mut cluster, Kind::POD, pod("bare", bare)).unwrap_err();
    let words = "failed quota: q: must specify limits.cpu for: x,y; memory for: x; requests.cpu for: x";
    assert!(refused.ends_with(words), "{refused}");
    assert_exact(&mut cluster, "q");
}

#[test]
fn objects_are_counted_by_either_name() {
    let mut cluster = Cluster::new(0);
    assert_eq!(create(&mut cluster, Kind::CONFIG_MAP, config_map("before")), Ok(()));
    let maps = cluster.state.list(Kind::CONFIG_MAP, Some("default")).count();
    let hard = json!({"configmaps": (maps + 1).to_string(), "count/secrets": "1", "services.nodeports": "2",
        "services.loadbalancers": "0", "gold.storageclass.storage.k8s.io/requests.storage": "10Gi", "persistentvolumeclaims": "9"});
    cluster.create(Kind::RESOURCE_QUOTA, quota("q", json!({"hard": hard})));
    assert_eq!(used(&cluster, "q")["configmaps"], maps.to_string(), "what was there before counts");
    assert_eq!(create(&mut cluster, Kind::CONFIG_MAP, config_map("a")), Ok(()));
    let refused = create(&mut cluster, Kind::CONFIG_MAP, config_map("b")).unwrap_err();
    assert!(refused.contains("exceeded quota: q, requested: configmaps=1"), "{refused}");
    cluster.delete(Kind::CONFIG_MAP, "a", None);
    assert_eq!(create(&mut cluster, Kind::CONFIG_MAP, config_map("b")), Ok(()));
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"type": kind, "ports": [{"port": 1}, {"port": 2}]}});
    assert_eq!(create(&mut cluster, Kind::SERVICE, service("n", "NodePort")), Ok(()));
    assert!(
        create(&mut cluster, Kind::SERVICE, service("l", "LoadBalancer"))
            .unwrap_err()
            .contains("services.loadbalancers=0")
    );
    let claim = |name: &str, class: &str, size: &str| {
        json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    let claims = Kind::PERSISTENT_VOLUME_CLAIM;
    assert_eq!(create(&mut cluster, claims, claim("g", "gold", "6Gi")), Ok(()));
    assert_eq!(create(&mut cluster, claims, claim("s", "silver", "60Gi")), Ok(()));
    assert!(
        create(&mut cluster, claims, claim("h", "gold", "6Gi"))
            .unwrap_err()
            .contains("requests.storage=6Gi, used")
    );
    // One that is there does not grow beyond it either.
    let grow = |cluster: &mut Cluster, size: &str| {
        let request = Request::Update {
            key: ObjectKey::new(claims, "default", "g"),
            document: Document::from_value(claim("g", "gold", size)),
            part: Part::Main,
            revision: None,
            uid: None,
            dry_run: false,
        };
        matches!(cluster.decide(Input::Api(request)).1, Outcome::Object { .. })
    };
    assert!(!grow(&mut cluster, "11Gi"));
    assert!(grow(&mut cluster, "9Gi"));
    assert_eq!(used(&cluster, "q")["gold.storageclass.storage.k8s.io/requests.storage"], "9Gi");
    assert_exact(&mut cluster, "q");
}

#[test]
fn scopes_say_which_pods_are_meant() {
    let mut cluster = Cluster::new(0);
    let scoped = |scopes: Value| json!({"hard": {"pods": "9"}, "scopes": scopes});
    let by_class = |operator: &str, values: Value| json!({"hard": {"pods": "9"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    for (name, spec) in [
        ("best-effort", scoped(json!(["BestEffort"]))),
        ("ends-and-is-not-best-effort", scoped(json!(["Terminating", "NotBestEffort"]))),
        ("stays", scoped(json!(["NotTerminating"]))),
        ("in", by_class("In", json!(["high"]))),
        ("not-in", by_class("NotIn", json!(["high"]))),
        ("exists", by_class("Exists", Value::Null)),
        ("crosses", scoped(json!(["CrossNamespacePodAffinity"]))),
    ] {
        cluster.create(Kind::RESOURCE_QUOTA, quota(name, spec));
    }
    let plain = json!({"containers": [{"name": "c"}]});
    let ends = json!({"containers": [container("c", json!({"cpu": "1m"}), json!({}))], "activeDeadlineSeconds": 5, "priorityClassName": "high"});
    let term = json!([{"topologyKey": "zone", "namespaceSelector": {}}]);
    let crosses = json!({"containers": [{"name": "c"}], "priorityClassName": "low",
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    for (name, spec) in [("plain", plain), ("ends", ends), ("crosses", crosses)] {
        assert_eq!(create(&mut cluster, Kind::POD, pod(name, spec)), Ok(()));
    }
    for (name, expected) in [
        ("best-effort", "2"),
        ("ends-and-is-not-best-effort", "1"),
        ("stays", "2"),
        ("in", "1"),
        ("not-in", "2"),
        ("exists", "2"),
        ("crosses", "1"),
    ] {
        assert_eq!(used(&cluster, name)["pods"], expected, "{name}");
        assert_exact(&mut cluster, name);
    }
}

#[test]
fn who_writes_to_its_status_does_not_change_what_is_used() {
    let mut cluster = with_quota(json!({"configmaps": "100"}));
    let maps = cluster.state.list(Kind::CONFIG_MAP, Some("default")).count();
    let mut forged = cluster.get(Kind::RESOURCE_QUOTA, "q").document.to_value();
    forged["status"]["used"]["configmaps"] = "0".into();
    let request = Request::Update {
        key: key(Kind::RESOURCE_QUOTA, "q"),
        document: Document::from_value(forged),
        part: Part::Status,
        revision: None,
        uid: None,
        dry_run: false,
    };
    cluster.decide(Input::Api(request));
    assert_eq!(used(&cluster, "q")["configmaps"], maps.to_string());
}

/// As it was stored by a version that did nothing with it.
#[test]
fn one_that_was_never_counted_is_counted_when_it_is_needed() {
    let mut cluster = Cluster::new(0);
    let maps = cluster.state.list(Kind::CONFIG_MAP, Some("default")).count();
    let old = quota("q", json!({"hard": {"configmaps": (maps + 1).to_string()}}));
    let Document { metadata, spec, status, rest } = Document::from_value(old);
    let key = key(Kind::RESOURCE_QUOTA, "q");
    let (metadata, spec, status, rest) = (Some(metadata), Some(spec), Some(status), Some(rest));
    let change = Change::Put { key, metadata, spec, status, rest };
    cluster.state.apply(&change);
    cluster.follower.apply(&change);
    assert_eq!(create(&mut cluster, Kind::CONFIG_MAP, config_map("a")), Ok(()));
    assert!(create(&mut cluster, Kind::CONFIG_MAP, config_map("b")).is_err());
    assert_eq!(used(&cluster, "q")["configmaps"], (maps + 1).to_string());
}

#[test]
fn claims_of_stateful_sets_wait_for_room() {
    let mut cluster = with_quota(json!({"persistentvolumeclaims": "1"}));
    let set = json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {
        "replicas": 2, "serviceName": "db", "podManagementPolicy": "Parallel", "selector": {"matchLabels": {"app": "db"}},
        "template": driver::template("db", "v1"),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}],
    }});
    cluster.create(Kind::STATEFUL_SET, set);
    assert_eq!(
        (cluster.pods().len(), used(&cluster, "q")["persistentvolumeclaims"].clone()),
        (1, json!("1"))
    );
    let events = cluster.events("FailedCreate");
    assert!(
        events.iter().any(|event| event.contains("exceeded quota: q, requested: persistentvolumeclaims=1")),
        "{events:?}"
    );
}

#[test]
fn amounts_are_counted_however_large_they_are() {
    let mut cluster = with_quota(json!({"limits.memory": "10Gi", "requests.storage": "10Gi"}));
    for memory in ["9Pi", "10Pi", "10P", "9223372036854775807"] {
        let spec = json!({"containers": [container("a", json!({}), json!({"memory": memory}))]});
        let refused = create(&mut cluster, Kind::POD, pod("large", spec)).unwrap_err();
        assert!(refused.contains("exceeded quota: q, requested: limits.memory="), "{memory}: {refused}");
    }
    let claim = json!({"metadata": {"name": "large", "namespace": "default"},
        "spec": {"resources": {"requests": {"storage": "10Pi"}}}});
    let refused = create(&mut cluster, Kind::PERSISTENT_VOLUME_CLAIM, claim).unwrap_err();
    let words = "exceeded quota: q, requested: requests.storage=10Pi, used: requests.storage=0, limited: requests.storage=10Gi";
    assert!(refused.contains(words), "{refused}");
    // And so are those of the quota.
    cluster.edit(Kind::RESOURCE_QUOTA, "q", |quota| quota["spec"]["hard"]["limits.memory"] = "10Ei".into());
    for name in ["one", "two"] {
        let spec = json!({"containers": [container("a", json!({}), json!({"memory": "5Ei"}))]});
        assert_eq!(create(&mut cluster, Kind::POD, pod(name, spec)), Ok(()));
    }
    assert_eq!(used(&cluster, "q")["limits.memory"], "10Ei");
    assert_exact(&mut cluster, "q");
    let spec = json!({"containers": [container("a", json!({}), json!({"memory": "1"}))]});
    assert!(create(&mut cluster, Kind::POD, pod("three", spec)).is_err());
}
