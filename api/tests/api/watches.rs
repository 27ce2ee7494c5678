//! Watches: beginning, resuming, selecting, expiring.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use kontiki_api::{FeedLimits, Options};
use serde_json::{Value, json};

use crate::client::{Client, MERGE, TABLE, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_shows_what_is_there_and_then_what_happens() {
    let client = Client::new();
    client.config_map("a", json!({})).await;
    let mut watch = client.watch(&format!("{MAPS}?watch"), JSON).await;
    assert_eq!(watch.named().await, event("ADDED", "a"));
    let created = client.config_map("b", json!({})).await;
    let added = watch.next().await.unwrap();
    assert_eq!(
        (&added["type"], &added["object"]),
        (&json!("ADDED"), &created),
        "the very object, with its kind"
    );
    client.patch(&format!("{MAPS}/b"), MERGE, &json!({"data": {"x": "y"}})).await.with(200);
    assert_eq!(watch.named().await, event("MODIFIED", "b"));
    client.delete(&format!("{MAPS}/a")).await.with(200);
    let deleted = watch.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(revision(&deleted["object"]), client.memory.state().revision());
}

#[tokio::test]
async fn a_watch_resumes_where_it_stopped() {
    let client = Client::new();
    let a = client.config_map("a", json!({})).await;
    client.config_map("b", json!({})).await;
    client.config_map("c", json!({})).await;
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&a)), JSON).await;
    assert_eq!(watch.named().await, event("ADDED", "b"));
    assert_eq!(watch.named().await, event("ADDED", "c"));
    // Other kinds and namespaces do not show.
    client
        .post("/api/v1/namespaces/kube-system/configmaps", &json!({"metadata": {"name": "x"}}))
        .await
        .with(201);
    client.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "x"}})).await.with(201);
    client.config_map("d", json!({})).await;
    assert_eq!(watch.named().await, event("ADDED", "d"));
}

#[tokio::test]
async fn selectors_turn_changes_into_comings_and_goings() {
    let client = Client::new();
    let uri = format!("{MAPS}?watch=true&labelSelector=on%3Dyes");
    let mut watch = client.watch(&uri, JSON).await;
    client.config_map("a", json!({"on": "no"})).await;
    let url = format!("{MAPS}/a");
    client.patch(&url, MERGE, &json!({"metadata": {"labels": {"on": "yes"}}})).await.with(200);
    assert_eq!(watch.named().await, event("ADDED", "a"));
    client.patch(&url, MERGE, &json!({"data": {"x": "y"}})).await.with(200);
    assert_eq!(watch.named().await, event("MODIFIED", "a"));
    let left = client.patch(&url, MERGE, &json!({"metadata": {"labels": {"on": "no"}}})).await.with(200);
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["metadata"]["labels"]["on"], "yes", "as it was when it was last selected");
    assert_eq!(revision(&gone["object"]), revision(&left));
}

#[tokio::test]
async fn too_old_is_said_in_the_stream() {
    let client = Client::with(FeedLimits { events: 2, bytes: usize::MAX }, Options::default());
    for name in ["a", "b", "c", "d"] {
        client.config_map(name, json!({})).await;
    }
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion=1"), JSON).await;
    let error = watch.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!((&error["object"]["kind"], &error["object"]["reason"]), (&json!("Status"), &json!("Expired")));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watcher_that_cannot_keep_up_is_cut_off_and_misses_nothing_before() {
    let client = Client::with(FeedLimits { events: 5, bytes: usize::MAX }, Options::default());
    let start = client.memory.state().revision();
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion={start}"), JSON).await;
    for n in 0..3 {
        client.config_map(&format!("read-{n}"), json!({})).await;
    }
    for n in 0..3 {
        assert_eq!(watch.named().await, event("ADDED", &format!("read-{n}")));
    }
    // It keeps up when as many come as are kept, and no more.
    for n in 0..5 {
        client.config_map(&format!("kept-{n}"), json!({})).await;
    }
    for n in 0..5 {
        assert_eq!(watch.named().await, event("ADDED", &format!("kept-{n}")));
    }
    for n in 0..6 {
        client.config_map(&format!("lost-{n}"), json!({})).await;
    }
    let error = watch.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)), "{error}");
    assert_eq!(watch.next().await, None, "nothing comes after a gap");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let client = Client::new();
    client.config_map("a", json!({})).await;
    let uri = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=1"
    );
    let mut watch = client.watch(&uri, JSON).await;
    assert_eq!(watch.named().await, event("ADDED", "a"));
    let mark = watch.next().await.unwrap();
    assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(revision(&mark["object"]), client.memory.state().revision());
    // From it clients that list by a watch make the list that they fill.
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    for (accept, kind, version) in
        [(JSON, "ConfigMapList", "v1"), (metadata, "PartialObjectMetadataList", "meta.k8s.io/v1")]
    {
        let mut watch = client.watch(&uri, accept).await;
        watch.next().await.unwrap();
        let mark = watch.next().await.unwrap();
        let annotations = &mark["object"]["metadata"]["annotations"];
        let list = annotations["kubernetes.io/initial-events-list-blueprint"].as_str().unwrap();
        let list: Value = serde_json::from_slice(&STANDARD.decode(list).unwrap()).unwrap();
        assert_eq!(list, json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": []}));
    }
}

#[tokio::test]
async fn bookmarks_tell_how_far_a_quiet_watch_is() {
    let options = Options { bookmark_interval: Duration::from_millis(10), ..Options::default() };
    let client = Client::with(FeedLimits::default(), options);
    let start = client.memory.state().revision();
    let uri = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={start}");
    let mut watch = client.watch(&uri, JSON).await;
    // Something that this watch does not show.
    client.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "x"}})).await.with(201);
    let mut marks = 0;
    // The deadline ends it without an error.
    while let Some(mark) = watch.next().await {
        assert_eq!((&mark["type"], revision(&mark["object"])), (&json!("BOOKMARK"), start + 1));
        assert!(mark["object"]["metadata"].get("annotations").is_none());
        marks += 1;
    }
    assert!(marks >= 2, "{marks}");
}

#[tokio::test]
async fn tables_have_their_columns_once() {
    let client = Client::new();
    client.config_map("a", json!({})).await;
    let mut watch = client.watch(&format!("{MAPS}?watch=1"), TABLE).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"].as_array().unwrap().len(), 3);
    assert_eq!(first["object"]["rows"][0]["cells"].as_array().unwrap()[..2], [json!("a"), json!(1)]);
    client.config_map("b", json!({})).await;
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    assert_eq!(second["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}

#[tokio::test]
async fn too_many_watches_are_refused_before_they_begin() {
    let client = Client::with(FeedLimits::default(), Options { max_streams: 1, ..Options::default() });
    let held = client.watch(&format!("{MAPS}?watch=1&resourceVersion=1"), JSON).await;
    let refused = client.get(&format!("{MAPS}?watch=1")).await;
    assert_eq!((refused.code, refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
    drop(held);
    client.watch(&format!("{MAPS}?watch=1&resourceVersion=1"), JSON).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_reads_ends() {
    let client = Client::with(FeedLimits::default(), Options { max_streams: 1, ..Options::default() });
    client.config_map("a", json!({})).await;
    for (asked, lasts) in [("timeoutSeconds=1&resourceVersion=1", 60), ("timeoutSeconds=3600", 180)] {
        let uri = format!("{MAPS}?watch=1&{asked}");
        let mut unread = client.watch(&uri, JSON).await;
        client.get(&uri).await.with(429);
        tokio::time::sleep(Duration::from_secs(lasts)).await;
        // Its place is another's now.
        drop(client.watch(&uri, JSON).await);
        assert_eq!(unread.next().await, None);
    }
    // One that was read lasts as long as it may.
    let mut quiet = client.watch(&format!("{MAPS}?watch=1&timeoutSeconds=3600"), JSON).await;
    assert_eq!(quiet.named().await, event("ADDED", "a"));
    tokio::time::sleep(Duration::from_secs(3000)).await;
    client.config_map("b", json!({})).await;
    assert_eq!(quiet.named().await, event("ADDED", "b"));
}

#[tokio::test]
async fn without_initial_events_a_watch_begins_now() {
    // So few events are kept that the beginning is long forgotten.
    let limits = kontiki_api::FeedLimits { events: 2, ..Default::default() };
    let client = Client::with(limits, kontiki_api::Options::default());
    for name in ["a", "b", "c", "d"] {
        client.config_map(name, serde_json::json!({})).await;
    }
    for version in ["", "&resourceVersion=0"] {
        let uri = format!(
            "/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=false\
             &resourceVersionMatch=NotOlderThan{version}"
        );
        let mut watch = client.watch(&uri, "application/json").await;
        let name = format!("new{}", version.len());
        client.config_map(&name, serde_json::json!({})).await;
        assert_eq!(watch.named().await, ("ADDED".to_owned(), name));
    }
}
