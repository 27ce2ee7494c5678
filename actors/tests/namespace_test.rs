//! Namespaces, from what appears with them to their end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::{Document, Input, Kind, Object, ObjectKey, Outcome, Rejection, Request};
use serde_json::{Value, json};

fn condition(cluster: &Cluster, name: &str) -> Option<(String, String)> {
    cluster.condition(Kind::NAMESPACE, "team", name)
}

fn filled() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    let mut web = driver::deployment("web", 3);
    web["metadata"]["namespace"] = "team".into();
    cluster.create(Kind::DEPLOYMENT, web);
    cluster
        .create(Kind::CONFIG_MAP, json!({"metadata": {"name": "settings", "namespace": "team"}, "data": {}}));
    cluster.work_out();
    cluster
}

fn inside(cluster: &Cluster) -> Vec<ObjectKey> {
    cluster.state.iter().filter(|o| o.key.namespace == "team").map(|o| o.key.clone()).collect()
}

#[test]
fn what_pods_rely_on_appears_with_it() {
    let mut cluster = Cluster::new(0);
    let turns = cluster.turns;
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    assert_eq!(cluster.turns, turns + 1);
    let namespace = cluster.get(Kind::NAMESPACE, "team");
    assert_eq!(namespace.document.spec_value(), json!({"finalizers": ["kubernetes"]}));
    assert_eq!(namespace.document.status_value(), json!({"phase": "Active"}));
    assert_eq!(namespace.meta.labels["kubernetes.io/metadata.name"], "team");
    let find = |kind, name| cluster.state.get(&ObjectKey::new(kind, "team", name)).unwrap();
    assert!(!find(Kind::SERVICE_ACCOUNT, "default").meta.uid.is_empty());
    assert_eq!(
        find(Kind::CONFIG_MAP, "kube-root-ca.crt").document.rest_value(),
        json!({"data": {"ca.crt": "CA"}})
    );
}

#[test]
fn its_end_takes_everything_along_pods_first() {
    let mut cluster = filled();
    let (_, outcome) = cluster.delete(Kind::NAMESPACE, "team", None);
    let Outcome::Object { document: Some(document), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(document.status_value()["phase"], "Terminating");
    assert!(cluster.pods().iter().all(|p: &std::sync::Arc<Object>| p.meta.deleting()));
    assert_eq!(cluster.pods().len(), 3, "nothing is started in a namespace that goes");
    assert!(
        cluster.state.get(&ObjectKey::new(Kind::CONFIG_MAP, "team", "settings")).is_some(),
        "pods may still use it"
    );
    assert_eq!(
        condition(&cluster, "NamespaceContentRemaining").unwrap(),
        ("True".into(), "SomeResourcesRemain".into())
    );
    assert_eq!(condition(&cluster, "NamespaceDeletionContentFailure").unwrap().0, "False");
    let late = Request::Create {
        key: ObjectKey::new(Kind::CONFIG_MAP, "team", "late"),
        generate_name: None,
        document: Document::from_value(json!({})),
        dry_run: false,
    };
    let (_, outcome) = cluster.decide(Input::Api(late));
    assert!(matches!(outcome, Outcome::Rejected(Rejection::NamespaceTerminating(_))), "{outcome:?}");
    let leaving = cluster.pods();
    cluster.report(&leaving, |_| (Value::Null, true));
    cluster.settle();
    assert_eq!(inside(&cluster), []);
    assert!(cluster.find(Kind::NAMESPACE, "team").is_none());
    assert_eq!(cluster.state.dependents("x").count(), 0);
}

#[test]
fn finalizers_of_its_content_hold_it_and_are_said() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    let held = json!({"metadata": {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]}});
    cluster.create(Kind::CONFIG_MAP, held);
    cluster.delete(Kind::NAMESPACE, "team", None);
    cluster.settle();
    assert_eq!(
        condition(&cluster, "NamespaceFinalizersRemaining").unwrap(),
        ("True".into(), "SomeFinalizersRemain".into())
    );
    let status = cluster.status(Kind::NAMESPACE, "team");
    let messages = status["conditions"].to_string();
    assert!(messages.contains("example.com/hold in 1 resource instances"), "{messages}");
    assert!(messages.contains("configmaps. has 1 resource instances"), "{messages}");
    let held = ObjectKey::new(Kind::CONFIG_MAP, "team", "held");
    let mut value = cluster.state.get(&held).unwrap().document.to_value();
    value["metadata"]["finalizers"] = json!([]);
    let free = Request::Update {
        key: held,
        document: Document::from_value(value),
        part: kontiki_actors::input::Part::Main,
        revision: None,
        uid: None,
        dry_run: false,
    };
    cluster.decide(Input::Api(free));
    cluster.settle();
    assert!(cluster.find(Kind::NAMESPACE, "team").is_none());
}

#[test]
fn much_content_takes_several_turns() {
    let mut cluster = Cluster::new(0);
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    let many: Vec<_> = (0..1200)
        .map(|n| {
            let name = format!("c{n}");
            let value = json!({"metadata": {"name": name, "namespace": "team"}});
            (ObjectKey::new(Kind::CONFIG_MAP, "team", &name), Document::from_value(value))
        })
        .collect();
    cluster.decide(Input::Bootstrap(many));
    let (changes, _) = cluster.delete(Kind::NAMESPACE, "team", None);
    assert!(changes.len() < 1000, "{}", changes.len());
    assert!(cluster.state.wake_of(&key(Kind::NAMESPACE, "team")).is_some());
    cluster.settle();
    assert_eq!(inside(&cluster), []);
    assert!(cluster.find(Kind::NAMESPACE, "team").is_none());
}
