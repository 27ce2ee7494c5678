//! Objects from their creation to their end.

use std::sync::Arc;

use kontiki_api::{FeedLimits, Options};
use parking_lot::Mutex;
use serde_json::{Value, json};

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
async fn pods_that_reserve_something_bear_a_nodes_memory_pressure() {
    let client = Client::new();
    client.memory.add_node("n1");
    let borne =
        json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]);
    let resources = json!({"requests": {"memory": "1Mi"}});
    let mut own = pod("own");
    own["spec"]["containers"][0]["resources"] = resources.clone();
    let own = client.post("/api/v1/namespaces/default/pods", &own).await.with(201);
    assert_eq!(own["spec"]["tolerations"], borne);
    // And those that the cluster makes.
    let mut web = deployment("web", 1);
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
    client.post("/apis/apps/v1/namespaces/default/deployments", &web).await.with(201);
    let pods = client.get("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb").await.with(200);
    assert_eq!(pods["items"][0]["spec"]["tolerations"], borne);
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
    let answer = client.raw("POST", MAPS, &headers, body).await;
    assert_eq!((answer.code, &answer.headers["content-type"]), (201, &headers[0].1.parse().unwrap()));
    let map = client.get(&format!("{MAPS}/pb")).await.with(200);
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
    for path in ["/readyz", "/readyz/quorum", "/readyz/ping", "/livez/ping", "/healthz/ping"] {
        assert_eq!(&client.get(path).await.bytes[..], b"ok", "{path}");
    }
    let verbose = client.get("/readyz?verbose").await;
    assert_eq!(&verbose.bytes[..], b"[+]ping ok\n[+]quorum ok\ncheck passed\n");
    client.memory.quorum.store(false, std::sync::atomic::Ordering::Relaxed);
    let broken = client.get("/readyz").await;
    assert_eq!(broken.code, 503);
    assert!(broken.bytes.starts_with(b"[+]ping ok\n[-]quorum failed: "), "{:?}", broken.bytes);
    assert_eq!(client.get("/readyz/quorum").await.code, 503);
    for path in ["/livez", "/readyz/ping", "/readyz?exclude=quorum"] {
        assert_eq!(client.get(path).await.code, 200, "{path}");
    }
    let excluded = client.get("/readyz?verbose&exclude=quorum&exclude=etcd").await;
    let expected = "[+]ping ok\n[+]quorum excluded: ok\n\
        warn: some health checks cannot be excluded: no matches for \"etcd\"\ncheck passed\n";
    assert_eq!(excluded.bytes, expected);
    client.get("/livez/quorum").await.with(404);
    client.get("/readyz/etcd").await.with(404);
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
    let tag = answer.headers["etag"].to_str().unwrap();
    let known = [("accept", asked), ("if-none-match", tag)];
    let again = client.raw("GET", "/openapi/v2", &known, "").await;
    assert_eq!((again.code, again.bytes.len()), (304, 0));
    // Others read it as JSON; the one form is not the other.
    let json = client.raw("GET", "/openapi/v2", &[("if-none-match", tag)], "").await;
    assert_eq!(json.headers["content-type"], "application/json");
    let document = json.with(200);
    assert_eq!(document["swagger"], "2.0");
    assert!(document["paths"]["/api/v1/namespaces/{namespace}/pods"]["get"].is_object());
    assert_eq!(client.raw("GET", "/openapi/v2", &[("accept", "text/csv")], "").await.code, 406);
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

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask() {
    use std::io::Read;
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let client = Client::new();
    client.config_map("small", json!({})).await;
    let gzip = [("accept-encoding", "gzip, deflate")];
    let short = client.raw("GET", MAPS, &gzip, "").await;
    assert!(!short.headers.contains_key("content-encoding"));
    let text = "lorem ipsum ".repeat(20_000);
    let body = json!({"metadata": {"name": "long"}, "data": {"text": text}});
    client.post(MAPS, &body).await.with(201);
    let plain = client.get(MAPS).await;
    assert!(!plain.headers.contains_key("content-encoding") && !plain.headers.contains_key("vary"));
    let long = client.raw("GET", MAPS, &gzip, "").await;
    assert_eq!(long.headers["content-encoding"], "gzip");
    assert_eq!(long.headers["vary"], "Accept-Encoding");
    assert!(long.bytes.len() < plain.bytes.len() / 4);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&long.bytes[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
    // A watch is a stream, however long.
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let answer = client.raw("GET", &watch, &gzip, "").await;
    assert!(!answer.headers.contains_key("content-encoding") && answer.bytes.len() > 200_000);
}

#[tokio::test]
async fn answers_are_indented_for_those_who_read_them() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let client = Client::new();
    client.config_map("a", json!({})).await;
    let plain = client.get(MAPS).await;
    assert!(!plain.bytes.contains(&b'\n'));
    let pretty = client.get(&format!("{MAPS}?pretty=true")).await;
    assert!(pretty.bytes.starts_with(b"{\n  \"kind\": \"ConfigMapList\",\n"), "{:?}", pretty.bytes);
    assert_eq!(pretty.json(), plain.json());
    let curl = client.raw("GET", MAPS, &[("user-agent", "curl/8.5.0")], "").await;
    assert_eq!(curl.bytes, pretty.bytes);
    let refused = client.get(&format!("{MAPS}/none?pretty=true")).await;
    assert!(refused.bytes.starts_with(b"{\n  \""), "refusals too");
    let text = "x".repeat(200_000);
    let body = json!({"metadata": {"name": "long"}, "data": {"text": text}});
    client.post(MAPS, &body).await.with(201);
    let both = client.raw("GET", &format!("{MAPS}?pretty=1"), &[("accept-encoding", "gzip")], "").await;
    assert_eq!(both.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_deletion_that_takes_time_counts_as_a_change() {
    let client = Client::new();
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const PODS: &str = "/api/v1/namespaces/default/pods";
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let mut held = deployment("held", 0);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    client.post(DEPLOYMENTS, &held).await.with(201);
    let uri = format!("{DEPLOYMENTS}/held");
    assert_eq!(client.delete(&uri).await.with(200)["metadata"]["generation"], 2);
    assert_eq!(client.delete(&uri).await.with(200)["metadata"]["generation"], 2, "once");
    client.memory.add_node("n1");
    client.post(PODS, &pod("p")).await.with(201);
    let leaving = client.delete(&format!("{PODS}/p")).await.with(200);
    assert_eq!(leaving["metadata"]["generation"], 2);
    // Only who asks for the cascade in the old way is told that it is not over.
    let held = json!({"metadata": {"name": "m", "finalizers": ["example.com/hold"]}});
    client.post(MAPS, &held).await.with(201);
    client.config_map("free", json!({})).await;
    let cascade = json!({"orphanDependents": false}).to_string();
    let map = client.raw("DELETE", &format!("{MAPS}/m"), &[], cascade.clone()).await.with(202);
    assert!(map["metadata"].get("generation").is_none(), "config maps count no generations");
    client.raw("DELETE", &format!("{MAPS}/free"), &[], cascade).await.with(200);
    client.delete(&format!("{MAPS}/m?propagationPolicy=Background")).await.with(200);
}

#[tokio::test]
async fn pods_of_a_node() {
    let client = Client::new();
    client.memory.add_node("n1");
    client.memory.add_node("n2");
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.with(201);
    for namespace in ["other", "default"] {
        for name in ["c", "a", "b"] {
            for node in ["n1", "n2"] {
                let mut pod = pod(&format!("{name}-{node}"));
                pod["spec"]["nodeName"] = node.into();
                pod["metadata"]["labels"] = json!({"name": name});
                client.post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await.with(201);
            }
        }
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]);
        items.map(|m| format!("{}/{}", m["namespace"], m["name"]).replace('"', "")).collect()
    };
    let all = ["default/a-n1", "default/b-n1", "default/c-n1", "other/a-n1", "other/b-n1", "other/c-n1"];
    let uri = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(names(&client.get(uri).await.with(200)), all);
    let labelled = client.get(&format!("{uri}&labelSelector=name%3Db")).await.with(200);
    assert_eq!(names(&labelled), ["default/b-n1", "other/b-n1"]);
    let here = client.get("/api/v1/namespaces/other/pods?fieldSelector=spec.nodeName%3Dn1").await.with(200);
    assert_eq!(names(&here), all[3..]);
    let none = client.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn3").await.with(200);
    assert!(names(&none).is_empty());
    // In pages, of which the later ones are of a moment that is past.
    let mut paged = Vec::new();
    let mut next = String::new();
    loop {
        let page = client.get(&format!("{uri}&limit=2&continue={next}")).await.with(200);
        paged.extend(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(token) => next = token.to_owned(),
            None => break,
        }
        client.config_map(&format!("meanwhile-{}", paged.len()), json!({})).await;
        let mut late = pod(&format!("z{}-n1", paged.len()));
        late["spec"]["nodeName"] = "n1".into();
        client.post("/api/v1/namespaces/other/pods", &late).await.with(201);
    }
    assert_eq!(paged, all);
    let mut watch = client.watch(&format!("{uri}&watch=1"), "application/json").await;
    let first: Vec<String> = vec![watch.named().await.1, watch.named().await.1];
    assert_eq!(first, ["a-n1", "b-n1"]);
}

#[tokio::test]
async fn documents_say_what_is_below_pods() {
    let client = Client::new();
    let document = client.get("/openapi/v3/api/v1").await.with(200);
    let below =
        |name: &str| &document["paths"][format!("/api/v1/namespaces/{{namespace}}/pods/{{name}}/{name}")];
    let log = &below("log")["get"]["responses"]["200"]["content"];
    assert_eq!(log["text/plain"]["schema"]["type"], "string");
    for (name, method) in [
        ("exec", "get"),
        ("exec", "post"),
        ("portforward", "post"),
        ("proxy", "put"),
        ("proxy/{path}", "head"),
    ] {
        assert_eq!(below(name)[method]["x-kubernetes-action"], "connect", "{name}");
    }
    for name in ["eviction", "binding"] {
        let answer = &below(name)["post"]["responses"]["201"]["content"]["application/json"]["schema"];
        assert!(answer["$ref"].as_str().unwrap().ends_with(".meta.v1.Status"), "{name}");
    }
}
