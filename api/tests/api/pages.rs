//! Lists: pages, revisions, selectors.

use std::time::Duration;

use kontiki_api::{FeedLimits, Options};
use serde_json::{Value, json};

use crate::client::{Client, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_show_one_moment_whatever_happens_between_them() {
    let client = Client::new();
    for name in ["a", "b", "c", "d", "e"] {
        client.config_map(name, json!({})).await;
    }
    let first = client.get(&format!("{MAPS}?limit=2")).await.with(200);
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    client.delete(&format!("{MAPS}/c")).await.with(200);
    client.config_map("bb", json!({})).await;
    client
        .patch(&format!("{MAPS}/d"), "application/merge-patch+json", &json!({"data": {"k": "new"}}))
        .await
        .with(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.with(200);
    assert_eq!((names(&second), revision(&second)), (vec!["c", "d"], revision(&first)));
    assert_eq!(second["items"][1]["data"]["k"], "d", "as it was at the first page");
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.with(200);
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"].get("continue").is_none());
    let exact = format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={}", revision(&first));
    assert_eq!(names(&client.get(&exact).await.with(200)), ["a", "b", "c", "d", "e"]);
    assert_eq!(names(&client.get(MAPS).await.with(200)), ["a", "b", "bb", "d", "e"]);
}

#[tokio::test]
async fn an_expired_page_says_how_to_go_on() {
    let client = Client::with(FeedLimits { events: 2, bytes: usize::MAX }, Options::default());
    for name in ["a", "b", "c"] {
        client.config_map(name, json!({})).await;
    }
    let first = client.get(&format!("{MAPS}?limit=1")).await.with(200);
    for name in ["d", "e", "f"] {
        client.config_map(name, json!({})).await;
    }
    let token = first["metadata"]["continue"].as_str().unwrap();
    let expired = client.get(&format!("{MAPS}?limit=1&continue={token}")).await.with(410);
    assert_eq!(expired["reason"], "Expired");
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let rest = client.get(&format!("{MAPS}?continue={token}")).await.with(200);
    assert_eq!(names(&rest), ["b", "c", "d", "e", "f"]);
    // What is left of it in pages is of one moment again.
    let second = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.with(200);
    assert_eq!((names(&second), &second["metadata"]["remainingItemCount"]), (vec!["b", "c"], &json!(3)));
    assert!(revision(&second) > revision(&first));
    client.delete(&format!("{MAPS}/d")).await.with(200);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.with(200);
    assert_eq!((names(&third), revision(&third)), (vec!["d", "e"], revision(&second)));
}

#[tokio::test(start_paused = true)]
async fn pages_are_over_some_minutes_after_their_moment() {
    let client = Client::new();
    for name in ["a", "b"] {
        client.config_map(name, json!({})).await;
    }
    let first = client.get(&format!("{MAPS}?limit=1")).await.with(200);
    let next = format!("{MAPS}?limit=1&continue={}", first["metadata"]["continue"].as_str().unwrap());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(names(&client.get(&next).await.with(200)), ["b"], "as long as nothing has changed");
    client.config_map("c", json!({})).await;
    tokio::time::advance(Duration::from_secs(290)).await;
    assert_eq!(names(&client.get(&next).await.with(200)), ["b"]);
    tokio::time::advance(Duration::from_secs(20)).await;
    let over = client.get(&next).await.with(410);
    let token = over["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&client.get(&format!("{MAPS}?continue={token}")).await.with(200)), ["b", "c"]);
}

#[tokio::test]
async fn selectors_of_both_sorts() {
    let client = Client::new();
    client.config_map("a", json!({"tier": "front"})).await;
    client.config_map("b", json!({"tier": "back"})).await;
    client.config_map("c", json!({})).await;
    for (query, expected) in [
        ("labelSelector=tier%3Dfront", vec!["a"]),
        ("labelSelector=tier!%3Dfront", vec!["b", "c"]),
        ("labelSelector=tier+in+(front,back)", vec!["a", "b"]),
        ("labelSelector=!tier", vec!["c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name!%3Db", vec!["a", "c"]),
        ("fieldSelector=metadata.namespace%3Dother", vec![]),
    ] {
        let list = client.get(&format!("{MAPS}?{query}")).await.with(200);
        assert_eq!(names(&list), expected, "{query}");
    }
    let limited = client.get(&format!("{MAPS}?limit=1&labelSelector=tier")).await.with(200);
    assert!(limited["metadata"].get("continue").is_some());
    assert!(limited["metadata"].get("remainingItemCount").is_none());
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")];
    let list = client.raw("GET", MAPS, &partial, "").await.with(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn a_future_revision_is_waited_for_and_then_refused() {
    let client = Client::new();
    let refused = client.get(&format!("{MAPS}?resourceVersion=99999")).await.with(504);
    assert_eq!(refused["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(refused["details"]["retryAfterSeconds"], 1);
}
