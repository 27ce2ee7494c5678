//! Priority and fairness: what a storm of one client does to others, and what it does not. No test here measures time: what hangs are
//! requests whose bodies never come.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use kontiki_api::{FeedLimits, Options};
use kontiki_pki::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, peer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

/// An administrator, and two people who may write config maps.
async fn people(options: Options) -> [Client; 3] {
    let admin = Client::with(FeedLimits::default(), options);
    let binding = json!({
        "metadata": {"name": "people"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "people"}],
    });
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.with(201);
    let [mallory, ada] = ["mallory", "ada"].map(|name| admin.as_peer(Some(peer(Role::User, name, "people"))));
    [admin, mallory, ada]
}

fn options(max_requests: usize) -> Options {
    // Bodies that never come are counted as the longest.
    Options { max_requests, max_bodies: 1 << 40, ..Options::default() }
}

/// A body that never comes.
fn never() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
}

/// What a level tells of itself.
async fn figure(admin: &Client, name: &str, level: &str) -> u64 {
    let text = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).unwrap();
    let wanted = format!("kontiki_flow_{name}{{priority_level=\"{level}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(wanted.as_str()));
    line.unwrap_or_else(|| panic!("no {wanted} in {text}")).parse().unwrap()
}

/// Waits until a level tells that.
async fn until(admin: &Client, name: &str, level: &str, number: u64) {
    for _ in 0..10_000 {
        if figure(admin, name, level).await == number {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{name} of {level} is {} and not {number}", figure(admin, name, level).await);
}

/// Requests of one client that hang, and the answers of those that do not.
fn storm(of: &Client, requests: usize) -> JoinSet<Answer> {
    let mut storm = JoinSet::new();
    for _ in 0..requests {
        let client = of.as_peer(of.peer().cloned());
        storm.spawn(async move { client.raw("POST", MAPS, &[], never()).await });
    }
    storm
}

#[tokio::test]
async fn a_storm_of_one_client_leaves_others_served() {
    let [admin, mallory, ada] = people(options(50)).await;
    // Of 56 seats, 23 belong to others whatever happens; of the other 33, no flow has more than three of four; and six queues of 50.
    let (run, wait) = (24, 6 * 50);
    let mut storm = storm(&mallory, 500);
    for _ in 0..500 - run - wait {
        let refused = storm.join_next().await.unwrap().unwrap();
        assert_eq!((refused.code, refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
        assert_eq!(refused.json()["reason"], "TooManyRequests");
    }
    until(&admin, "waiting", "global-default", wait as u64).await;
    assert_eq!(figure(&admin, "running", "global-default").await, run as u64);
    for n in 0..50 {
        ada.config_map(&format!("ada-{n}"), json!({})).await;
        ada.get(&format!("{MAPS}/ada-{n}")).await.with(200);
    }
    let node = admin.as_peer(Some(peer(Role::Worker, "n", "system:nodes")));
    admin.memory.add_node("n");
    node.get("/api/v1/nodes/n").await.with(200);
    assert_eq!(figure(&admin, "waiting", "global-default").await, wait as u64, "the storm has gone on");
    // When it is over, its seats and places are free.
    storm.shutdown().await;
    assert_eq!(figure(&admin, "running", "global-default").await, 0);
    assert_eq!(figure(&admin, "waiting", "global-default").await, 0);
    mallory.config_map("after", json!({})).await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let options = Options { request_timeout: Duration::from_millis(40), ..options(1) };
    let [admin, mallory, _] = people(options).await;
    let answers = storm(&mallory, 8).join_all().await;
    let codes = |code: u16| answers.iter().filter(|answer| answer.code == code).count();
    assert!(codes(504) > 0 && codes(429) > 0 && codes(504) + codes(429) == 8, "{:?}", codes(429));
    assert_eq!(figure(&admin, "gave_up_total", "global-default").await, codes(429) as u64);
}

#[tokio::test]
async fn watches_take_a_seat_only_until_they_begin() {
    let [admin, mallory, ada] = people(options(1)).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(mallory.watch(&format!("{MAPS}?watch=1"), "application/json").await);
    }
    assert_eq!(figure(&admin, "running", "global-default").await, 0);
    ada.config_map("a", json!({})).await;
    for watch in &mut held {
        assert_eq!(watch.named().await, ("ADDED".to_owned(), "a".to_owned()));
    }
}

#[tokio::test]
async fn one_client_does_not_have_all_watches() {
    let [admin, mallory, ada] = people(Options { max_streams: 8, ..Options::default() }).await;
    let url = format!("{MAPS}?watch=1&resourceVersion={}", admin.memory.state().revision());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(mallory.watch(&url, "application/json").await);
    }
    let refused = mallory.get(&url).await;
    assert_eq!(refused.headers["retry-after"], "1");
    let text = "\"mallory\" has too many watches open already, please try again later";
    assert_eq!(refused.with(429)["message"], text);
    ada.watch(&url, "application/json").await;
    drop(held);
    mallory.watch(&url, "application/json").await;
}

#[tokio::test]
async fn one_client_does_not_fill_the_memory_with_bodies() {
    let [admin, mallory, ada] = people(Options { max_bodies: 1 << 20, ..Options::default() }).await;
    let storm = storm(&mallory, 1);
    until(&admin, "running", "global-default", 1).await;
    while ada.get(&format!("{MAPS}/none")).await.code != 404 {}
    let long = |name: &str| json!({"metadata": {"name": name}, "data": {"a": "x".repeat(100_000)}});
    let refused = mallory.post(MAPS, &long("m")).await.with(429);
    assert_eq!(
        refused["message"],
        "\"mallory\" has too many long bodies under way already, please try again later"
    );
    ada.post(MAPS, &long("a")).await.with(201);
    mallory.config_map("short", json!({})).await;
    drop(storm);
    until(&admin, "running", "global-default", 0).await;
    mallory.post(MAPS, &long("m")).await.with(201);
}

#[tokio::test]
async fn one_client_does_not_fill_the_memory_with_lists_that_it_does_not_read() {
    let [_, mallory, ada] = people(Options { max_lists: 1 << 20, ..Options::default() }).await;
    for name in ["a", "b"] {
        let long = json!({"metadata": {"name": name}, "data": {"a": "x".repeat(100_000)}});
        ada.post(MAPS, &long).await.with(201);
    }
    let held = mallory.open("GET", MAPS, &[], Body::empty()).await;
    assert_eq!(held.status(), 200);
    let refused = mallory.get(MAPS).await.with(429);
    assert_eq!(
        refused["message"],
        "\"mallory\" has too many long answers under way already, please try again later"
    );
    assert_eq!(ada.get(MAPS).await.with(200)["items"].as_array().unwrap().len(), 2);
    mallory.get(&format!("{MAPS}/a")).await.with(429);
    mallory.get(&format!("{MAPS}/none")).await.with(404);
    let written = json!({"metadata": {"name": "c"}, "data": {"a": "x".repeat(100_000)}});
    mallory.post(MAPS, &written).await.with(201);
    drop(held);
    mallory.get(&format!("{MAPS}/a")).await.with(200);
}

#[tokio::test]
async fn an_answer_counts_until_its_last_byte_is_sent() {
    let [_, mallory, ada] = people(Options { max_lists: 1 << 20, ..Options::default() }).await;
    for name in ["a", "b"] {
        let long = json!({"metadata": {"name": name}, "data": {"a": "x".repeat(100_000)}});
        ada.post(MAPS, &long).await.with(201);
    }
    let (mut slow, connection) = mallory.connect(1).await;
    let request = http::Request::get(format!("http://kontiki{MAPS}")).body(Body::empty()).unwrap();
    let mut held = slow.send_request(request).await.unwrap();
    assert_eq!(held.status(), 200);
    // With its first byte, the connection has been given all that it takes.
    let first = held.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&first[..], b"{");
    mallory.get(MAPS).await.with(429);
    drop((held, slow));
    connection.abort();
    for _ in 0..10_000 {
        if mallory.get(MAPS).await.code == 200 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the place of a client that is gone is not given back");
}

/// The uids in the headers of an answer: of the flow schema, and of the priority level.
fn classified(answer: &Answer) -> [Value; 2] {
    ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
        .map(|name| answer.headers.get(name).map_or(Value::Null, |uid| uid.to_str().unwrap().into()))
}

async fn uid(admin: &Client, url: &str, name: &str) -> Value {
    admin.get(&format!("{url}/{name}")).await.with(200)["metadata"]["uid"].clone()
}

#[tokio::test]
async fn answers_say_how_they_were_classified() {
    let [admin, mallory, _] = people(Options::default()).await;
    let default = [uid(&admin, SCHEMAS, "global-default").await, uid(&admin, LEVELS, "global-default").await];
    assert_eq!(classified(&mallory.get(MAPS).await), default);
    assert_eq!(classified(&mallory.get("/api/v1/nodes").await), default, "what is refused, too");
    let exempt = [uid(&admin, SCHEMAS, "exempt").await, uid(&admin, LEVELS, "exempt").await];
    assert_eq!(classified(&admin.get(MAPS).await), exempt);
    assert_eq!(
        classified(&admin.get("/livez").await),
        [Value::Null, Value::Null],
        "health is for everybody at any time"
    );
}

#[tokio::test]
async fn what_administrators_say_holds_with_the_next_request() {
    let [admin, mallory, ada] = people(options(1)).await;
    let slow = json!({
        "metadata": {"name": "slow"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}},
    });
    let schema = json!({
        "metadata": {"name": "slow"},
        "spec": {"priorityLevelConfiguration": {"name": "slow"}, "matchingPrecedence": 500, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "mallory"}}],
            "resourceRules": [{"verbs": ["create"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        }]},
    });
    let own = uid(&admin, SCHEMAS, "global-default").await;
    admin.post(SCHEMAS, &schema).await.with(201);
    assert_eq!(classified(&mallory.post(MAPS, &json!({})).await)[0], own, "its level is missing");
    admin.post(LEVELS, &slow).await.with(201);
    let [flow, _] = classified(&mallory.post(MAPS, &json!({})).await);
    assert_eq!(flow, uid(&admin, SCHEMAS, "slow").await);
    // At most one of these runs by right, and some by seats that others lend; nobody waits.
    let storm = storm(&mallory, 20);
    while figure(&admin, "running", "slow").await + figure(&admin, "refused_total", "slow").await < 20 {
        tokio::task::yield_now().await;
    }
    assert!(figure(&admin, "refused_total", "slow").await > 0);
    assert_eq!(figure(&admin, "waiting", "slow").await, 0);
    assert_eq!(mallory.post(MAPS, &json!({})).await.code, 429);
    mallory.get(MAPS).await.with(200);
    ada.config_map("a", json!({})).await;
    admin.delete(&format!("{SCHEMAS}/slow")).await.with(200);
    assert_eq!(classified(&mallory.post(MAPS, &json!({})).await)[0], own);
    drop(storm);
}
