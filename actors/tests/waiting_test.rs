//! Pods that wait for a place get it when what they waited for comes true, in that very turn.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::{Change, Document, Kind};
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

#[test]
fn who_asks_for_more_than_there_can_be_fits_nowhere_and_takes_nothing_that_does_not_come_back() {
    let mut cluster = Cluster::new(1);
    let pod = |name: &str, memory: &str, node: &str| {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": node,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"memory": memory}}}]}})
    };
    for (name, memory) in [("nine", "9Pi"), ("ten", "10P"), ("most", "9223372036854775807")] {
        cluster.create(Kind::POD, pod(name, memory, ""));
        assert_eq!(node_of(&cluster, name), None, "{memory}");
    }
    cluster.create(Kind::POD, pod("small", "1Gi", ""));
    // Who was put there by hand, while earlier builds led, may have asked for what the node does not have.
    let forced = ["a", "b", "c"];
    for name in forced {
        let mut value = pod(name, "9E", "node-0");
        value["metadata"]["uid"] = name.into();
        let change = Change::between(key(Kind::POD, name), None, &Document::from_value(value)).unwrap();
        cluster.state.apply(&change);
        cluster.follower.apply(&change);
    }
    cluster.work_out();
    for name in forced {
        cluster.delete(Kind::POD, name, None);
    }
    cluster.work_out();
    cluster.create(Kind::POD, pod("all", "256Gi", ""));
    cluster.create(Kind::POD, pod("rest", "255Gi", ""));
    assert_eq!((node_of(&cluster, "all"), node_of(&cluster, "rest")), (None, Some("node-0".into())));
}
