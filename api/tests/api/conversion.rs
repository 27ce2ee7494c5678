//! Versions of a custom kind that a webhook converts: when it is asked, about what, and what becomes of what it says.

use axum::body::Body;
use kontiki_actors::{Kind, ObjectKey};
use serde_json::{Value, json};

use crate::{
    client::{Client, MERGE, cells, revision},
    webhook::{Webhook, conversion_of, rules},
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/hosts.example.com";
const V1: &str = "/apis/example.com/v1/namespaces/default/hosts";
const V2: &str = "/apis/example.com/v2/namespaces/default/hosts";
const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// A version of hosts: v1 has `hostPort` and `count`, v2 has `host`, `port` and `replicas`.
fn version(name: &str, storage: bool) -> Value {
    let (spec, replicas, column) = match name {
        "v1" => (
            json!({"hostPort": {"type": "string"}, "count": {"type": "integer"}, "ttl": {"type": "integer", "default": 60}}),
            ".spec.count",
            ".spec.hostPort",
        ),
        _ => (
            json!({"host": {"type": "string", "minLength": 1}, "port": {"type": "integer", "maximum": 65535},
                "replicas": {"type": "integer"}, "ttl": {"type": "integer"}}),
            ".spec.replicas",
            ".spec.host",
        ),
    };
    let status =
        json!({"type": "object", "properties": {"phase": {"type": "string"}, "ready": {"type": "integer"}}});
    let mut version = json!({"name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties":
            {"spec": {"type": "object", "properties": spec}, "status": status}}},
        "subresources": {"status": {}, "scale": {"specReplicasPath": replicas, "statusReplicasPath": ".status.ready"}},
        "additionalPrinterColumns": [{"name": "Where", "type": "string", "jsonPath": column}]});
    if name == "v2" {
        version["selectableFields"] = json!([{"jsonPath": ".spec.host"}]);
    }
    version
}

fn definition(versions: Value, conversion: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "hosts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "hosts", "kind": "Host"},
            "versions": versions, "conversion": conversion}})
}

/// As its author would write the webhook.
fn hosts(object: &Value, wanted: &str) -> Value {
    assert_ne!(object["apiVersion"], wanted, "nothing to convert");
    let mut made = object.clone();
    made["apiVersion"] = wanted.into();
    let Some(spec) = made["spec"].as_object_mut() else { return made };
    let rename = |spec: &mut serde_json::Map<String, Value>, from: &str, to: &str| {
        if let Some(value) = spec.remove(from) {
            spec.insert(to.to_owned(), value);
        }
    };
    if wanted == "example.com/v1" {
        rename(spec, "replicas", "count");
        if let (Some(host), port) = (spec.remove("host"), spec.remove("port")) {
            let port = port.and_then(|port| port.as_u64()).unwrap_or(80);
            spec.insert("hostPort".into(), format!("{}:{port}", host.as_str().unwrap()).into());
        }
    } else {
        rename(spec, "count", "replicas");
        if let Some(Value::String(told)) = spec.remove("hostPort") {
            let (host, port) = told.split_once(':').unwrap();
            spec.insert("host".into(), host.into());
            spec.insert("port".into(), port.parse::<u64>().unwrap().into());
        }
    }
    made
}

fn v1(name: &str, host_port: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Host", "metadata": {"name": name}, "spec": {"hostPort": host_port}})
}

fn v2(name: &str, host: &str, port: u16) -> Value {
    json!({"apiVersion": "example.com/v2", "kind": "Host", "metadata": {"name": name}, "spec": {"host": host, "port": port}})
}

/// A cluster with hosts that are stored as v1, and are converted so.
async fn with(conversion: &Value) -> Client {
    let client = Client::new();
    let versions = json!([version("v1", true), version("v2", false)]);
    client.post(DEFINITIONS, &definition(versions, conversion)).await.with(201);
    client
}

async fn served() -> (Client, Webhook) {
    let webhook = Webhook::converting(hosts).await;
    (with(&webhook.conversion()).await, webhook)
}

/// Makes the definition another one.
async fn redefine(client: &Client, change: impl FnOnce(&mut Value)) -> Value {
    let mut now = client.get(DEFINITION).await.with(200);
    change(&mut now["spec"]);
    client.put(DEFINITION, &now).await.with(200)
}

/// The version that an object is stored in, and its spec as it is stored.
fn stored(client: &Client, name: &str) -> (Option<String>, Value) {
    let kind = Kind::custom("example.com", "hosts", "Host", true);
    let state = client.memory.state();
    let document = &state.get(&ObjectKey::new(kind, "default", name)).unwrap().document;
    (document.version().map(str::to_owned), document.spec_value())
}

/// The names of what each question was about.
fn questions(webhook: &Webhook) -> Vec<Vec<String>> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    webhook
        .asked()
        .iter()
        .map(|asked| asked["objects"].as_array().unwrap().iter().map(name).collect())
        .collect()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap()
}

/// The conversion by somebody who is not there.
async fn dead() -> Value {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut conversion = Webhook::allowing().await.conversion();
    conversion["webhook"]["clientConfig"]["url"] = format!("https://127.0.0.1:{port}/convert").into();
    conversion
}

#[tokio::test]
async fn an_object_is_asked_for_in_one_version_and_stored_in_another() {
    let (client, webhook) = served().await;
    let made = client.post(V1, &v1("a", "one:1")).await.with(201);
    assert_eq!(client.get(&format!("{V1}/a")).await.with(200), made);
    assert_eq!(questions(&webhook), [[""; 0]; 0], "nothing to convert");
    let shown = client.get(&format!("{V2}/a")).await.with(200);
    assert_eq!((&shown["apiVersion"], &shown["kind"]), (&json!("example.com/v2"), &json!("Host")));
    assert_eq!(shown["spec"], json!({"host": "one", "port": 1, "ttl": 60}));
    assert_eq!(shown["metadata"], made["metadata"]);
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!(asked["desiredAPIVersion"], "example.com/v2");
    assert!(asked["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{asked}");
    assert_eq!(asked["objects"][0], made, "as it is stored, complete");
    assert_eq!(webhook.uris().last().unwrap().to_string(), "/convert?timeout=30s");
    // The other way.
    let made = client.post(V2, &v2("b", "two", 2)).await.with(201);
    assert_eq!(
        made["spec"],
        json!({"host": "two", "port": 2, "ttl": 60}),
        "by the default of what is stored"
    );
    assert!(made["metadata"]["uid"].is_string());
    let told = webhook.asked();
    let wanted: Vec<&Value> = told.iter().map(|asked| &asked["desiredAPIVersion"]).collect();
    assert_eq!(wanted, ["example.com/v1", "example.com/v2"], "to be stored, and to be shown");
    assert_eq!(stored(&client, "b"), (Some("v1".into()), json!({"hostPort": "two:2"})));
    assert_eq!(
        client.get(&format!("{V1}/b")).await.with(200)["spec"],
        json!({"hostPort": "two:2", "ttl": 60})
    );
    // It is checked as what it came as.
    let wrong = client.post(V2, &v2("c", "", 3)).await.with(422);
    assert!(message(&wrong).contains("spec.host"), "{wrong}");
    let mut odd = v2("c", "three", 3);
    odd["spec"]["hostPort"] = "x:1".into();
    let answer = client.raw("POST", V2, &[], odd.to_string()).await;
    assert_eq!(answer.headers["warning"], "299 - \"unknown field \\\"spec.hostPort\\\"\"");
    // What is only tried is converted, too, and not stored.
    let tried = client.post(&format!("{V2}?dryRun=All"), &v2("d", "four", 4)).await.with(201);
    assert_eq!(tried["spec"]["port"], 4);
    client.get(&format!("{V1}/d")).await.with(404);
    let mut generated = v2("", "five", 5);
    generated["metadata"] = json!({"generateName": "x-"});
    let made = client.post(V2, &generated).await.with(201);
    assert_eq!((&made["spec"]["host"], &made["apiVersion"]), (&json!("five"), &json!("example.com/v2")));
}

#[tokio::test]
async fn a_list_is_one_question_about_what_is_not_in_its_version() {
    let (client, webhook) = served().await;
    for (name, host_port) in [("a", "one:1"), ("b", "two:2"), ("c", "one:3")] {
        client.post(V1, &v1(name, host_port)).await.with(201);
    }
    assert_eq!(names(&client.get(V1).await.with(200)), ["a", "b", "c"]);
    assert!(webhook.asked().is_empty());
    let list = client.get(V2).await.with(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("HostList"), &json!("example.com/v2")));
    let ports: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|i| &i["spec"]["port"]).collect();
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(questions(&webhook), [["a", "b", "c"]]);
    let table = client.table(V2).await;
    assert_eq!(cells(&table)[..2], [json!("a"), json!("one")]);
    assert_eq!(questions(&webhook), [["a", "b", "c"]]);
    let metadata = client.raw("GET", V2, &[("accept", METADATA)], "").await.with(200);
    assert_eq!((names(&metadata), &metadata["items"][0]["spec"]), (vec!["a", "b", "c"], &Value::Null));
    webhook.asked();
    // Fields are those of the version that is asked for, and each object is asked about once.
    let by = async |query: &str| client.get(&format!("{V2}?{query}")).await.with(200);
    assert_eq!(names(&by("fieldSelector=spec.host%3Done").await), ["a", "c"]);
    assert_eq!(questions(&webhook), [["a", "b", "c"]]);
    client.get(&format!("{V1}?fieldSelector=spec.host%3Done")).await.with(400);
    assert_eq!(names(&by("fieldSelector=metadata.name%3Db").await), ["b"]);
    assert_eq!(questions(&webhook), [["b"]]);
    // In pages, with and without selectors.
    for query in ["limit=1", "limit=1&fieldSelector=spec.host%3Done"] {
        let first = by(query).await;
        let next = by(&format!("{query}&continue={}", first["metadata"]["continue"].as_str().unwrap())).await;
        let second = if query.contains("Selector") { "c" } else { "b" };
        assert_eq!((names(&first), names(&next)), (vec!["a"], vec![second]), "{query}");
        assert_eq!(next["metadata"]["continue"].is_string(), second == "b");
    }
    // Long lists are so many questions, none of which is too long.
    for n in 0..300 {
        client.post(V1, &v1(&format!("n{n:03}"), "many:1")).await.with(201);
    }
    webhook.asked();
    let list = client.get(V2).await.with(200);
    let all = names(&list);
    assert!(all.len() == 303 && all.is_sorted(), "{all:?}");
    let asked: Vec<usize> = questions(&webhook).iter().map(Vec::len).collect();
    assert_eq!(asked.iter().sum::<usize>(), 303);
    assert_eq!(asked.iter().max(), Some(&256));
}

#[tokio::test]
async fn a_watch_shows_its_version() {
    let (client, webhook) = served().await;
    client.post(V1, &v1("a", "one:1")).await.with(201);
    let asked = "watch&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = client.watch(&format!("{V2}?{asked}"), JSON).await;
    let first = watch.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["spec"]["host"]), (&json!("ADDED"), &json!("one")));
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["apiVersion"], "example.com/v2");
    let mut ones = client.watch(&format!("{V2}?watch&fieldSelector=spec.host%3Done"), JSON).await;
    assert_eq!(ones.named().await, ("ADDED".into(), "a".into()));
    let two =
        client.patch(&format!("{V1}/a"), MERGE, &json!({"spec": {"hostPort": "two:2"}})).await.with(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("MODIFIED"), &json!("two")));
    assert_eq!(revision(&event["object"]), revision(&two));
    // For whoever selects by what it was, it is gone; and comes again.
    let event = ones.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["host"]), (&json!("DELETED"), &json!("one")));
    assert_eq!(revision(&event["object"]), revision(&two));
    // What many are shown is converted once.
    webhook.asked();
    client.patch(&format!("{V1}/a"), MERGE, &json!({"spec": {"hostPort": "one:3"}})).await.with(200);
    assert_eq!(ones.next().await.unwrap()["type"], "ADDED");
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["port"], 3);
    assert_eq!(questions(&webhook), [["a"]]);
    client.config_map("other", json!({})).await;
    client.delete(&format!("{V1}/a")).await.with(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["port"]), (&json!("DELETED"), &json!(3)));
    assert_eq!(ones.named().await, ("DELETED".into(), "a".into()));
    // Who watches the version that is stored asks nobody.
    webhook.asked();
    let mut plain = client.watch(&format!("{V1}?watch"), JSON).await;
    client.post(V1, &v1("b", "x:1")).await.with(201);
    assert_eq!(plain.next().await.unwrap()["object"]["spec"]["hostPort"], "x:1");
    assert!(webhook.asked().is_empty());
}

#[tokio::test]
async fn patches_are_of_the_version_that_they_are_for() {
    let (client, _webhook) = served().await;
    client.post(V1, &v1("a", "one:1")).await.with(201);
    let own = format!("{V2}/a");
    let merged = client.patch(&own, MERGE, &json!({"spec": {"port": 2}})).await.with(200);
    assert_eq!(merged["spec"], json!({"host": "one", "port": 2, "ttl": 60}));
    assert_eq!(
        (&merged["metadata"]["generation"], &merged["apiVersion"]),
        (&json!(2), &json!("example.com/v2"))
    );
    assert_eq!(stored(&client, "a").1["hostPort"], "one:2");
    let steps = json!([{"op": "test", "path": "/spec/host", "value": "one"}, {"op": "replace", "path": "/spec/host", "value": "two"}]);
    assert_eq!(client.patch(&own, JSON_PATCH, &steps).await.with(200)["spec"]["host"], "two");
    // One that changes nothing writes nothing.
    let again = client.patch(&own, MERGE, &json!({"spec": {"host": "two"}})).await.with(200);
    assert_eq!(
        (&again["metadata"]["generation"], &stored(&client, "a").1["hostPort"]),
        (&json!(3), &json!("two:2"))
    );
    let same = client.patch(&own, MERGE, &json!({"spec": {"host": "two"}})).await.with(200);
    assert_eq!(revision(&same), revision(&again));
    let mut newer = same.clone();
    newer["spec"]["port"] = 9.into();
    let put = client.put(&own, &newer).await.with(200);
    assert_eq!(put["spec"]["port"], 9);
    assert_eq!(client.put(&own, &newer).await.with(409)["reason"], "Conflict");
    // Others were faster: it is worked out again, and converted again.
    client.memory.disturb.store(2, std::sync::atomic::Ordering::Relaxed);
    let patched = client.patch(&own, MERGE, &json!({"spec": {"port": 10}})).await.with(200);
    assert_eq!(patched["spec"]["port"], 10);
    assert!(patched["metadata"]["annotations"]["disturbed"].is_string());
    // Below it.
    let up =
        client.patch(&format!("{own}/status"), MERGE, &json!({"status": {"phase": "Up", "ready": 1}})).await;
    let up = up.with(200);
    assert_eq!((&up["status"]["phase"], &up["spec"]["port"]), (&json!("Up"), &json!(10)));
    let scaled =
        client.patch(&format!("{own}/scale"), MERGE, &json!({"spec": {"replicas": 3}})).await.with(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(client.get(&format!("{V1}/a/scale")).await.with(200)["spec"], scaled["spec"]);
    let now = client.get(&format!("{V1}/a")).await.with(200);
    assert_eq!(now["spec"], json!({"hostPort": "two:10", "count": 3, "ttl": 60}));
    assert_eq!(now["status"], json!({"phase": "Up", "ready": 1}));
    let mut status = client.get(&format!("{own}/status")).await.with(200);
    status["status"]["phase"] = "Down".into();
    status["spec"]["port"] = 99.into();
    let down = client.put(&format!("{own}/status"), &status).await.with(200);
    assert_eq!((&down["status"]["phase"], &down["spec"]["port"]), (&json!("Down"), &json!(10)));
}

#[tokio::test]
async fn what_is_applied_is_of_the_version_that_it_names() {
    let (client, _webhook) = served().await;
    let apply = async |name: &str, object: &Value| {
        client.patch(&format!("{V2}/a?fieldManager={name}"), APPLY, object).await
    };
    let made = apply("me", &v2("a", "one", 1)).await.with(201);
    assert_eq!(made["spec"], json!({"host": "one", "port": 1, "ttl": 60}));
    assert_eq!(stored(&client, "a"), (Some("v1".into()), json!({"hostPort": "one:1"})));
    let owned = &made["metadata"]["managedFields"][0];
    assert_eq!((&owned["apiVersion"], &owned["manager"]), (&json!("example.com/v2"), &json!("me")));
    assert_eq!(owned["fieldsV1"]["f:spec"], json!({"f:host": {}, "f:port": {}}));
    let mut other = v2("a", "two", 1);
    other["spec"]["replicas"] = 2.into();
    let refused = apply("you", &other).await.with(409);
    assert!(message(&refused).contains(".spec.host"), "{refused}");
    other["spec"]["host"] = "one".into();
    let both = apply("you", &other).await.with(200);
    assert_eq!(both["spec"], json!({"host": "one", "port": 1, "replicas": 2, "ttl": 60}));
    // What is no longer applied goes, where nobody else owns it.
    other["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(apply("you", &other).await.with(200)["spec"], json!({"host": "one", "port": 1, "ttl": 60}));
    assert_eq!(stored(&client, "a").1, json!({"hostPort": "one:1", "ttl": 60}));
    let status = json!({"apiVersion": "example.com/v2", "kind": "Host", "metadata": {"name": "a"}, "status": {"phase": "Up"}});
    let up = client.patch(&format!("{V2}/a/status?fieldManager=me"), APPLY, &status).await.with(200);
    assert_eq!((&up["status"]["phase"], &up["spec"]["host"]), (&json!("Up"), &json!("one")));
}

#[tokio::test]
async fn labels_and_annotations_are_those_of_the_version() {
    let webhook = Webhook::converting(|object, wanted| {
        let mut made = hosts(object, wanted);
        let version = wanted.rsplit('/').next().unwrap();
        made["metadata"] = json!({"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"],
            "uid": object["metadata"]["uid"], "labels": {"form": version}});
        made
    })
    .await;
    let client = with(&webhook.conversion()).await;
    let mut object = v1("a", "one:1");
    object["metadata"]["annotations"] = json!({"k": "v"});
    let made = client.post(V1, &object).await.with(201);
    let shown = client.get(&format!("{V2}/a")).await.with(200);
    let metadata = &shown["metadata"];
    assert_eq!((&metadata["labels"], &metadata["annotations"]), (&json!({"form": "v2"}), &Value::Null));
    for kept in ["creationTimestamp", "generation", "managedFields", "resourceVersion"] {
        assert_eq!(metadata[kept], made["metadata"][kept], "not for it to change");
    }
    let of = async |query: &str| client.get(&format!("{V2}?labelSelector={query}")).await.with(200);
    assert_eq!((names(&of("form%3Dv2").await), names(&of("!form").await)), (vec!["a"], vec![]));
    let metadata = client.raw("GET", V2, &[("accept", METADATA)], "").await.with(200);
    assert_eq!(metadata["items"][0]["metadata"]["labels"]["form"], "v2");
}

#[tokio::test]
async fn who_does_not_answer_as_asked_is_not_believed() {
    let failed = "conversion webhook for example.com/v1, Kind=Host failed: ";
    let returned = "conversion webhook for example.com/v1, Kind=Host returned ";
    let object = |request: &Value| hosts(&request["objects"][0], "example.com/v2");
    let with_objects = |request: &Value, objects: Value| {
        let response =
            json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}});
        (200, conversion_of(response))
    };
    let changed = move |request: &Value, pointer: &str, value: &str| {
        let mut made = object(request);
        *made.pointer_mut(pointer).unwrap() = value.into();
        with_objects(request, json!([made]))
    };
    type Says = Box<dyn Fn(&Value) -> (u16, Vec<u8>) + Send + Sync>;
    let cases: Vec<(Says, String)> = vec![
        (Box::new(|_| (200, b"no".to_vec())), format!("{failed}invalid JSON")),
        (
            Box::new(|_| (500, Vec::new())),
            format!("{failed}an error on the server (500 Internal Server Error)"),
        ),
        (
            Box::new(|_| (200, conversion_of(json!({"uid": "other", "result": {"status": "Success"}})))),
            format!("{failed}expected response.uid="),
        ),
        (
            Box::new(|request| {
                let result = json!({"status": "Failure", "message": "not on Fridays"});
                (200, conversion_of(json!({"uid": request["uid"], "result": result})))
            }),
            format!("{failed}not on Fridays"),
        ),
        (
            Box::new(move |request| with_objects(request, json!([]))),
            format!("{returned}0 objects, expected 1"),
        ),
        (
            Box::new(move |request| with_objects(request, json!([object(request), object(request)]))),
            format!("{returned}2 objects, expected 1"),
        ),
        (
            Box::new(move |request| changed(request, "/apiVersion", "example.com/v1")),
            format!(
                "{returned}invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)"
            ),
        ),
        (
            Box::new(move |request| changed(request, "/kind", "Pod")),
            format!("{returned}invalid object at index 0: invalid kind (expected Host, received Pod)"),
        ),
        (
            Box::new(move |request| changed(request, "/metadata/name", "b")),
            format!("{returned}invalid object: must have the same name: a != b"),
        ),
        (
            Box::new(move |request| changed(request, "/metadata/uid", "1")),
            format!("{returned}invalid object: must have the same UID: "),
        ),
        (
            Box::new(move |request| {
                let mut made = object(request);
                made["metadata"]["labels"] = json!({"no good": "x"});
                with_objects(request, json!([made]))
            }),
            format!("{returned}invalid metadata: metadata.labels: Invalid value: \"no good\""),
        ),
    ];
    for (says, told) in cases {
        let webhook = Webhook::raw(move |review| Some(says(&review["request"]))).await;
        let client = with(&webhook.conversion()).await;
        let made = client.post(V1, &v1("a", "one:1")).await.with(201);
        let status = client.get(&format!("{V2}/a")).await.with(500);
        assert!(message(&status).starts_with(&told), "{}\n{told}", message(&status));
        assert_eq!(status["reason"], "");
        client.get(V2).await.with(500);
        client.patch(&format!("{V2}/a"), MERGE, &json!({"spec": {"port": 2}})).await.with(500);
        assert_eq!(client.get(&format!("{V1}/a")).await.with(200), made, "as it was");
        let mut watch = client.watch(&format!("{V2}?watch"), JSON).await;
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
        assert!(message(&event["object"]).starts_with(&told));
        assert!(watch.next().await.is_none(), "it ends");
    }
    // Of many, the one is named that is wrong.
    let webhook = Webhook::converting(|object, wanted| {
        let mut made = hosts(object, wanted);
        if made["metadata"]["name"] == "b" {
            made["metadata"]["namespace"] = "other".into();
        }
        made
    })
    .await;
    let client = with(&webhook.conversion()).await;
    for name in ["a", "b"] {
        client.post(V1, &v1(name, "one:1")).await.with(201);
    }
    let status = client.get(V2).await.with(500);
    let told = "invalid converted object at index 1: must have the same namespace: default != other";
    assert_eq!(message(&status), format!("{returned}{told}"));
    client.get(&format!("{V2}/a")).await.with(200);
}

#[tokio::test]
async fn who_is_dead_holds_up_nothing_that_does_not_need_him() {
    let client = with(&dead().await).await;
    client.post(V1, &v1("a", "one:1")).await.with(201);
    let status = client.get(&format!("{V2}/a")).await.with(500);
    let told = message(&status);
    assert!(
        told.starts_with(
            "conversion webhook for example.com/v1, Kind=Host failed: Post \"https://127.0.0.1:"
        ) && told.contains("/convert?timeout=30s\": dial tcp"),
        "{told}"
    );
    client.get(V2).await.with(500);
    client.post(V2, &v2("b", "two", 2)).await.with(500);
    client.get(&format!("{V1}/b")).await.with(404);
    client.patch(&format!("{V2}/b?fieldManager=me"), APPLY, &v2("b", "two", 2)).await.with(500);
    // A watch ends when there is something that it cannot show.
    let list = client.get(V1).await.with(200);
    let mut watch = client.watch(&format!("{V2}?watch&resourceVersion={}", revision(&list)), JSON).await;
    client.patch(&format!("{V1}/a"), MERGE, &json!({"spec": {"count": 2}})).await.with(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
    assert!(watch.next().await.is_none());
    // Deletions need nobody, in whatever version: not those of clients, and not those of the cluster.
    for name in ["c", "d", "e"] {
        let mut object = v1(name, "x:1");
        if name == "d" {
            object["metadata"]["finalizers"] = json!(["example.com/hold"]);
        }
        client.post(V1, &object).await.with(201);
    }
    assert_eq!(client.delete(&format!("{V2}/c")).await.with(200)["status"], "Success");
    client.get(&format!("{V1}/c")).await.with(404);
    assert_eq!(client.delete(&format!("{V2}/d")).await.with(200)["status"], "Success");
    assert!(client.get(&format!("{V1}/d")).await.with(200)["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(client.delete(V2).await.with(200)["status"], "Success");
    assert_eq!(names(&client.get(V1).await.with(200)), ["d"]);
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await.with(201);
    let below = V1.replace("default", "n");
    client.post(&below, &v1("a", "x:1")).await.with(201);
    client.delete("/api/v1/namespaces/n").await.with(200);
    while client.memory.step() {}
    client.get("/api/v1/namespaces/n").await.with(404);
    client.delete(DEFINITION).await.with(200);
    client.patch(&format!("{V1}/d"), MERGE, &json!({"metadata": {"finalizers": null}})).await.with(200);
    client.get(DEFINITION).await.with(404);
}

#[tokio::test]
async fn who_says_nothing_holds_up_who_asks_him_and_nobody_else() {
    let webhook = Webhook::raw(|_| None).await;
    let client = with(&webhook.conversion()).await;
    client.post(V1, &v1("a", "one:1")).await.with(201);
    let other = client.as_peer(client.peer().cloned());
    let waits = tokio::spawn(async move { other.get(&format!("{V2}/a")).await.code });
    while webhook.connections() == 0 {
        tokio::task::yield_now().await;
    }
    client.config_map("m", json!({})).await;
    client.patch(&format!("{V1}/a"), MERGE, &json!({"spec": {"count": 2}})).await.with(200);
    assert_eq!(client.delete(&format!("{V1}/a")).await.with(200)["status"], "Success");
    assert!(!waits.is_finished());
    waits.abort();
    // As long as the request may take, if that is shorter.
    client.post(V1, &v1("b", "one:1")).await.with(201);
    assert_eq!(client.get(&format!("{V2}/b?timeout=100ms")).await.with(504)["reason"], "Timeout");
}

#[tokio::test]
async fn the_version_that_is_stored_may_change() {
    let webhook = Webhook::converting(hosts).await;
    let client = Client::new();
    let none = json!({"strategy": "None"});
    client.post(DEFINITIONS, &definition(json!([version("v1", true)]), &none)).await.with(201);
    client.post(V1, &v1("a", "one:1")).await.with(201);
    assert_eq!(stored(&client, "a").0, None, "of one version there is nothing to say");
    let conversion = webhook.conversion();
    let now = redefine(&client, |spec| {
        spec["versions"] = json!([version("v1", false), version("v2", true)]);
        spec["conversion"] = conversion;
    })
    .await;
    assert_eq!(now["status"]["storedVersions"], json!(["v1", "v2"]));
    // What was stored before is what it was stored as.
    assert_eq!(client.get(&format!("{V1}/a")).await.with(200)["spec"]["hostPort"], "one:1");
    assert!(webhook.asked().is_empty());
    assert_eq!(client.get(&format!("{V2}/a")).await.with(200)["spec"]["host"], "one");
    assert_eq!(questions(&webhook), [["a"]]);
    client.post(V2, &v2("b", "two", 2)).await.with(201);
    assert!(webhook.asked().is_empty());
    client.post(V1, &v1("c", "three:3")).await.with(201);
    assert_eq!(stored(&client, "c").1["host"], "three");
    webhook.asked();
    let list = client.get(V1).await.with(200);
    let told: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["spec"]["hostPort"]).collect();
    assert_eq!(told, ["one:1", "two:2", "three:3"]);
    assert_eq!(questions(&webhook), [["b", "c"]]);
    client.get(V2).await.with(200);
    assert_eq!(questions(&webhook), [["a"]]);
    // A write of its status only is one of the whole object.
    client.patch(&format!("{V1}/a/status"), MERGE, &json!({"status": {"phase": "Up"}})).await.with(200);
    assert_eq!((stored(&client, "a").0, &stored(&client, "a").1["host"]), (Some("v2".into()), &json!("one")));
    // Objects are brought to the new version by writing them as they are; then the old one may go.
    redefine(&client, |spec| spec["versions"] = json!([version("v1", true), version("v2", false)])).await;
    client.post(V1, &v1("late", "x:1")).await.with(201);
    redefine(&client, |spec| spec["versions"] = json!([version("v1", false), version("v2", true)])).await;
    client.post(V2, &v2("forgotten", "x", 1)).await.with(201);
    redefine(&client, |spec| spec["versions"] = json!([version("v1", true), version("v2", false)])).await;
    for name in ["a", "b", "c"] {
        let own = format!("{V2}/{name}");
        let as_it_is = client.get(&own).await.with(200);
        client.put(&own, &as_it_is).await.with(200);
        assert_eq!(stored(&client, name).0, Some("v1".into()));
    }
    let mut now = client.get(DEFINITION).await.with(200);
    now["spec"]["versions"] = json!([version("v1", true)]);
    let refused = client.put(DEFINITION, &now).await.with(422);
    assert!(message(&refused).contains("missing from spec.versions; v2 was previously a storage version"));
    let told = json!({"status": {"storedVersions": ["v1"]}});
    client.patch(&format!("{DEFINITION}/status"), MERGE, &told).await.with(200);
    let now = redefine(&client, |spec| spec["versions"] = json!([version("v1", true)])).await;
    assert_eq!(now["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(client.get(&format!("{V1}/late")).await.with(200)["spec"]["hostPort"], "x:1");
    // What nobody brought along can be deleted only.
    let lost = client.get(&format!("{V1}/forgotten")).await.with(500);
    assert_eq!(message(&lost), "request to convert CR from an invalid group/version: example.com/v2");
    client.delete(&format!("{V1}/forgotten")).await.with(200);
    assert_eq!(names(&client.get(V1).await.with(200)), ["a", "b", "c", "late"]);
}

#[tokio::test]
async fn objects_of_several_versions_say_theirs_before_there_is_a_webhook() {
    let client = Client::new();
    let none = json!({"strategy": "None"});
    let versions = |storage: &str| json!([version("v1", storage == "v1"), version("v2", storage == "v2")]);
    client.post(DEFINITIONS, &definition(versions("v1"), &none)).await.with(201);
    client.post(V1, &v1("a", "one:1")).await.with(201);
    redefine(&client, |spec| spec["versions"] = versions("v2")).await;
    client.post(V2, &v2("b", "two", 2)).await.with(201);
    assert_eq!((stored(&client, "a").0, stored(&client, "b").0), (Some("v1".into()), Some("v2".into())));
    let webhook = Webhook::converting(hosts).await;
    let (conversion, bookmarks) = (webhook.conversion(), "allowWatchBookmarks=true");
    let seen = revision(&client.get(V2).await.with(200));
    let mut watch = client.watch(&format!("{V2}?watch&resourceVersion={seen}&{bookmarks}"), JSON).await;
    redefine(&client, |spec| spec["conversion"] = conversion).await;
    // Who watched while a version was a name only comes again, and goes on from where he was.
    assert_eq!(watch.next().await.unwrap()["type"], "BOOKMARK");
    assert!(watch.next().await.is_none());
    let mut watch = client.watch(&format!("{V2}?watch&resourceVersion={seen}"), JSON).await;
    client.patch(&format!("{V1}/b"), MERGE, &json!({"spec": {"hostPort": "two:3"}})).await.with(200);
    assert_eq!(watch.next().await.unwrap()["object"]["spec"], json!({"host": "two", "port": 3, "ttl": 60}));
    webhook.asked();
    let list = client.get(V2).await.with(200);
    assert_eq!(
        (&list["items"][0]["spec"]["host"], &list["items"][1]["spec"]["port"]),
        (&json!("one"), &json!(3))
    );
    assert_eq!(questions(&webhook), [["a"]]);
}

#[tokio::test]
async fn who_has_a_say_in_a_write_is_shown_the_version_that_he_wants() {
    let (client, _webhook) = served().await;
    let guard = Webhook::allowing().await;
    let hook = guard.hook("all", rules(&["*"], "example.com", &["hosts"]));
    let body = json!({"metadata": {"name": "guards"}, "webhooks": [hook]});
    let configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    client.post(configurations, &body).await.with(201);
    client.post(V2, &v2("a", "one", 1)).await.with(201);
    let [asked] = guard.asked().try_into().unwrap();
    assert_eq!((&asked["kind"]["version"], &asked["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(asked["object"]["spec"], json!({"hostPort": "one:1", "ttl": 60}));
    client.patch(&format!("{V2}/a"), MERGE, &json!({"spec": {"port": 2}})).await.with(200);
    let [asked] = guard.asked().try_into().unwrap();
    let specs = (&asked["oldObject"]["spec"]["hostPort"], &asked["object"]["spec"]["hostPort"]);
    assert_eq!(specs, (&json!("one:1"), &json!("one:2")));
    client.delete(&format!("{V2}/a")).await.with(200);
    let [asked] = guard.asked().try_into().unwrap();
    assert_eq!(asked["oldObject"]["spec"]["hostPort"], "one:2");
}

#[tokio::test]
async fn what_a_definition_says_of_its_webhook_is_checked() {
    let client = Client::new();
    let bundle = Webhook::allowing().await.conversion()["webhook"]["clientConfig"]["caBundle"].clone();
    let url = json!({"url": "https://example.com/convert", "caBundle": bundle});
    let service = |service: Value| json!({"service": service});
    let webhook = |client: Value, versions: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": versions}});
    let client_config = "spec.conversion.webhookClientConfig";
    let versions = "spec.conversion.conversionReviewVersions";
    let not_set = "Forbidden: should not be set when strategy is not set to Webhook";
    for (conversion, field, said) in [
        (
            json!({"strategy": "Other"}),
            "spec.conversion.strategy",
            "Unsupported value: \"Other\": supported values: \"None\", \"Webhook\"",
        ),
        (
            json!({"strategy": "None", "webhook": {"clientConfig": url, "conversionReviewVersions": []}}),
            client_config,
            not_set,
        ),
        (json!({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}), versions, not_set),
        (
            webhook(json!({}), json!(["v1"])),
            client_config,
            "Required value: exactly one of url or service is required",
        ),
        (
            webhook(json!({"url": "http://example.com"}), json!(["v1"])),
            &format!("{client_config}.url"),
            "Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            webhook(service(json!({"namespace": "n", "name": "s", "port": 0})), json!(["v1"])),
            &format!("{client_config}.service.port"),
            "Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        ),
        (
            webhook(service(json!({"namespace": "", "name": "s"})), json!(["v1"])),
            &format!("{client_config}.service.namespace"),
            "Required value: service namespace is required",
        ),
        (webhook(url.clone(), json!([])), versions, "Required value"),
        (
            webhook(url.clone(), json!(["v7"])),
            versions,
            "Invalid value: [\"v7\"]: must include at least one of v1, v1beta1",
        ),
        (
            webhook(url.clone(), json!(["v1", "v1"])),
            &format!("{versions}[1]"),
            "Invalid value: \"v1\": duplicate version",
        ),
    ] {
        let body = definition(json!([version("v1", true)]), &conversion);
        let status = client.post(DEFINITIONS, &body).await.with(422);
        let cause = &status["details"]["causes"][0];
        assert_eq!((&cause["field"], &cause["message"]), (&json!(field), &json!(said)), "{status}");
        assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 1, "{status}");
    }
    let made = webhook(service(json!({"namespace": "n", "name": "s"})), json!(["v9", "v1beta1"]));
    let made = client.post(DEFINITIONS, &definition(json!([version("v1", true)]), &made)).await.with(201);
    assert_eq!(made["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"], 443);
    let mut wrong = made;
    wrong["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = "bm8=".into();
    let status = client.put(DEFINITION, &wrong).await.with(422);
    assert!(message(&status).contains("unable to load root certificates"), "{status}");
}

#[tokio::test]
async fn a_webhook_behind_a_service_and_an_older_one() {
    let older = Webhook::raw(|review| {
        assert_eq!(review["apiVersion"], "apiextensions.k8s.io/v1beta1");
        let object = hosts(&review["request"]["objects"][0], "example.com/v2");
        let response = json!({"convertedObjects": [object], "result": {"status": "Success"}});
        Some((200, json!({"response": response}).to_string().into_bytes()))
    })
    .await;
    let mut conversion = older.conversion();
    conversion["webhook"]["conversionReviewVersions"] = json!(["v1beta1", "v1"]);
    let client = with(&conversion).await;
    client.post(V1, &v1("a", "one:1")).await.with(201);
    assert_eq!(client.get(&format!("{V2}/a")).await.with(200)["spec"]["host"], "one");
    // Behind a Service, by its addresses.
    let webhook = Webhook::converting(hosts).await;
    let mut conversion = webhook.conversion();
    let config = &mut conversion["webhook"]["clientConfig"];
    config.as_object_mut().unwrap().remove("url");
    config["service"] = json!({"namespace": "default", "name": "guard", "path": "/convert"});
    redefine(&client, |spec| spec["conversion"] = conversion).await;
    let status = client.get(&format!("{V2}/a")).await.with(500);
    assert!(message(&status).ends_with("failed: service \"guard\" not found"), "{status}");
    let service = json!({"metadata": {"name": "guard"}, "spec": {"ports": [{"port": 443, "name": "https"}]}});
    client.post("/api/v1/namespaces/default/services", &service).await.with(201);
    let slice = json!({"metadata": {"name": "guard-1", "labels": {"kubernetes.io/service-name": "guard"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": webhook.port}]});
    client.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.with(201);
    let shown = client.raw("GET", &format!("{V2}/a"), &[], Body::empty()).await.with(200);
    assert_eq!(shown["spec"]["port"], 1);
}
