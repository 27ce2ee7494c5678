//! What becomes of dependents when their owner is deleted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, deployment};
use kontiki_actors::{Kind, Outcome, input::Propagation};
use serde_json::{Value, json};

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
