//! Pods that wait for a place get it when what they waited for comes true, in that very turn.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::Kind;
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";

fn pod(name: &str, app: &str, affinity: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "affinity": affinity}})
}

fn near(app: &str) -> Value {
    let term = json!({"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": app}}});
    json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

fn node_of(cluster: &Cluster, name: &str) -> Option<String> {
    cluster.state.get(&key(Kind::POD, name)).unwrap().pod().unwrap().node.as_ref().map(ToString::to_string)
}

#[test]
fn a_pod_follows_whom_it_waited_for() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::POD, pod("web", "web", near("db")));
    cluster.create(Kind::POD, pod("cache", "cache", near("web")));
    cluster.create(Kind::POD, pod("other", "other", json!({})));
    assert_eq!(node_of(&cluster, "web"), None);
    cluster.create(Kind::POD, pod("db", "db", json!({})));
    let at = node_of(&cluster, "db");
    // And who waited for that one follows it.
    assert_eq!((node_of(&cluster, "web"), node_of(&cluster, "cache")), (at.clone(), at));
    assert_eq!(cluster.state.wanting().count(), 0);
    cluster.assert_replicas_agree();
}

#[test]
fn a_label_that_comes_later_counts() {
    let mut cluster = Cluster::new(3);
    cluster.create(Kind::POD, pod("web", "web", near("db")));
    cluster.create(Kind::POD, pod("store", "store", json!({})));
    assert_eq!(node_of(&cluster, "web"), None);
    cluster.edit(Kind::POD, "store", |pod| pod["metadata"]["labels"]["app"] = "db".into());
    assert_eq!(node_of(&cluster, "web"), node_of(&cluster, "store"));
}

/// Terms may select namespaces by label.
#[test]
fn a_namespace_that_is_labelled_later_counts() {
    let mut cluster = Cluster::new(3);
    let mut wanted = near("db");
    let term = &mut wanted["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    term["namespaceSelector"] = json!({"matchLabels": {"team": "blue"}});
    cluster.create(Kind::POD, pod("web", "web", wanted));
    cluster.create(Kind::POD, pod("db", "db", json!({})));
    assert_eq!(node_of(&cluster, "web"), None);
    cluster.edit(Kind::NAMESPACE, "default", |namespace| {
        namespace["metadata"]["labels"]["team"] = "blue".into()
    });
    assert_eq!(node_of(&cluster, "web"), node_of(&cluster, "db"));
}
