//! What becomes of dependents when their owner is deleted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, START_MS, deployment, key, pod, replica_set};
use kontiki_actors::{
    Change, Document, Input, Kind, ObjectKey, Outcome, Rejection, Request,
    input::{Part, Propagation},
    kinds::pod::ENDED_LIMIT,
    object::rfc3339,
};
use serde_json::{Value, json};

/// More than a turn changes.
const MANY: usize = 2100;

fn running() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::DEPLOYMENT, deployment("web", 3));
    cluster.work_out();
    cluster
}

#[test]
fn in_the_background_the_owner_goes_first() {
    let mut cluster = running();
    let (_, outcome) = cluster.delete(Kind::DEPLOYMENT, "web", Some(Propagation::Background));
    assert!(matches!(outcome, Outcome::Deleted { .. }));
    assert!(cluster.find(Kind::DEPLOYMENT, "web").is_none());
    assert_eq!(cluster.replica_sets().len(), 0);
    assert_eq!((cluster.pods().len(), cluster.active().len()), (3, 0), "pods have their grace");
    cluster.work_out();
    assert_eq!(cluster.pods().len(), 0);
}

#[test]
fn in_the_foreground_the_owner_goes_last() {
    let mut cluster = running();
    cluster.delete(Kind::DEPLOYMENT, "web", Some(Propagation::Foreground));
    assert!(cluster.get(Kind::DEPLOYMENT, "web").meta.deleting());
    assert!(cluster.replica_sets()[0].meta.deleting());
    assert_eq!((cluster.pods().len(), cluster.active().len()), (3, 0));
    let leaving = cluster.pods();
    cluster.report(&leaving[..2], |_| (Value::Null, true));
    cluster.settle();
    assert!(cluster.find(Kind::DEPLOYMENT, "web").is_some());
    cluster.report(&leaving[2..], |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(cluster.replica_sets().len(), 0);
    assert!(cluster.find(Kind::DEPLOYMENT, "web").is_none());
}

#[test]
fn in_the_foreground_what_somebody_else_holds_stays_with_him() {
    let mut cluster = Cluster::new(0);
    let owner = |name: &str, uid: &str| {
        let mut owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "blockOwnerDeletion": true});
        (owner["name"], owner["uid"]) = (name.into(), uid.into());
        owner
    };
    let names = ["goes", "goes-too", "stays"];
    let uids = names.map(|name| config_map(&mut cluster, name, json!([])));
    let [first, second, third] = [0, 1, 2].map(|at| owner(names[at], &uids[at]));
    config_map(&mut cluster, "held", json!([first, second, third]));
    config_map(&mut cluster, "alone", json!([first, second]));
    let goes = |cluster: &mut Cluster, name: &str| {
        cluster.delete(Kind::CONFIG_MAP, name, Some(Propagation::Foreground));
        cluster.settle();
        assert!(cluster.find(Kind::CONFIG_MAP, name).is_none());
    };
    goes(&mut cluster, "goes");
    let owners = |cluster: &Cluster, name: &str| -> Vec<String> {
        let owners = cluster.get(Kind::CONFIG_MAP, name).meta.owners.clone();
        owners.iter().map(|owner| owner.name.to_string()).collect()
    };
    assert_eq!(owners(&cluster, "held"), ["goes-too", "stays"]);
    assert_eq!(owners(&cluster, "alone"), ["goes-too"]);
    goes(&mut cluster, "goes-too");
    assert_eq!(owners(&cluster, "held"), ["stays"]);
    assert!(cluster.find(Kind::CONFIG_MAP, "alone").is_none());
    goes(&mut cluster, "stays");
    assert!(cluster.find(Kind::CONFIG_MAP, "held").is_none());
}

#[test]
fn orphans_stay_and_forget_their_owner() {
    let mut cluster = running();
    cluster.delete(Kind::DEPLOYMENT, "web", Some(Propagation::Orphan));
    assert!(cluster.find(Kind::DEPLOYMENT, "web").is_none());
    let set = cluster.replica_sets()[0].clone();
    assert!(set.meta.owners.is_empty());
    cluster.delete(Kind::REPLICA_SET, &set.key.name, Some(Propagation::Orphan));
    assert_eq!(cluster.replica_sets().len(), 0);
    assert_eq!(cluster.active().len(), 3);
    assert!(cluster.active().iter().all(|p| p.meta.owners.is_empty()));
}

#[test]
fn what_names_an_owner_that_never_was_goes_in_a_moment() {
    let mut cluster = Cluster::new(0);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]);
    cluster.create(
        Kind::CONFIG_MAP,
        json!({"metadata": {"name": "child", "namespace": "default", "ownerReferences": owner}}),
    );
    cluster.advance(5);
    assert!(cluster.find(Kind::CONFIG_MAP, "child").is_none());
}

#[test]
fn a_set_deleted_under_its_deployment_is_made_again() {
    let mut cluster = running();
    let set = cluster.replica_sets()[0].clone();
    cluster.delete(Kind::REPLICA_SET, &set.key.name, Some(Propagation::Background));
    cluster.work_out();
    let again = &cluster.replica_sets()[0];
    assert_eq!(again.key.name, set.key.name);
    assert_ne!(again.meta.uid, set.meta.uid);
    assert_eq!(cluster.active().len(), 3);
}

fn owned_by(uid: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "top", "uid": uid}])
}

fn config_map(cluster: &mut Cluster, name: &str, owners: Value) -> String {
    let metadata = json!({"name": name, "namespace": "default", "ownerReferences": owners});
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": metadata}));
    cluster.get(Kind::CONFIG_MAP, name).meta.uid.to_string()
}

/// ConfigMaps c0, c1 and so on, each the owner of the next; and how many there were before.
fn chain(cluster: &mut Cluster) -> usize {
    let before = cluster.state.list(Kind::CONFIG_MAP, Some("default")).count();
    let mut owners = json!([]);
    for n in 0..3000 {
        let name = format!("c{n}");
        let uid = config_map(cluster, &name, owners);
        owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true}]);
    }
    before
}

#[test]
fn a_long_chain_of_owners_goes_whole() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let mut cluster = Cluster::new(0);
        let before = chain(&mut cluster);
        cluster.delete(Kind::CONFIG_MAP, "c0", Some(propagation));
        cluster.settle();
        assert_eq!(cluster.state.list(Kind::CONFIG_MAP, Some("default")).count(), before, "{propagation:?}");
    }
}

#[test]
fn a_chain_whose_first_lost_its_owner_goes_whole() {
    let mut cluster = Cluster::new(0);
    let before = chain(&mut cluster);
    cluster.edit(Kind::CONFIG_MAP, "c0", |c| c["metadata"]["ownerReferences"] = owned_by("gone"));
    cluster.advance(5);
    assert_eq!(cluster.state.list(Kind::CONFIG_MAP, Some("default")).count(), before);
}

#[test]
fn actors_do_not_forget_that_they_shall_go() {
    let mut cluster = Cluster::new(1);
    for (kind, mut value) in
        [(Kind::REPLICA_SET, replica_set("set", 1)), (Kind::DEPLOYMENT, deployment("web", 1))]
    {
        value["metadata"]["ownerReferences"] = owned_by("gone");
        cluster.create(kind, value);
    }
    cluster.advance(5);
    cluster.work_out();
    assert_eq!(cluster.state.list(Kind::DEPLOYMENT, None).count(), 0);
    assert_eq!((cluster.replica_sets().len(), cluster.pods().len()), (0, 0));
}

#[test]
fn what_a_full_turn_left_goes_though_its_actor_reacts_before() {
    let mut cluster = Cluster::new(1);
    let uid = config_map(&mut cluster, "top", json!([]));
    let mut set = replica_set("z", 1);
    set["metadata"]["ownerReferences"] = owned_by(&uid);
    cluster.create(Kind::REPLICA_SET, set);
    cluster.work_out();
    for n in 0..MANY {
        let mut set = replica_set(&format!("a{n}"), 0);
        set["metadata"]["ownerReferences"] = owned_by(&uid);
        cluster.create(Kind::REPLICA_SET, set);
    }
    cluster.settle();
    cluster.delete(Kind::CONFIG_MAP, "top", None);
    assert!(cluster.find(Kind::REPLICA_SET, "z").is_some(), "the turn was full");
    cluster.now_ms += 1;
    let pods = cluster.pods();
    cluster.report_ready(&pods, false);
    cluster.work_out();
    assert_eq!((cluster.replica_sets().len(), cluster.pods().len()), (0, 0));
}

#[test]
fn a_set_lets_go_of_all_its_pods_though_it_reacts_in_between() {
    let mut cluster = Cluster::new(12);
    cluster.create(Kind::REPLICA_SET, replica_set("web", MANY as i64));
    cluster.advance(5);
    cluster.delete(Kind::REPLICA_SET, "web", Some(Propagation::Orphan));
    let held: Vec<_> = cluster.pods().into_iter().filter(|pod| !pod.meta.owners.is_empty()).collect();
    assert!(!held.is_empty(), "the turn was full");
    cluster.now_ms += 1;
    cluster.report_ready(&held[..1], true);
    cluster.settle();
    assert!(cluster.find(Kind::REPLICA_SET, "web").is_none());
    assert_eq!(cluster.active().len(), MANY);
    assert!(cluster.active().iter().all(|pod| pod.meta.owners.is_empty()));
}

#[test]
fn owners_own_nothing_in_another_namespace() {
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut cluster = Cluster::new(0);
        let uid = config_map(&mut cluster, "top", json!([]));
        let child = config_map(&mut cluster, "child", owned_by(&uid));
        cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "other"}}));
        let there = |name: &str| ObjectKey::new(Kind::CONFIG_MAP, "other", name);
        let make = |cluster: &mut Cluster, name: &str, owners: Value, finalizers: Value| {
            let metadata = json!({
                "name": name, "namespace": "other", "ownerReferences": owners, "finalizers": finalizers,
            });
            cluster.create(Kind::CONFIG_MAP, json!({"metadata": metadata}));
            cluster.state.get(&there(name)).unwrap().meta.uid.to_string()
        };
        let blocks = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "top", "uid": uid, "blockOwnerDeletion": true});
        let anchor = make(&mut cluster, "anchor", json!([]), json!([]));
        let anchored = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": anchor});
        make(&mut cluster, "held", json!([anchored, blocks]), json!(["example.com/holds"]));
        make(&mut cluster, "lonely", json!([blocks]), json!([]));
        cluster.create(
            Kind::CLUSTER_ROLE,
            json!({"metadata": {"name": "wide", "ownerReferences": [blocks]}, "rules": []}),
        );
        cluster.advance(5);
        // An owner elsewhere is one that is not there; what is of the cluster is never taken for garbage of a namespace.
        assert!(cluster.state.get(&there("lonely")).is_none());
        assert!(cluster.find(Kind::CONFIG_MAP, "top").is_some());
        cluster.delete(Kind::CONFIG_MAP, "top", Some(propagation));
        cluster.advance(5);
        assert!(
            cluster.find(Kind::CONFIG_MAP, "top").is_none(),
            "{propagation:?}: nobody elsewhere holds it"
        );
        let left = cluster.find(Kind::CONFIG_MAP, "child").map(|child| child.meta.uid.to_string());
        assert_eq!(left, (propagation == Propagation::Orphan).then_some(child), "{propagation:?}");
        let held = cluster.state.get(&there("held")).unwrap();
        assert!(!held.meta.deleting(), "{propagation:?}");
        let owners: Vec<&str> = held.meta.owners.iter().map(|owner| &*owner.uid).collect();
        assert_eq!(owners, [anchor.as_str()], "{propagation:?}");
        let wide = cluster.get(Kind::CLUSTER_ROLE, "wide");
        assert_eq!((wide.meta.deleting(), wide.meta.owners.len()), (false, 1), "{propagation:?}");
    }
}

// With work that grows by the square of the number, the next two would not come to an end in minutes.

#[test]
fn of_very_many_owners_those_that_are_gone_are_forgotten() {
    let mut cluster = Cluster::new(0);
    let uid = config_map(&mut cluster, "top", json!([]));
    let mut owners = vec![json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "1"}); 55_000];
    owners.extend(owned_by(&uid).as_array().cloned().unwrap());
    let other = config_map(&mut cluster, "other", json!([]));
    owners.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": other}));
    config_map(&mut cluster, "child", owners.into());
    cluster.delete(Kind::CONFIG_MAP, "top", None);
    let child = cluster.get(Kind::CONFIG_MAP, "child");
    let left: Vec<&str> = child.meta.owners.iter().map(|r| &*r.uid).collect();
    assert_eq!(left, [other.as_str()]);
}

#[test]
fn very_many_finalizers_hold_an_object_that_takes_no_more() {
    let mut cluster = Cluster::new(0);
    let finalizers: Vec<String> = (0..150_000).map(|n| format!("example.com/{n:06}")).collect();
    let metadata = json!({"name": "held", "namespace": "default", "finalizers": finalizers});
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": metadata}));
    cluster.delete(Kind::CONFIG_MAP, "held", None);
    let annotate = |c: &mut Value| c["metadata"]["annotations"] = json!({"example.com/note": "a"});
    cluster.edit(Kind::CONFIG_MAP, "held", annotate);
    let mut value = cluster.get(Kind::CONFIG_MAP, "held").document.to_value();
    value["metadata"]["finalizers"][7] = "example.com/more".into();
    let (_, outcome) = cluster.decide(Input::Api(Request::Update {
        key: key(Kind::CONFIG_MAP, "held"),
        document: Document::from_value(value),
        part: Part::Main,
        revision: None,
        uid: None,
        dry_run: false,
    }));
    assert!(matches!(outcome, Outcome::Rejected(Rejection::Invalid(..))), "{outcome:?}");
}

/// Pods that ended, made one second after the other, as earlier turns left them.
fn with_ended(cluster: &mut Cluster, count: usize) {
    for n in 0..count {
        let name = format!("old-{n:06}");
        let mut old = pod(&name, "old");
        old["metadata"]["uid"] = name.as_str().into();
        old["metadata"]["creationTimestamp"] = rfc3339(START_MS + n as i64 * 1000).into();
        old["status"]["phase"] = if n % 2 == 0 { "Succeeded" } else { "Failed" }.into();
        let document = Document::from_value(old);
        let change = Change::between(key(Kind::POD, &name), None, &document).unwrap();
        cluster.state.apply(&change);
        cluster.follower.apply(&change);
    }
    cluster.now_ms += count as i64 * 1000;
}

#[test]
fn of_the_pods_that_ended_the_oldest_go_when_there_are_too_many() {
    let mut cluster = Cluster::new(1);
    with_ended(&mut cluster, ENDED_LIMIT - 1);
    let end = |cluster: &mut Cluster, name: &str| {
        cluster.create(Kind::POD, pod(name, "new"));
        let made = cluster.get(Kind::POD, name);
        cluster.report(&[made], |_| (json!({"phase": "Failed"}), false));
    };
    end(&mut cluster, "one");
    assert_eq!(cluster.pods().len(), ENDED_LIMIT, "as many as are kept");
    end(&mut cluster, "two");
    assert!(cluster.find(Kind::POD, "old-000000").is_none(), "the oldest");
    assert!(cluster.find(Kind::POD, "old-000001").is_some() && cluster.find(Kind::POD, "two").is_some());
    assert_eq!((cluster.pods().len(), cluster.state.ended_count()), (ENDED_LIMIT, ENDED_LIMIT));
    // One that is held by a finalizer is told to go, and does not count any more.
    cluster.edit(Kind::POD, "old-000001", |p| p["metadata"]["finalizers"] = json!(["example.com/held"]));
    end(&mut cluster, "three");
    assert!(cluster.get(Kind::POD, "old-000001").meta.deleting());
    assert_eq!((cluster.pods().len(), cluster.state.ended_count()), (ENDED_LIMIT + 1, ENDED_LIMIT));
    cluster.assert_replicas_agree();
    assert!(cluster.follower.ended().eq(cluster.state.ended()));
}

#[test]
fn an_owner_of_another_namespace_is_told_of() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "other"}}));
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": {"name": "owner", "namespace": "other"}}));
    let owner =
        cluster.state.get(&ObjectKey::new(Kind::CONFIG_MAP, "other", "owner")).unwrap().meta.uid.clone();
    let owned = json!({"metadata": {"name": "owned", "namespace": "default", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}]}});
    cluster.create(Kind::CONFIG_MAP, owned);
    cluster.advance(5);
    assert!(cluster.find(Kind::CONFIG_MAP, "owned").is_none(), "as in Kubernetes: nothing owns it");
    let told = cluster.events("OwnerRefInvalidNamespace");
    let words = format!(
        "ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {owner}] does not exist in namespace \"default\""
    );
    assert_eq!(told, [words]);
}

#[test]
fn a_circle_of_owners_goes_whole() {
    for propagation in [Propagation::Foreground, Propagation::Background] {
        for size in 1..=3 {
            let mut cluster = Cluster::new(1);
            let names: Vec<String> = (0..size).map(|n| format!("pod-{n}")).collect();
            for name in &names {
                cluster.create(Kind::POD, pod(name, "web"));
            }
            cluster.work_out();
            for (at, name) in names.iter().enumerate() {
                let owner = cluster.get(Kind::POD, &names[(at + size - 1) % size]);
                let reference = json!([{"apiVersion": "v1", "kind": "Pod", "name": owner.key.name, "uid": owner.meta.uid,
                    "controller": true, "blockOwnerDeletion": true}]);
                cluster.edit(Kind::POD, name, |pod| pod["metadata"]["ownerReferences"] = reference);
            }
            cluster.advance(5);
            assert_eq!(cluster.active().len(), size, "all have an owner");
            cluster.delete(Kind::POD, &names[0], Some(propagation));
            cluster.work_out();
            assert_eq!(cluster.pods().len(), 0, "{propagation:?} of {size}");
        }
    }
}
