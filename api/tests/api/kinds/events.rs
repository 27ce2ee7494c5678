//! Events in both of their forms: `v1` and `events.k8s.io/v1`.

use serde_json::{Value, json};

use super::{namespaced, refused, with};
use crate::client::{Client, MERGE, revision};

const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One that tells all that a new one may.
fn event() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "labels": {"a": "b"}},
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
        "related": {"kind": "Node", "name": "n"},
        "eventTime": "2017-09-19T13:49:16.000000Z", "note": "This is e", "action": "Do", "reason": "Test",
        "type": "Normal", "reportingController": "test-controller", "reportingInstance": "test-node",
    })
}

#[tokio::test]
async fn one_object_is_served_in_two_forms() {
    let client = Client::new();
    let (new, old) = (namespaced("events.k8s.io", "events"), namespaced("", "events"));
    let made = client.post(&new, &event()).await.with(201);
    let told = with(&made, &[("/metadata", json!({"name": "e", "labels": {"a": "b"}}))]);
    assert_eq!(told, event(), "as it was sent");
    let core = client.get(&format!("{old}/e")).await.with(200);
    assert_eq!(core["metadata"], made["metadata"]);
    let content = with(&core, &[("/metadata", json!(null))]);
    assert_eq!(
        content,
        json!({
            "apiVersion": "v1", "kind": "Event",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
            "related": {"kind": "Node", "name": "n"},
            "eventTime": "2017-09-19T13:49:16.000000Z", "message": "This is e", "action": "Do", "reason": "Test",
            "type": "Normal", "reportingComponent": "test-controller", "reportingInstance": "test-node",
        })
    );
    assert_eq!(client.get(&format!("{new}/e")).await.with(200), made);
    let list = client.get("/apis/events.k8s.io/v1/events").await.with(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("events.k8s.io/v1")));
    let items = list["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["note"] == "This is e" && item["apiVersion"] == "events.k8s.io/v1"));
    // Tables show the same whatever the form.
    let rows = |table: Value| table["rows"][0]["cells"].clone();
    let (one, other) = (client.table(&format!("{new}/e")).await, client.table(&format!("{old}/e")).await);
    assert_eq!(one["columnDefinitions"], other["columnDefinitions"]);
    assert_eq!(rows(one), rows(other));
    client.delete(&format!("{new}/e")).await.with(200);
    client.get(&format!("{old}/e")).await.with(404);
}

#[tokio::test]
async fn events_of_the_older_sort_are_shown_in_the_new_form() {
    let client = Client::new();
    let (new, old) = (namespaced("events.k8s.io", "events"), namespaced("", "events"));
    let told = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
        "message": "m", "reason": "r", "source": {"component": "kubelet", "host": "n"}, "count": 3,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:09Z",
    });
    client.post(&old, &told).await.with(201);
    let shown = client.get(&format!("{new}/e")).await.with(200);
    for (field, value) in [
        ("regarding", told["involvedObject"].clone()),
        ("note", json!("m")),
        ("deprecatedSource", told["source"].clone()),
        ("deprecatedCount", json!(3)),
        ("deprecatedFirstTimestamp", told["firstTimestamp"].clone()),
        ("deprecatedLastTimestamp", told["lastTimestamp"].clone()),
        ("type", json!("Normal")),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert!(["involvedObject", "message", "source", "count"].iter().all(|field| shown.get(field).is_none()));
}

#[tokio::test]
async fn they_are_changed_in_either_form() {
    let client = Client::new();
    let (new, old) = (namespaced("events.k8s.io", "events"), namespaced("", "events"));
    let made = client.post(&new, &event()).await.with(201);
    assert_eq!(made["note"], "This is e");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2017-09-19T13:49:11.000000Z"}});
    let own = format!("{new}/e");
    let patched = client.patch(&own, STRATEGIC, &series).await.with(200);
    assert_eq!((&patched["series"], &patched["note"]), (&series["series"], &made["note"]));
    let again = with(&patched, &[("/series/count", json!(100))]);
    assert_eq!(client.put(&own, &again).await.with(200)["series"]["count"], 100);
    let core = client.get(&format!("{old}/e")).await.with(200);
    assert_eq!(core["series"]["count"], 100);
    // Who owns what is told by the names of the form in which it was written.
    let owners = core["metadata"]["managedFields"].as_array().unwrap();
    assert!(owners.iter().all(|owner| owner["apiVersion"] == "events.k8s.io/v1"), "{owners:?}");
    assert!(owners.iter().any(|owner| owner["fieldsV1"].get("f:note").is_some()), "{owners:?}");
    // The older form lets everything be changed.
    let message = json!({"message": "other"});
    client.patch(&format!("{old}/e"), MERGE, &message).await.with(200);
    let shown = client.get(&own).await.with(200);
    assert_eq!(shown["note"], "other");
    // Nothing is written where nothing changes.
    assert_eq!(revision(&client.put(&own, &shown).await.with(200)), revision(&shown));
}

#[tokio::test]
async fn the_new_form_has_rules_of_its_own() {
    let client = Client::new();
    let (new, old) = (namespaced("events.k8s.io", "events"), namespaced("", "events"));
    let must = |field: &str| vec![(format!("/{field}"), json!(null))];
    for (edits, causes) in [
        (must("eventTime"), vec![("eventTime", "Required value")]),
        (
            must("reportingController"),
            vec![
                ("reportingController", "Required value"),
                ("reportingController", "name part must be non-empty"),
                ("reportingController", "name part must consist of"),
            ],
        ),
        (must("reportingInstance"), vec![("reportingInstance", "Required value")]),
        (must("action"), vec![("action", "Required value")]),
        (must("reason"), vec![("reason", "Required value")]),
        (vec![("/type".into(), json!("Odd"))], vec![("type", "has invalid value: Odd")]),
        (vec![("/note".into(), json!("x".repeat(1025)))], vec![("message", "at most 1024 characters")]),
        (vec![("/deprecatedCount".into(), json!(1))], vec![("count", "needs to be unset")]),
        (vec![("/deprecatedSource".into(), json!({"host": "n"}))], vec![("source", "needs to be unset")]),
        (
            vec![("/series".into(), json!({"count": 1}))],
            vec![("series.count", "should be at least 2"), ("series.lastObservedTime", "Required value")],
        ),
    ] {
        let edits: Vec<(&str, Value)> =
            edits.iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
        refused(&client, &new, &event(), &edits, &causes).await;
    }
    // What only the series may be changed of is changed in nothing else.
    let made = client.post(&new, &event()).await.with(201);
    let edits = [("/note", json!("n")), ("/eventTime", json!("2018-09-19T13:49:16.000000Z"))];
    let status = client.put(&format!("{new}/e"), &with(&made, &edits)).await.with(422);
    let told: Vec<&str> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["field"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["message", "eventTime"]);
    assert_eq!(status["details"]["group"], "events.k8s.io");
    // The older form demands of those that tell their time what the new one does, by its own names.
    let core = json!({"metadata": {"name": "x"}, "eventTime": "2017-09-19T13:49:16.000000Z",
        "involvedObject": {"namespace": "default"}, "reportingInstance": "n", "action": "a", "reason": "r"});
    let status = client.post(&old, &core).await.with(422);
    assert_eq!(status["details"]["causes"][0]["field"], "reportingComponent");
}

#[tokio::test]
async fn they_are_selected_and_watched_in_each_form() {
    let client = Client::new();
    let (new, old) = (namespaced("events.k8s.io", "events"), namespaced("", "events"));
    let mut watch =
        client.watch(&format!("{new}?watch&fieldSelector=regarding.name=web"), "application/json").await;
    let mut other = client.watch(&format!("{old}?watch&labelSelector=a=b"), "application/json").await;
    client
        .post(&new, &with(&event(), &[("/metadata/name", json!("x")), ("/regarding/name", json!("no"))]))
        .await
        .with(201);
    client.post(&new, &event()).await.with(201);
    let shown = watch.next().await.unwrap();
    assert_eq!((&shown["type"], &shown["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("e")));
    assert_eq!(
        (&shown["object"]["apiVersion"], &shown["object"]["note"]),
        (&json!("events.k8s.io/v1"), &json!("This is e"))
    );
    let shown = other.next().await.unwrap();
    assert_eq!(
        (&shown["object"]["apiVersion"], &shown["object"]["message"]),
        (&json!("v1"), &json!("This is e"))
    );
    client.delete(&format!("{old}/e")).await.with(200);
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["note"]), (&json!("DELETED"), &json!("This is e")));
    client.post(&new, &event()).await.with(201);
    let names = |list: Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for (url, selector, found) in [
        (&new, "reportingController=test-controller,regarding.name=web", vec!["e"]),
        (&new, "reportingController!=test-controller", vec![]),
        // Who reports stands for the source of events of the newer sort.
        (&old, "source=test-controller,involvedObject.name=no", vec!["x"]),
        (&old, "reportingComponent=test-controller", vec!["e", "x"]),
    ] {
        let list = client.get(&format!("{url}?fieldSelector={selector}")).await.with(200);
        assert_eq!(names(list), found, "{selector}");
    }
    for (url, selector) in [(&new, "source=x"), (&new, "involvedObject.name=x"), (&old, "regarding.name=x")] {
        client.get(&format!("{url}?fieldSelector={selector}")).await.with(400);
    }
}

#[tokio::test]
async fn both_forms_are_discovered() {
    let client = Client::new();
    let list = client.get("/apis/events.k8s.io/v1").await.with(200);
    assert_eq!(list["groupVersion"], "events.k8s.io/v1");
    assert_eq!(list["resources"].as_array().unwrap().len(), 1);
    assert_eq!(list["resources"][0]["name"], "events");
    assert_eq!(list["resources"][0]["shortNames"], json!(["ev"]));
    let group = client.get("/apis/events.k8s.io").await.with(200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "events.k8s.io/v1");
    let openapi = client.get("/openapi/v3/apis/events.k8s.io/v1").await.with(200);
    let path = &openapi["paths"]["/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}"];
    assert_eq!(path["get"]["x-kubernetes-group-version-kind"]["group"], "events.k8s.io");
    assert!(openapi["components"]["schemas"]["io.k8s.api.events.v1.Event"]["properties"]["note"].is_object());
}

/// Owners of fields by server-side apply are told as in any other kind, by the names of the form.
#[tokio::test]
async fn they_are_applied_in_the_new_form() {
    let client = Client::new();
    let own = format!("{}/e?fieldManager=me", namespaced("events.k8s.io", "events"));
    let made = client.patch(&own, "application/apply-patch+yaml", &event()).await.with(201);
    assert_eq!(made["metadata"]["managedFields"][0]["apiVersion"], "events.k8s.io/v1");
    let labelled = with(&event(), &[("/metadata/labels", json!({"c": "d"}))]);
    let again = client.patch(&own, "application/apply-patch+yaml", &labelled).await.with(200);
    assert_eq!(again["metadata"]["labels"], json!({"c": "d"}));
    assert_eq!(again["note"], "This is e");
}
