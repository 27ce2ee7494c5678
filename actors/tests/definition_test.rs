//! Definitions of custom kinds, from their names to their end, and what becomes of the objects of their kinds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, key};
use kontiki_actors::{
    Document, Input, Kind, Object, ObjectKey, Outcome, Rejection, Request, State,
    input::{Part, Propagation},
};
use serde_json::{Value, json};

const CRD: Kind = Kind::CUSTOM_RESOURCE_DEFINITION;

fn widget() -> Kind {
    Kind::custom("example.com", "widgets", "Widget", true)
}

fn definition(plural: &str, kind: &str, short: &str) -> Value {
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage});
    json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": [short], "categories": ["all"]},
        "versions": [version("v1", true), version("v1beta1", false)],
    }})
}

fn widgets(cluster: &mut Cluster, count: usize) {
    for n in 0..count {
        cluster.create(widget(), json!({"metadata": {"name": format!("w{n}")}, "spec": {"n": n}}));
    }
}

fn refused(cluster: &mut Cluster, kind: Kind, value: Value) -> Rejection {
    let key = key(kind, value["metadata"]["name"].as_str().unwrap());
    let document = Document::from_value(value);
    let request = Request::Create { key, generate_name: None, document, dry_run: false };
    let (changes, outcome) = cluster.decide(Input::Api(request));
    assert_eq!(changes, [], "nothing happens");
    match outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

fn finalized(name: &str) -> Value {
    json!({"metadata": {"name": name, "finalizers": ["example.com/hold"]}})
}

fn let_go(cluster: &mut Cluster, name: &str) {
    cluster.edit(widget(), name, |w| drop(w["metadata"].as_object_mut().unwrap().remove("finalizers")));
}

#[test]
fn it_is_served_in_the_turn_that_makes_it() {
    let mut cluster = Cluster::new(0);
    let turns = cluster.turns;
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    assert_eq!(cluster.turns, turns + 1);
    let name = "widgets.example.com";
    let said = |condition| cluster.condition(CRD, name, condition).unwrap();
    assert_eq!(said("NamesAccepted"), ("True".into(), "NoConflicts".into()));
    assert_eq!(said("Established"), ("True".into(), "InitialNamesAccepted".into()));
    let status = cluster.status(CRD, name);
    assert_eq!(status["storedVersions"], json!(["v1"]));
    assert_eq!(status["acceptedNames"], definition("widgets", "Widget", "wd")["spec"]["names"]);
    assert_eq!(cluster.state.kind_named("example.com/v1beta1", "Widget"), Some(widget()));
    assert_eq!(cluster.state.kind_named("example.com/v2", "Widget"), None);
    assert_eq!(cluster.state.kind_named("other.com/v1", "Widget"), None);
    assert!(cluster.state.kinds().any(|kind| kind == widget()));
    cluster.edit(CRD, name, |crd| {
        crd["spec"]["versions"][0]["storage"] = false.into();
        crd["spec"]["versions"][1]["storage"] = true.into();
    });
    assert_eq!(
        cluster.status(CRD, name)["storedVersions"],
        json!(["v1", "v1beta1"]),
        "what was stored stays told"
    );
    cluster.assert_replicas_agree();
}

#[test]
fn names_of_a_group_belong_to_one_at_a_time() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    cluster.create(CRD, definition("gadgets", "Gadget", "wd"));
    cluster.create(CRD, definition("widgetry", "Widget", "wy"));
    let said = |cluster: &Cluster, name: &str| {
        let condition = |of| cluster.condition(CRD, name, of).unwrap();
        (condition("NamesAccepted"), condition("Established").0)
    };
    let refused = |reason: &str| (("False".to_owned(), reason.to_owned()), "False".to_owned());
    assert_eq!(said(&cluster, "gadgets.example.com"), refused("ShortNamesConflict"));
    assert_eq!(said(&cluster, "widgetry.example.com"), refused("ListKindConflict"));
    let message = &cluster.status(CRD, "gadgets.example.com")["conditions"][0]["message"];
    assert_eq!(message, "\"wd\" is already in use");
    let accepted = &cluster.status(CRD, "gadgets.example.com")["acceptedNames"];
    assert_eq!((&accepted["plural"], &accepted["shortNames"]), (&json!("gadgets"), &Value::Null));
    assert_eq!(cluster.state.kind_named("example.com/v1", "Gadget"), None);
    // What somebody gives up, who waits for it gets.
    cluster.delete(CRD, "widgets.example.com", None);
    cluster.settle();
    let got = (("True".to_owned(), "NoConflicts".to_owned()), "True".to_owned());
    assert_eq!(said(&cluster, "gadgets.example.com"), got);
    assert_eq!(said(&cluster, "widgetry.example.com"), got);
    // What is served stays served, whatever it asks for besides.
    cluster.edit(CRD, "gadgets.example.com", |crd| crd["spec"]["names"]["shortNames"] = json!(["wy"]));
    let now = said(&cluster, "gadgets.example.com");
    assert_eq!(now, (("False".into(), "ShortNamesConflict".into()), "True".into()));
}

#[test]
fn objects_need_their_definition() {
    let mut cluster = Cluster::new(0);
    let object = json!({"metadata": {"name": "w"}});
    let missing = ObjectKey::new(CRD, "", "widgets.example.com");
    assert_eq!(refused(&mut cluster, widget(), object.clone()), Rejection::NotFound(missing.clone()));
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    // Of another kind or scope than what is defined.
    for (kind, namespaced) in [("Gadget", true), ("Widget", false)] {
        let other = Kind::custom("example.com", "widgets", kind, namespaced);
        assert_eq!(refused(&mut cluster, other, object.clone()), Rejection::NotFound(missing.clone()));
    }
    cluster.create(widget(), object);
    assert_eq!(cluster.get(widget(), "w").meta.generation, 1);
    cluster.assert_replicas_agree();
}

#[test]
fn its_end_takes_all_objects_along() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    widgets(&mut cluster, 1200);
    cluster.create(widget(), finalized("held"));
    let (changes, outcome) = cluster.delete(CRD, "widgets.example.com", None);
    assert!(matches!(outcome, Outcome::Object { .. }), "{outcome:?}");
    assert!(changes.len() < 600, "not all in one turn: {}", changes.len());
    let new = refused(&mut cluster, widget(), json!({"metadata": {"name": "new"}}));
    let why = "create not allowed while custom resource definition is terminating";
    assert!(matches!(&new, Rejection::Forbidden(_, said) if said == why), "{new:?}");
    cluster.settle();
    let left: Vec<_> = cluster.state.list(widget(), None).map(|o| o.key.name.to_string()).collect();
    assert_eq!(left, ["held"]);
    let definition = cluster.get(CRD, "widgets.example.com");
    assert_eq!(definition.meta.finalizers, ["customresourcecleanup.apiextensions.k8s.io"]);
    let said = cluster.condition(CRD, "widgets.example.com", "Terminating").unwrap();
    assert_eq!(said, ("True".into(), "InstanceDeletionInProgress".into()));
    let_go(&mut cluster, "held");
    cluster.settle();
    assert!(cluster.find(CRD, "widgets.example.com").is_none());
    assert_eq!(cluster.state.list(widget(), None).count(), 0);
    cluster.assert_replicas_agree();
}

#[test]
fn one_that_lost_its_name_takes_nobody_elses_objects_along() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    cluster.create(CRD, definition("widgetry", "Widget", "wd"));
    widgets(&mut cluster, 2);
    cluster.delete(CRD, "widgetry.example.com", None);
    cluster.settle();
    assert!(cluster.find(CRD, "widgetry.example.com").is_none(), "it has nothing to wait for");
    assert_eq!(cluster.state.list(widget(), None).count(), 2);
}

#[test]
fn a_namespace_takes_them_along() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    cluster.create(Kind::NAMESPACE, json!({"metadata": {"name": "team"}}));
    let mut held = finalized("held");
    held["metadata"]["namespace"] = "team".into();
    cluster.create(widget(), held);
    cluster.create(widget(), json!({"metadata": {"name": "free", "namespace": "team"}}));
    cluster.delete(Kind::NAMESPACE, "team", None);
    cluster.settle();
    let all = cluster.state.list(widget(), Some("team"));
    assert_eq!(all.map(|o| o.key.name.as_str()).collect::<Vec<_>>(), ["held"]);
    let status = cluster.status(Kind::NAMESPACE, "team");
    let remaining =
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "NamespaceContentRemaining");
    assert!(
        remaining.unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("widgets.example.com has 1 resource instances")
    );
}

#[test]
fn they_own_and_are_owned() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    cluster.create(widget(), json!({"metadata": {"name": "owner"}}));
    let uid = cluster.get(widget(), "owner").meta.uid.clone();
    let reference = json!([{"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": uid,
        "blockOwnerDeletion": true}]);
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": {"name": "owned", "ownerReferences": reference}}));
    cluster.create(widget(), json!({"metadata": {"name": "owned", "ownerReferences": reference}}));
    cluster.delete(widget(), "owner", Some(Propagation::Foreground));
    cluster.settle();
    for (kind, name) in [(widget(), "owner"), (widget(), "owned"), (Kind::CONFIG_MAP, "owned")] {
        assert!(cluster.find(kind, name).is_none(), "{kind:?} {name}");
    }
    // Of an owner that never was.
    let mut stale = reference;
    stale[0]["uid"] = "gone".into();
    cluster.create(Kind::CONFIG_MAP, json!({"metadata": {"name": "stray", "ownerReferences": stale}}));
    cluster.advance(2);
    assert!(cluster.find(Kind::CONFIG_MAP, "stray").is_none());
}

#[test]
fn a_status_that_is_not_written_apart_is_written_with_the_rest() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    cluster.create(widget(), json!({"metadata": {"name": "w"}, "spec": 1, "status": "a"}));
    let mut update = |part, status: &str| {
        let document = Document::from_value(json!({"metadata": {"name": "w"}, "spec": 1, "status": status}));
        let key = key(widget(), "w");
        let request = Request::Update { key, document, part, revision: None, uid: None, dry_run: false };
        cluster.decide(Input::Api(request));
        cluster.get(widget(), "w").document.status_value()
    };
    assert_eq!(update(Part::Main, "b"), "a");
    assert_eq!(update(Part::Whole, "b"), "b");
}

#[test]
fn after_a_restart_they_are_what_they_were() {
    let mut cluster = Cluster::new(0);
    cluster.create(CRD, definition("widgets", "Widget", "wd"));
    widgets(&mut cluster, 3);
    let mut opened = State::default();
    // In any order, and by the stored form of keys.
    let all: Vec<Object> = cluster.state.iter().map(|object| Object::clone(object)).collect();
    for object in all.into_iter().rev() {
        let key = ObjectKey::from_bytes(&object.key.to_bytes()).unwrap();
        opened.restore(Object::new(key, object.revision, object.document.whole()));
    }
    let names = |state: &State| state.list(widget(), None).map(|o| o.key.clone()).collect::<Vec<_>>();
    assert_eq!(names(&opened), names(&cluster.state));
    assert_eq!(names(&opened).len(), 3);
    assert_eq!(opened.kind_named("example.com/v1", "Widget"), Some(widget()));
}

#[test]
fn there_are_not_more_than_a_cluster_takes() {
    let mut cluster = Cluster::new(0);
    for n in 0..kontiki_actors::kinds::definition::LIMIT {
        // Put as they are: what their actor does is of no matter here.
        let document = Document::from_value(json!({"metadata": {"name": format!("x{n}.other.com")}}));
        let key = ObjectKey::new(CRD, "", &format!("x{n}.other.com"));
        cluster.state.apply(&kontiki_actors::Change::between(key, None, &document).unwrap());
    }
    let value = definition("widgets", "Widget", "wd");
    let document = Document::from_value(value);
    let key = ObjectKey::new(CRD, "", "widgets.example.com");
    let request = Request::Create { key, generate_name: None, document, dry_run: false };
    let context = kontiki_actors::Context::new(driver::START_MS, 1);
    let decided = kontiki_actors::decide(&cluster.state, &Input::Api(request), context);
    assert!(matches!(decided.outcome, Outcome::Rejected(Rejection::Forbidden(..))), "{:?}", decided.outcome);
}
