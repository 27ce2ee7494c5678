//! Objects from their creation to their end.

use std::sync::Arc;

use kontiki_api::{FeedLimits, Options};
use parking_lot::Mutex;
use serde_json::json;

use crate::client::{Client, cells, deployment, pod, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_created_read_and_deleted() {
    let client = Client::new();
    let created = client.config_map("a", json!({"x": "1"})).await;
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["metadata"]["uid"].as_str().unwrap().len(), 36);
    let answer = client.get(&format!("{MAPS}/a")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    assert!(answer.headers.contains_key("audit-id"));
    assert_eq!(answer.with(200), created);
    let again = client.post(MAPS, &json!({"metadata": {"name": "a"}})).await.with(409);
    assert_eq!(
        (again["reason"].as_str(), again["message"].as_str()),
        (Some("AlreadyExists"), Some("configmaps \"a\" already exists"))
    );
    let status = client.delete(&format!("{MAPS}/a")).await.with(200);
    assert_eq!(
        (status["status"].as_str(), &status["details"]["uid"]),
        (Some("Success"), &created["metadata"]["uid"])
    );
    let gone = client.get(&format!("{MAPS}/a")).await.with(404);
    assert_eq!(gone["details"], json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn names_are_generated_on_request() {
    let client = Client::new();
    let body = json!({"metadata": {"generateName": "job-"}});
    let (one, two) = (client.post(MAPS, &body).await.with(201), client.post(MAPS, &body).await.with(201));
    let (one, two) = (&one["metadata"]["name"], &two["metadata"]["name"]);
    assert!(one.as_str().unwrap().starts_with("job-") && one.as_str().unwrap().len() == 9, "{one}");
    assert_ne!(one, two);
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let client = Client::new();
    let before = client.memory.state().revision();
    let answer =
        client.post(&format!("{MAPS}?dryRun=All"), &json!({"metadata": {"name": "a"}})).await.with(201);
    assert!(answer["metadata"]["uid"].is_string());
    client.delete("/api/v1/namespaces/default?dryRun=All").await;
    assert_eq!(client.memory.state().revision(), before);
    client.get(&format!("{MAPS}/a")).await.with(404);
}

#[tokio::test]
async fn defaults_are_filled_in_and_status_is_the_servers() {
    let client = Client::new();
    let mut body = pod("p");
    body["status"] = json!({"phase": "Running"});
    let pod = client.post("/api/v1/namespaces/default/pods", &body).await.with(201);
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert!(pod["spec"].get("tolerations").is_none(), "dead nodes are not waited for");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    let secret = client.post("/api/v1/namespaces/default/secrets", &secret).await.with(201);
    assert_eq!((&secret["data"], &secret["type"]), (&json!({"a": "Yg=="}), &json!("Opaque")));
    assert!(secret.get("stringData").is_none());
}

#[tokio::test]
async fn a_deployment_becomes_pods_in_the_same_request() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.post("/apis/apps/v1/namespaces/default/deployments", &deployment("web", 3)).await.with(201);
    let pods = client.get("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb").await.with(200);
    let pods = pods["items"].as_array().unwrap();
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod["spec"]["nodeName"] == "n1"));
    let on_node =
        client.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed").await.with(200);
    assert_eq!(on_node["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn protobuf_bodies_are_understood() {
    // ConfigMap{metadata{name "pb"}, data{"a": "b"}} as typed clients send it.
    let message = [&b"\x0a\x04\x0a\x02pb"[..], b"\x12\x06\x0a\x01a\x12\x01b"].concat();
    let type_meta = b"\x0a\x02v1\x12\x09ConfigMap";
    let mut body = b"k8s\0".to_vec();
    body.extend([0x0a, u8::try_from(type_meta.len()).unwrap()]);
    body.extend(type_meta);
    body.extend([0x12, u8::try_from(message.len()).unwrap()]);
    body.extend(message);
    let client = Client::new();
    let headers = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/vnd.kubernetes.protobuf,application/json"),
    ];
    let map = client.raw("POST", MAPS, &headers, body).await.with(201);
    assert_eq!((&map["metadata"]["name"], &map["data"]), (&json!("pb"), &json!({"a": "b"})));
}

#[tokio::test]
async fn yaml_is_read_and_written() {
    let client = Client::new();
    let body = "metadata:\n  name: yaml-map\ndata:\n  a: \"1\"\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let answer = client.raw("POST", MAPS, &headers, body).await;
    assert_eq!((answer.code, answer.headers["content-type"].to_str().unwrap()), (201, "application/yaml"));
    assert!(String::from_utf8_lossy(&answer.bytes).contains("name: yaml-map"));
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let client = Client::new();
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        client.config_map(name, json!({"l": label})).await;
    }
    let deleted = client.delete(&format!("{MAPS}?labelSelector=l%3Dx")).await.with(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = client.get(MAPS).await.with(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
}

#[tokio::test]
async fn tables_show_the_columns_of_the_kind() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    let table = client.table("/api/v1/namespaces/default/pods").await;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(cells(&table)[..3], [json!("p"), json!("0/1"), json!("Pending")]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    while client.memory.step() {}
    let table = client.table("/api/v1/namespaces/default/pods/p?includeObject=Object").await;
    assert_eq!(cells(&table)[1..3], [json!("1/1"), json!("Running")]);
    assert_eq!(table["rows"][0]["object"]["kind"], "Pod");
}

#[tokio::test]
async fn every_kind_is_discovered_listed_and_documented() {
    let client = Client::new();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let beta = client.raw("GET", "/apis", &[("accept", older)], "").await.with(200);
    assert_eq!(beta["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    for path in ["/api", "/apis"] {
        let answer = client.raw("GET", path, &[("accept", accept)], "").await;
        assert_eq!(
            answer.headers["content-type"],
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        assert_eq!(answer.with(200)["kind"], "APIGroupDiscoveryList");
    }
    for info in kontiki_actors::KINDS {
        let base = if info.group.is_empty() {
            "/api/v1".into()
        } else {
            format!("/apis/{}/{}", info.group, info.version)
        };
        let list = client.get(&base).await.with(200);
        let named = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["name"] == info.plural && r["kind"] == info.kind);
        assert!(named, "{}", info.plural);
        let items = client.get(&format!("{base}/{}", info.plural)).await.with(200);
        assert_eq!(items["kind"], format!("{}List", info.kind));
        assert!(items["items"].is_array() && revision(&items) > 0);
        client.table(&format!("{base}/{}", info.plural)).await;
        let documents = client.get("/openapi/v3").await.with(200);
        assert!(documents["paths"].get(base.trim_start_matches('/')).is_some(), "{base}");
    }
    let legacy = client.get("/api/v1").await.with(200);
    let eviction =
        legacy["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction").unwrap();
    assert_eq!((&eviction["group"], &eviction["kind"]), (&json!("policy"), &json!("Eviction")));
    assert_eq!(client.get("/version").await.with(200)["gitVersion"], "v1.33.0+kontiki");
    let document = client.get("/openapi/v3/apis/apps/v1").await.with(200);
    assert!(
        document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"].is_object()
    );
}

#[tokio::test]
async fn logs_and_health() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    let answer = client.get("/api/v1/namespaces/default/pods/p/log?tailLines=1").await;
    assert_eq!((answer.code, &answer.bytes[..]), (200, &b"bye\n"[..]));
    assert_eq!(client.get("/api/v1/namespaces/default/pods/p/log?container=x").await.code, 400);
    assert_eq!(client.get("/api/v1/namespaces/default/pods/p/log?previous=true").await.code, 400);
    assert_eq!(client.get("/api/v1/namespaces/default/pods/p/log?tailLines=-1").await.code, 422);
    assert_eq!(&client.get("/readyz").await.bytes[..], b"ok");
    client.memory.quorum.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(client.get("/readyz").await.code, 503);
    assert_eq!(client.get("/livez").await.code, 200);
    let answer = client.get(MAPS).await;
    assert_eq!((answer.code, answer.headers["retry-after"].to_str().unwrap()), (503, "1"));
    client.get(&format!("{MAPS}?resourceVersion=0")).await.with(200);
}

#[tokio::test]
async fn old_clients_get_the_openapi_document_that_they_insist_on() {
    let client = Client::new();
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = client.raw("GET", "/openapi/v2", &[("accept", asked)], "").await;
    assert_eq!((answer.code, &answer.bytes[..5]), (200, &b"\x0a\x032.0"[..]));
    // The media type they ask by cannot be parsed by them in an answer.
    assert_eq!(answer.headers["content-type"], asked.replace('@', "."));
    assert_eq!(client.get("/openapi/v2").await.code, 406);
}

#[tokio::test]
async fn a_retry_is_answered_with_what_it_wrote_itself() {
    let ids = Mutex::new(["create", "mine", "theirs", "mine"].into_iter());
    let next = move |_: &http::HeaderMap| ids.lock().next().unwrap_or("another").to_owned();
    let options = Options { request_id: Arc::new(next), ..Options::default() };
    let client = Client::with(FeedLimits::default(), options);
    client.config_map("a", json!({})).await;
    let body = |value: &str| json!({"metadata": {"name": "a"}, "data": {"v": value}});
    let path = format!("{MAPS}/a");
    let mine = client.put(&path, &body("mine")).await.with(200);
    let theirs = client.put(&path, &body("theirs")).await.with(200);
    assert_ne!(revision(&mine), revision(&theirs));
    let again = client.put(&path, &body("mine")).await.with(200);
    assert_eq!(again, mine, "not what another client has written since");
}
