//! Answers as protobuf: what they say is what the same answers say as JSON.

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use kontiki_api::{FeedLimits, Options, schema::reader::Limits, wire::protobuf};
use serde_json::{Map, Value, json};

use crate::client::{Answer, Client, deployment, pod, revision};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const FALLBACK: &str = "application/vnd.kubernetes.protobuf,application/json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What a protobuf answer says.
fn read(answer: &Answer, code: u16) -> Value {
    assert_eq!(answer.code, code, "{}", answer.bytes.escape_ascii());
    assert_eq!(answer.headers["content-type"], PROTOBUF, "{}", answer.bytes.escape_ascii());
    protobuf::decode(&answer.bytes, None, Limits::default()).unwrap().value
}

/// JSON without nulls and what is empty, and the items of lists without what lists say of them: messages have what is empty, or not, as
/// Go's types have it.
fn plain(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.values_mut().for_each(strip);
                let empty = |value: &Value| {
                    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value == &json!([])
                };
                object.retain(|_, value| !empty(value));
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    for item in value["items"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        item.retain(|key, _| key != "kind" && key != "apiVersion");
    }
    if value["items"].is_null() {
        value.as_object_mut().unwrap().remove("items");
    }
    value
}

async fn ask(client: &Client, method: &str, uri: &str, body: Value) -> Answer {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    client.raw(method, uri, &[("accept", FALLBACK)], body).await
}

#[tokio::test]
async fn objects_and_lists_say_the_same_as_in_json() {
    let client = Client::new();
    client.config_map("a", json!({"x": "1"})).await;
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    client.post("/apis/apps/v1/namespaces/default/deployments", &deployment("d", 2)).await.with(201);
    let autoscaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    client
        .post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", &autoscaler)
        .await
        .with(201);
    for uri in [
        "/api/v1/namespaces",
        "/api/v1/namespaces/default",
        MAPS,
        "/api/v1/namespaces/default/configmaps/a",
        "/api/v1/pods?limit=1",
        "/api/v1/namespaces/default/pods/p",
        "/apis/apps/v1/deployments",
        "/apis/apps/v1/namespaces/default/deployments/d",
        "/apis/apps/v1/namespaces/default/deployments/d/status",
        "/apis/apps/v1/namespaces/default/deployments/d/scale",
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h",
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        "/apis/storage.k8s.io/v1/storageclasses",
    ] {
        let answer = ask(&client, "GET", uri, Value::Null).await;
        let json = plain(client.get(uri).await.with(200));
        assert_eq!(plain(read(&answer, 200)), json, "{uri}");
    }
}

#[tokio::test]
async fn what_is_written_is_answered_so_and_so_are_refusals() {
    let client = Client::new();
    let made =
        read(&ask(&client, "POST", MAPS, json!({"metadata": {"name": "a"}, "data": {"k": ""}})).await, 201);
    assert_eq!((&made["kind"], &made["data"]), (&json!("ConfigMap"), &json!({"k": ""})));
    let again = read(&ask(&client, "POST", MAPS, json!({"metadata": {"name": "a"}})).await, 409);
    assert_eq!((&again["kind"], &again["reason"]), (&json!("Status"), &json!("AlreadyExists")));
    let changed = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let changed = read(&ask(&client, "PUT", &format!("{MAPS}/a"), changed).await, 200);
    assert_eq!(changed["data"], json!({"k": "v"}));
    let gone = read(&ask(&client, "DELETE", &format!("{MAPS}/a"), Value::Null).await, 200);
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    read(&ask(&client, "GET", &format!("{MAPS}/a"), Value::Null).await, 404);
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let review = ask(&client, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await;
    assert_eq!(read(&review, 201)["status"]["allowed"], true);
}

#[tokio::test]
async fn metadata_alone_has_a_message_and_tables_have_none() {
    let client = Client::new();
    let made = client.config_map("a", json!({"x": "1"})).await;
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let answer = client.raw("GET", MAPS, &[("accept", metadata.as_str())], Body::empty()).await;
    let list = plain(read(&answer, 200));
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0], json!({"metadata": plain(made)["metadata"]}));
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let answer = client.raw("GET", MAPS, &[("accept", table.as_str())], Body::empty()).await;
    assert_eq!(answer.code, 406);
    let table = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(
        client.raw("GET", MAPS, &[("accept", table.as_str())], Body::empty()).await.with(200)["kind"],
        "Table"
    );
}

#[tokio::test]
async fn discovery_has_messages() {
    let client = Client::new();
    for (uri, kind) in [
        ("/api", "APIVersions"),
        ("/api/v1", "APIResourceList"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/apis/apps/v1", "APIResourceList"),
    ] {
        let mut json = client.get(uri).await.with(200);
        let answer = client.raw("GET", uri, &[("accept", PROTOBUF)], Body::empty()).await;
        assert_eq!(answer.headers["content-type"], PROTOBUF, "{uri}");
        let told = read(&answer, 200);
        assert_eq!(told["kind"], kind);
        json["apiVersion"] = told["apiVersion"].clone();
        assert_eq!(plain(told), plain(json), "{uri}");
    }
    for (uri, version) in [("/api", "v2"), ("/apis", "v2"), ("/apis", "v2beta1")] {
        let form =
            |media: &str| format!("{media};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        let ask = async |form: &str| client.raw("GET", uri, &[("accept", form)], Body::empty()).await;
        let json = ask(&form("application/json")).await;
        let answer = ask(&form(PROTOBUF)).await;
        assert_eq!(answer.headers["content-type"], form(PROTOBUF).as_str());
        assert_eq!(answer.headers["etag"], json.headers["etag"]);
        let told = protobuf::decode(&answer.bytes, None, Limits::default()).unwrap().value;
        assert_eq!(plain(told), plain(json.with(200)), "{uri}");
        let yaml = ask(&form("application/yaml")).await;
        assert_eq!(
            (yaml.code, &yaml.headers["content-type"]),
            (200, &form("application/yaml").parse().unwrap())
        );
    }
}

#[tokio::test]
async fn what_is_only_said_as_json_is_said_so_or_refused() {
    let client = Client::new();
    let answer = ask(&client, "GET", "/version", Value::Null).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    for form in [PROTOBUF, "application/yaml"] {
        let only = client.raw("GET", "/version", &[("accept", form)], Body::empty()).await;
        assert_eq!(only.code, 406, "{form}");
        let root = client.raw("GET", "/", &[("accept", form)], Body::empty()).await;
        assert_eq!((root.code, &root.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    }
    // Nothing is asked how it is to be said.
    assert_eq!(client.raw("GET", "/livez", &[("accept", PROTOBUF)], Body::empty()).await.code, 200);
}

/// The field of bytes at the beginning of a message: its content, and what comes after it.
fn field(message: &[u8], number: u8) -> (&[u8], &[u8]) {
    assert_eq!(message[0], number << 3 | 2);
    let (mut length, mut at, mut shift) = (0, 1, 0);
    loop {
        length |= usize::from(message[at] & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if message[at - 1] & 0x80 == 0 {
            return message[at..].split_at(length);
        }
    }
}

/// The events of a watch in its frames: (type, object).
fn events(mut stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        // An event has no envelope; what it is about has.
        let (kind, object) = field(frame, 1);
        let (object, nothing) = field(object, 2);
        let (object, neither) = field(object, 1);
        assert_eq!((nothing.len(), neither.len()), (0, 0));
        let object = protobuf::decode(object, None, Limits::default()).unwrap().value;
        events.push((String::from_utf8(kind.to_vec()).unwrap(), plain(object)));
        stream = rest;
    }
    assert!(stream.is_empty());
    events
}

#[tokio::test]
async fn a_watch_is_told_in_frames() {
    let client = Client::new();
    let made = client.config_map("a", json!({"x": "1"})).await;
    let uri = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let response = client.open("GET", &uri, &[("accept", FALLBACK)], Body::empty()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = response.into_body().into_data_stream();
    let first = events(&body.next().await.unwrap().unwrap());
    assert_eq!(first[0], ("ADDED".to_owned(), plain(made.clone())));
    let (kind, bookmark) = &first[1];
    assert_eq!((kind.as_str(), &bookmark["kind"]), ("BOOKMARK", &json!("ConfigMap")));
    let annotations = &bookmark["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    let list = STANDARD
        .decode(annotations["kubernetes.io/initial-events-list-blueprint"].as_str().unwrap())
        .unwrap();
    assert_eq!(protobuf::decode(&list, None, Limits::default()).unwrap().kind, "ConfigMapList");
    client.delete(&format!("{MAPS}/a")).await.with(200);
    let last = events(&body.next().await.unwrap().unwrap());
    assert_eq!(last[0].0, "DELETED");
    assert!(revision(&last[0].1) > revision(&made));
}

#[tokio::test]
async fn a_watch_that_comes_too_late_is_told_so_in_a_frame() {
    let client = Client::with(FeedLimits { events: 1, bytes: usize::MAX }, Options::default());
    let start = client.memory.state().revision();
    for name in ["a", "b", "c"] {
        client.config_map(name, json!({})).await;
    }
    let answer =
        ask(&client, "GET", &format!("{MAPS}?watch=true&resourceVersion={start}"), Value::Null).await;
    let events = events(&answer.bytes);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "ERROR"));
    assert_eq!((&events[0].1["kind"], &events[0].1["reason"]), (&json!("Status"), &json!("Expired")));
}
