#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use kontiki_actors::{Context, Input, Kind, ObjectKey, decide, flow::defaults};
use serde_json::{Value, json};
use tokio::sync::oneshot::Receiver;

use super::{
    config::{Config, Level, Limits, Queuing, Version},
    pool::{Got, Pool, Ticket},
};
use crate::rest::{Access, Attributes, On, User};

const QUEUING: Queuing = Queuing { queues: 64, hand: 6, length: 50 };

fn level(shares: u32, lendable: u32, queuing: Option<Queuing>) -> Level {
    Level { uid: None, limits: Some(Limits { shares, lendable, borrowing: None, queuing }) }
}

/// A pool of levels `a`, `b`, ... and the places of these.
fn pool(seats: usize, levels: Vec<Level>) -> Pool {
    let names = ('a'..).map(String::from);
    let levels: BTreeMap<String, Level> = names.zip(levels).collect();
    let mut config = Config { levels, schemas: Vec::new(), version: Version::default() };
    let mut pool = Pool::new(seats, seats);
    pool.configure(&mut config);
    pool
}

fn seat(pool: &mut Pool, level: usize, flow: u64) -> Option<Ticket> {
    match pool.enter(level, flow) {
        Got::Seat(ticket) => Some(ticket),
        Got::Place(ticket, _) => {
            pool.leave(ticket, None);
            None
        }
        Got::Nothing => None,
    }
}

fn place(pool: &mut Pool, level: usize, flow: u64) -> (Ticket, Receiver<()>) {
    match pool.enter(level, flow) {
        Got::Place(ticket, told) => (ticket, told),
        other => panic!("{other:?}"),
    }
}

/// All the seats that a flow gets at once.
fn seats(pool: &mut Pool, level: usize, flow: u64) -> Vec<Ticket> {
    std::iter::from_fn(|| seat(pool, level, flow)).collect()
}

#[test]
fn shares_are_shared_out_and_what_is_not_lent_stays() {
    let mut pool = pool(100, vec![level(10, 0, None), level(30, 50, None), level(60, 100, None)]);
    assert_eq!(pool.standings().iter().map(|s| s.seats).collect::<Vec<_>>(), [10, 30, 60]);
    // The first one borrows what the others lend: 15 and 60.
    let borrowed = seats(&mut pool, 0, 1);
    assert_eq!(borrowed.len(), 10 + 15 + 60);
    assert_eq!(seats(&mut pool, 1, 2).len(), 15, "half of its own is always there");
    assert!(seat(&mut pool, 2, 3).is_none(), "all that it has is lent");
    pool.leave(borrowed[0], Some(0));
    assert!(seat(&mut pool, 2, 3).is_some(), "and comes back");
}

#[test]
fn who_uses_less_of_his_share_is_served_first() {
    let queued = |shares, lendable| level(shares, lendable, Some(QUEUING));
    let mut pool = pool(100, vec![queued(50, 100), queued(50, 100)]);
    let mut held: Vec<Ticket> = (0..100).map(|n| seat(&mut pool, 0, n).unwrap()).collect();
    let mut first: Vec<_> = (0..40).map(|n| place(&mut pool, 0, 1000 + n)).collect();
    let mut second: Vec<_> = (0..40).map(|n| place(&mut pool, 1, 2000 + n)).collect();
    for held in held.drain(..40) {
        pool.leave(held, Some(1000));
    }
    let served = |all: &mut Vec<(Ticket, Receiver<()>)>| {
        all.iter_mut().map(|(_, told)| told.try_recv().is_ok()).filter(|told| *told).count()
    };
    assert_eq!((served(&mut first), served(&mut second)), (0, 40), "the other one had none yet");
}

#[test]
fn a_storm_of_one_flow_leaves_others_seats_and_places() {
    let mut pool = pool(100, vec![level(1, 0, Some(QUEUING))]);
    let (storm, other) = (7, 8);
    assert_eq!(seats(&mut pool, 0, storm).len(), 75, "three of four");
    let mut waiting = Vec::new();
    while let Got::Place(ticket, told) = pool.enter(0, storm) {
        waiting.push((ticket, told));
    }
    assert_eq!(waiting.len(), 6 * 50, "its hand of queues, and these are full");
    let quiet = seats(&mut pool, 0, other);
    assert_eq!(quiet.len(), 25, "the others have the rest at once");
    let (_, mut told) = place(&mut pool, 0, 9);
    assert!(told.try_recv().is_err());
    pool.leave(quiet[0], Some(1000));
    assert!(told.try_recv().is_ok(), "and whoever waited less is not behind the storm");
}

#[test]
fn queues_are_served_by_the_time_that_they_had() {
    let mut pool = pool(4, vec![level(1, 0, Some(QUEUING))]);
    let flows = [1, 2, 3, 4];
    let mut running: Vec<Ticket> = flows.iter().map(|flow| seat(&mut pool, 0, *flow).unwrap()).collect();
    let mut waiting: Vec<(u64, Ticket, Receiver<()>)> = Vec::new();
    for _ in 0..20 {
        for flow in [1, 2] {
            let (ticket, told) = place(&mut pool, 0, flow);
            waiting.push((flow, ticket, told));
        }
    }
    // Requests of the first flow take nine times as long.
    let mut served = [0, 0];
    let mut next = running.remove(3);
    let mut took = 1000;
    for _ in 0..20 {
        pool.leave(next, Some(took));
        let at = waiting.iter_mut().position(|(_, _, told)| told.try_recv().is_ok()).unwrap();
        let (flow, ticket, _) = waiting.remove(at);
        served[flow as usize - 1] += 1;
        (next, took) = (ticket, if flow == 1 { 90_000 } else { 10_000 });
    }
    assert!(served[0] >= 1 && served[1] >= 4 * served[0], "{served:?}");
}

#[test]
fn who_goes_makes_room_wherever_he_stood() {
    let mut pool = pool(1, vec![level(1, 0, Some(Queuing { queues: 1, hand: 1, length: 2 }))]);
    let sitting = seat(&mut pool, 0, 1).unwrap();
    let (first, told) = place(&mut pool, 0, 2);
    let (_, mut second) = place(&mut pool, 0, 3);
    assert!(matches!(pool.enter(0, 4), Got::Nothing), "the queue is full");
    // Gone before it was told, and gone after it was told but before it knew.
    drop(told);
    pool.leave(sitting, Some(10));
    assert!(second.try_recv().is_err(), "the seat is for the first one");
    pool.leave(first, None);
    assert!(second.try_recv().is_ok());
    let standing = pool.standings().remove(0);
    assert_eq!((standing.running, standing.waiting, standing.served, standing.refused), (1, 0, 3, 1));
}

#[test]
fn the_exempt_are_many_but_not_without_an_end() {
    let mut pool = pool(5, vec![Level { uid: None, limits: None }, level(1, 0, None)]);
    assert_eq!(seats(&mut pool, 1, 1).len(), 5);
    assert_eq!(seats(&mut pool, 0, 1).len(), 5);
}

#[test]
fn a_level_that_is_gone_ends_what_it_began() {
    let mut pool = pool(1, vec![level(1, 0, Some(QUEUING)), level(0, 0, Some(QUEUING))]);
    let sitting = seat(&mut pool, 0, 1).unwrap();
    let (_, mut told) = place(&mut pool, 0, 2);
    let mut config = Config {
        levels: BTreeMap::from([("z".into(), level(1, 0, None))]),
        schemas: Vec::new(),
        version: Version::default(),
    };
    pool.configure(&mut config);
    assert_eq!(pool.standings().iter().map(|s| s.level.as_str()).collect::<Vec<_>>(), ["z"]);
    pool.leave(sitting, Some(10));
    assert!(told.try_recv().is_ok());
}

fn user(name: &str, groups: &[&str]) -> User {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    User { name: name.into(), uid: String::new(), groups, extra: BTreeMap::new() }
}

/// A state with the default objects and one more flow schema.
fn config(spec: Option<Value>) -> Config {
    let mut objects = defaults::objects();
    if let Some(spec) = spec {
        let document = json!({"metadata": {"name": "more"}, "spec": spec});
        objects.push((
            ObjectKey::new(Kind::FLOW_SCHEMA, "", "more"),
            kontiki_actors::Document::from_value(document),
        ));
    }
    let state = kontiki_actors::State::default();
    let input = Input::Raise { level: kontiki_actors::LEVEL, objects };
    Config::of(&decide(&state, &input, Context::new(1, 1)).state)
}

fn schema_of(config: &Config, user: &User, verb: &str, on: On<'_>) -> String {
    let (schema, _) = config.classify(user, &Access { verb, on }).unwrap();
    format!("{} {}", schema.name, schema.level)
}

#[test]
fn requests_find_their_schemas() {
    let on =
        |group: &'static str, resource: &'static str, subresource: &'static str, namespace: &'static str| {
            On::Resource(Attributes { group, resource, subresource, namespace, ..Attributes::default() })
        };
    let config = config(None);
    let node = user("system:node:n", &["system:nodes", "system:authenticated"]);
    let account = user("system:serviceaccount:a:b", &["system:serviceaccounts", "system:authenticated"]);
    let system = user("system:serviceaccount:kube-system:b", &["system:serviceaccounts"]);
    let jane = user("jane", &["system:authenticated"]);
    let pods = on("", "pods", "", "a");
    let leases = on("coordination.k8s.io", "leases", "", "a");
    for (user, verb, on, expected) in [
        (&user("root", &["system:masters"]), "list", pods, "exempt exempt"),
        (&jane, "get", On::Path("/healthz/etcd"), "probes exempt"),
        (&jane, "get", On::Path("/healthzz"), "global-default global-default"),
        (&jane, "post", On::Path("/healthz"), "global-default global-default"),
        (&jane, "list", pods, "global-default global-default"),
        (&jane, "list", on("", "nodes", "", ""), "global-default global-default"),
        (&node, "update", on("", "nodes", "status", ""), "system-node-high node-high"),
        (&node, "update", on("", "nodes", "proxy", ""), "system-nodes system"),
        (&node, "list", pods, "system-nodes system"),
        (&system, "update", leases, "system-leader-election leader-election"),
        (&system, "update", on("", "configmaps", "", "a"), "workload-leader-election leader-election"),
        (&system, "list", pods, "kube-system-service-accounts workload-high"),
        (&account, "update", leases, "service-accounts workload-low"),
        (&user("nobody", &[]), "list", pods, "catch-all catch-all"),
    ] {
        assert_eq!(schema_of(&config, user, verb, on), expected, "{} {verb} {on:?}", user.name);
    }
    let named = user("system:serviceaccount:kube-system", &["system:authenticated"]);
    assert_eq!(schema_of(&config, &named, "list", pods), "global-default global-default");
}

#[test]
fn what_must_be_there_is_there_before_there_is_a_state() {
    let config = Config::of(&kontiki_actors::State::default());
    let pods = On::Resource(Attributes { resource: "pods", namespace: "a", ..Attributes::default() });
    assert_eq!(schema_of(&config, &user("a", &["system:authenticated"]), "get", pods), "catch-all catch-all");
    assert_eq!(schema_of(&config, &user("a", &["system:masters"]), "get", pods), "exempt exempt");
}

#[test]
fn flows_are_told_apart_as_their_schema_says() {
    let in_namespace = |name: &str, by: Value, user_name: &str, namespace: &str| {
        let spec = json!({
            "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 50, "distinguisherMethod": by,
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a", "b"]}]}],
        });
        let config = config(Some(spec));
        let on = On::Resource(Attributes { resource: "pods", namespace, ..Attributes::default() });
        let access = Access { verb: "get", on };
        let user = user(user_name, &["system:authenticated"]);
        config.classify(&user, &access).map(|(schema, flow)| (schema.name.clone(), flow)).unwrap()
    };
    let flow = |by: &Value, user: &str, namespace: &str| {
        let (schema, flow) = in_namespace("system", by.clone(), user, namespace);
        assert_eq!(schema, "more");
        flow
    };
    let (by_user, by_namespace) = (json!({"type": "ByUser"}), json!({"type": "ByNamespace"}));
    assert_ne!(flow(&by_user, "x", "a"), flow(&by_user, "y", "a"));
    assert_eq!(flow(&by_user, "x", "a"), flow(&by_user, "x", "b"));
    assert_ne!(flow(&by_namespace, "x", "a"), flow(&by_namespace, "x", "b"));
    assert_eq!(flow(&by_namespace, "x", "a"), flow(&by_namespace, "y", "a"));
    assert_eq!(flow(&Value::Null, "x", "a"), flow(&Value::Null, "y", "b"));
    // Elsewhere, and where its level is missing, it takes nothing.
    assert_eq!(in_namespace("system", by_user.clone(), "x", "c").0, "global-default");
    assert_eq!(in_namespace("no-such", by_user, "x", "a").0, "global-default");
}
