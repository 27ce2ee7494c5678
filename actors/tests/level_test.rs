//! The level of a cluster: what is refused below it, what a raise brings, and that both are in the log alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod driver;

use driver::{Cluster, START_MS, key};
use kontiki_actors::{
    Change, Context, Document, Entry, Input, Kind, LEVEL, ObjectKey, Outcome, Rejection, Request, State,
    Turned, codec, decide, flow,
    input::{DeleteOptions, Part},
    level::FIRST,
    rbac,
};
use serde_json::{Value, json};

/// The kinds of each level, as they were released: nothing is added to one that was.
const LEVELS: &[(u32, &[u16])] = &[
    (
        1,
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 30, 31, 32, 33,
            34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54,
        ],
    ),
    (2, &[55, 60, 61]),
    (3, &[27]),
    // Forms of documents only.
    (4, &[]),
    // What the API does not have.
    (5, &[]),
    (6, &[]),
];

fn widget() -> Kind {
    Kind::custom("example.com", "widgets", "Widget", true)
}

fn objects() -> Vec<(ObjectKey, Document)> {
    let namespace = json!({"metadata": {"name": "default"}});
    let mut objects = vec![(key(Kind::NAMESPACE, "default"), Document::from_value(namespace))];
    objects.extend(rbac::defaults::objects());
    objects.extend(flow::defaults::objects());
    objects
}

/// A cluster as a build left it that never heard of levels.
fn old() -> Cluster {
    let mut cluster = Cluster::new(0);
    (cluster.state, cluster.follower) = (State::default(), State::default());
    cluster.decide(Input::Bootstrap(objects()));
    assert_eq!(cluster.state.level(), FIRST);
    cluster
}

fn create(kind: Kind, name: &str, dry_run: bool) -> Request {
    let mut value = json!({"metadata": {"name": name}, "spec": {}});
    if kind.info().namespaced {
        value["metadata"]["namespace"] = "default".into();
    }
    let document = Document::from_value(value);
    Request::Create { key: key(kind, name), generate_name: None, document, dry_run }
}

fn new_kinds() -> [Kind; 4] {
    [Kind::CUSTOM_RESOURCE_DEFINITION, Kind::FLOW_SCHEMA, Kind::PRIORITY_LEVEL_CONFIGURATION, widget()]
}

fn count(state: &State, kind: Kind) -> usize {
    state.list(kind, None).count()
}

/// How a build reads an entry that knew the kinds of level 1 only.
fn old_build_reads(changes: &[Change]) -> bool {
    changes.iter().all(|change| match change {
        Change::Put { key, .. } | Change::Delete { key } | Change::Wake { key, .. } => {
            LEVELS[0].1.contains(&key.kind.code())
        }
        Change::Level(_) => false,
    })
}

#[test]
fn the_kinds_of_a_level_stay_what_they_were() {
    let of = |level| -> Vec<u16> {
        let kinds = Kind::all().filter(|kind| kind.level() == level);
        kinds.map(Kind::code).collect()
    };
    for (level, codes) in LEVELS {
        assert_eq!(of(*level), *codes, "level {level}");
    }
    assert_eq!(LEVELS.last().unwrap().0, LEVEL, "the newest level has its line here");
    assert_eq!(widget().level(), 2);
    let internal: Vec<(u16, u32)> = Kind::internal().map(|kind| (kind.code(), kind.level())).collect();
    assert_eq!(internal, [(70, 5), (71, 6), (72, 6)]);
}

#[test]
fn below_its_level_a_kind_is_refused_and_nothing_of_it_is_made() {
    let mut cluster = old();
    for kind in new_kinds() {
        for request in [
            create(kind, "x", false),
            create(kind, "x", true),
            Request::Update {
                key: key(kind, "x"),
                document: Document::default(),
                part: Part::Main,
                revision: None,
                uid: None,
                dry_run: false,
            },
            Request::Delete { key: key(kind, "x"), options: DeleteOptions::default(), dry_run: false },
        ] {
            assert_eq!(request.level(), 2);
            let (changes, outcome) = cluster.decide(Input::Api(request));
            assert_eq!(changes, []);
            let Outcome::Rejected(rejection @ Rejection::Level { at: 1, needs: 2, .. }) = outcome else {
                panic!("{kind:?}: {outcome:?}");
            };
            let said = rejection.to_string();
            assert!(said.contains("level 2") && said.contains("it is at level 1"), "{said}");
        }
        assert_eq!(count(&cluster.state, kind), 0);
    }
    // What is new in a document of a kind that is not.
    for (strategy, level) in [("None", 2), ("Webhook", 4)] {
        let document = Document::from_value(json!({"spec": {"conversion": {"strategy": strategy}}}));
        let definition = key(Kind::CUSTOM_RESOURCE_DEFINITION, "x");
        let (generate_name, dry_run) = (None, false);
        let request = Request::Create { key: definition, document, generate_name, dry_run };
        assert_eq!(request.level(), level);
    }
    // What is new in a request about a kind that is not.
    let whole = Request::Update {
        key: key(Kind::CONFIG_MAP, "x"),
        document: Document::default(),
        part: Part::Whole,
        revision: None,
        uid: None,
        dry_run: false,
    };
    assert!(matches!(cluster.decide(Input::Api(whole)).1, Outcome::Rejected(Rejection::Level { .. })));
    let by = Request::By { user: "x".into(), request: Box::new(create(Kind::CONFIG_MAP, "x", false)) };
    assert!(matches!(cluster.decide(Input::Api(by)).1, Outcome::Rejected(Rejection::Level { .. })));
    // What was there before goes on as it did.
    let (changes, outcome) = cluster.decide(Input::Api(create(Kind::CONFIG_MAP, "x", false)));
    assert!(matches!(outcome, Outcome::Object { .. }) && old_build_reads(&changes), "{outcome:?}");
}

#[test]
fn the_first_objects_of_a_new_kind_wait_for_the_raise() {
    let mut cluster = old();
    let (changes, _) = cluster.decide(Input::Bootstrap(objects()));
    assert_eq!(changes, [], "again, nothing is missing that may be there");
    assert_eq!(count(&cluster.state, Kind::FLOW_SCHEMA), 0);
    assert!(count(&cluster.state, Kind::CLUSTER_ROLE) > 0);
    // A deployment's whole cascade is read by old builds.
    let deployment = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}}});
    assert!(old_build_reads(&cluster.create(Kind::DEPLOYMENT, deployment)));

    let (changes, _) = cluster.decide(Input::Raise { level: LEVEL, objects: objects() });
    assert_eq!(changes[0], Change::Level(LEVEL), "before whatever needs it");
    assert_eq!(cluster.state.level(), LEVEL);
    assert!(count(&cluster.state, Kind::FLOW_SCHEMA) > 0, "in the same turn");
    assert!(count(&cluster.state, Kind::PRIORITY_LEVEL_CONFIGURATION) > 0);
    cluster.assert_replicas_agree();
    cluster.create(
        Kind::CUSTOM_RESOURCE_DEFINITION,
        json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true}]}}),
    );
    cluster.create(widget(), json!({"metadata": {"name": "w"}}));
    cluster.assert_replicas_agree();
}

#[test]
fn a_level_never_falls_and_is_never_higher_than_this_build_knows() {
    let mut cluster = old();
    cluster.decide(Input::Raise { level: LEVEL + 7, objects: Vec::new() });
    assert_eq!(cluster.state.level(), LEVEL);
    for level in [0, FIRST, LEVEL] {
        let (changes, _) = cluster.decide(Input::Raise { level, objects: Vec::new() });
        assert_eq!(changes, []);
    }
    let mut state = cluster.state.clone();
    state.apply(&Change::Level(FIRST));
    assert_eq!(state.level(), LEVEL);
    assert_eq!(state.revision(), cluster.state.revision(), "a level is no revision");
}

#[test]
fn an_entry_says_which_level_it_needs() {
    let turned = |input: Input, changes: Vec<Change>, outcome: Outcome| Entry {
        term: 1,
        turns: vec![Turned { request: None, now_ms: 0, seed: 0, input, changes, outcome, trace: None }],
    };
    let wake = |kind| Change::Wake { key: key(kind, "x"), at_ms: None };
    let nothing = || Input::Wake(Vec::new());
    assert_eq!(turned(nothing(), vec![wake(Kind::POD)], Outcome::Done).level(), 1);
    assert_eq!(turned(nothing(), vec![wake(Kind::POD), wake(Kind::FLOW_SCHEMA)], Outcome::Done).level(), 2);
    assert_eq!(turned(nothing(), vec![wake(widget())], Outcome::Done).level(), 2);
    assert_eq!(turned(Input::Api(create(widget(), "x", false)), Vec::new(), Outcome::Done).level(), 2);
    assert_eq!(turned(Input::Wake(vec![key(widget(), "x")]), Vec::new(), Outcome::Done).level(), 2);
    let deleted = Outcome::Deleted { key: key(widget(), "x"), revision: 1, document: None };
    assert_eq!(turned(nothing(), Vec::new(), deleted).level(), 2);
    // A raise says where it goes, so that a build that does not know that can tell.
    assert_eq!(turned(nothing(), vec![Change::Level(9)], Outcome::Done).level(), 9);
    // The objects of a start are not in the log.
    assert_eq!(turned(Input::Bootstrap(objects()).abridged(), Vec::new(), Outcome::Done).level(), 1);
}

/// What a turn of level 1 is in the log: the very bytes of builds that never heard of levels.
#[test]
fn what_is_of_the_first_level_is_written_as_it_was() {
    let decision = decide(
        &State::default(),
        &Input::Bootstrap(vec![(
            key(Kind::NAMESPACE, "default"),
            Document::from_value(json!({"metadata": {}})),
        )]),
        Context::new(START_MS, 1),
    );
    let tags: Vec<u8> = decision.changes.iter().map(|change| codec::encode(change).unwrap()[12]).collect();
    assert!(!tags.is_empty() && tags.iter().all(|tag| *tag < 3), "{tags:?}");
    assert_eq!(codec::encode(&Change::Level(2)).unwrap()[12], 3, "behind those that were there");
    let raise = Input::Raise { level: 2, objects: Vec::new() };
    assert_eq!(codec::encode(&raise).unwrap()[12], 7);
    let rejection = Rejection::Level { key: key(Kind::POD, "x"), at: 1, needs: 2 };
    assert_eq!(codec::encode(&rejection).unwrap()[12], 8);
}

/// The last lock: no input makes a turn that others cannot read, whatever the state holds.
#[test]
#[should_panic(expected = "the turn needs level Some(2), and the cluster is at level 1")]
fn a_turn_that_others_cannot_read_is_not_decided() {
    let mut state = State::default();
    let value: Value = json!({"metadata": {"name": "x", "uid": "u"}, "spec": {}});
    let put = Change::between(key(Kind::FLOW_SCHEMA, "x"), None, &Document::from_value(value)).unwrap();
    state.apply(&put);
    state.apply(&Change::Wake { key: key(Kind::FLOW_SCHEMA, "x"), at_ms: Some(START_MS) });
    decide(&state, &Input::Wake(vec![key(Kind::FLOW_SCHEMA, "x")]), Context::new(START_MS, 1));
}
