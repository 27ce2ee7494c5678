//! Admission webhooks: when they are asked, what they are asked, and what becomes of what they say.

use std::sync::atomic::Ordering;

use axum::body::Body;
use kontiki_api::Options;
use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::{
    audit::audited,
    client::{Answer, Client, MERGE, deployment, peer, pod, revision},
    custom,
    webhook::{Webhook, patched, review_of, rules},
};

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON_PATCH: &str = "application/json-patch+json";
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

/// Puts a configuration of webhooks in force.
async fn configure(client: &Client, kind: &str, name: &str, webhooks: Vec<Value>) {
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let url = format!("{CONFIGURATIONS}/{}s", kind.to_lowercase());
    client.post(&url, &body).await.with(201);
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

fn with(mut hook: Value, key: &str, value: Value) -> Value {
    hook[key] = value;
    hook
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap()
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn all_maps() -> Value {
    rules(&["*"], "", &["configmaps"])
}

#[tokio::test]
async fn a_refusal_is_told_in_kubernetes_words_with_its_warnings() {
    let (admin, _, lines) = audited("- {level: Metadata}", Options::default());
    let webhook = Webhook::start(|_| {
        json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "not on Fridays"},
            "warnings": ["think again"], "auditAnnotations": {"day": "Friday", "not a word": "x"}})
    })
    .await;
    configure(&admin, VALIDATING, "guards", vec![webhook.hook("days", all_maps())]).await;
    let answer = admin.post(MAPS, &map("m")).await;
    assert_eq!(warnings(&answer), ["299 - \"think again\""]);
    let status = answer.with(403);
    let told = "admission webhook \"days.example.com\" denied the request: not on Fridays";
    assert_eq!((message(&status), &status["reason"]), (told, &json!("Forbidden")));
    let annotations = &lines.last()["annotations"];
    assert_eq!(annotations["days.example.com/day"], "Friday");
    assert!(annotations.get("days.example.com/not a word").is_none());
    admin.get(&format!("{MAPS}/m")).await.with(404);
}

#[tokio::test]
async fn what_a_webhook_changes_is_told_where_contents_are() {
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]);
    for (level, told) in [("Metadata", false), ("Request", true)] {
        let (admin, _, lines) = audited(&format!("- {{level: {level}}}"), Options::default());
        let webhook = Webhook::patching(patch.clone()).await;
        configure(&admin, MUTATING, "adds", vec![webhook.hook("adds", all_maps())]).await;
        admin.post(MAPS, &map("m")).await.with(201);
        let annotations = lines.last()["annotations"].clone();
        let of = |what: &str| -> Option<Value> {
            let text = &annotations[format!("{what}.webhook.admission.k8s.io/round_0_index_0")];
            text.as_str().map(|text| serde_json::from_str(text).unwrap())
        };
        let wanted = |more: &str, value: Value| {
            let mut all = json!({"configuration": "adds", "webhook": "adds.example.com"});
            all[more] = value;
            all
        };
        assert_eq!(of("mutation"), Some(wanted("mutated", true.into())), "{level}");
        let mut all = wanted("patch", patch.clone());
        all["patchType"] = "JSONPatch".into();
        assert_eq!(of("patch"), told.then_some(all), "{level}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_a_bad_request() {
    let client = Client::new();
    let webhook = Webhook::start(|_| json!({"allowed": false})).await;
    configure(&client, VALIDATING, "guards", vec![webhook.hook("no", all_maps())]).await;
    let status = client.post(MAPS, &map("m")).await.with(400);
    let told = "admission webhook \"no.example.com\" denied the request without explanation";
    assert_eq!(message(&status), told);
}

#[tokio::test]
async fn the_question_is_kubernetes_one() {
    let client = Client::new();
    let webhook = Webhook::allowing().await;
    let hook = with(webhook.hook("all", all_maps()), "timeoutSeconds", json!(7));
    configure(&client, VALIDATING, "guards", vec![hook]).await;
    client.post(&format!("{MAPS}?fieldManager=me"), &map("m")).await.with(201);
    let [asked] = webhook.asked().try_into().unwrap();
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    for (pointer, expected) in [
        ("/kind", &kind),
        ("/requestKind", &kind),
        ("/resource", &resource),
        ("/requestResource", &resource),
        ("/name", &json!("m")),
        ("/namespace", &json!("default")),
        ("/operation", &json!("CREATE")),
        ("/dryRun", &json!(false)),
        ("/userInfo/username", &json!("admin")),
        ("/userInfo/groups", &json!(["system:masters", "system:authenticated"])),
        ("/object/kind", &json!("ConfigMap")),
        ("/object/data", &json!({"k": "v"})),
        ("/object/metadata/namespace", &json!("default")),
        ("/oldObject", &json!(null)),
        ("/options", &json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"})),
    ] {
        assert_eq!(asked.pointer(pointer).unwrap_or(&Value::Null), expected, "{pointer} of {asked}");
    }
    assert!(asked.get("subResource").is_none(), "{asked}");
    assert_eq!(webhook.uris()[0].to_string(), "/check?timeout=7s");
    // An update has what was, a deletion only that.
    client.patch(&format!("{MAPS}/m"), MERGE, &json!({"data": {"k": "w"}})).await.with(200);
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!((&asked["operation"], &asked["options"]["kind"]), (&json!("UPDATE"), &json!("UpdateOptions")));
    assert_eq!(asked["oldObject"]["data"], json!({"k": "v"}));
    assert_eq!(asked["object"]["data"], json!({"k": "w"}));
    client.delete(&format!("{MAPS}/m?gracePeriodSeconds=5")).await.with(200);
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!((&asked["operation"], &asked["object"]), (&json!("DELETE"), &json!(null)));
    assert_eq!(asked["oldObject"]["data"], json!({"k": "w"}));
    assert_eq!(asked["options"]["gracePeriodSeconds"], 5);
    // All of it went over one connection, which was kept.
    assert_eq!(webhook.connections(), 1);
}

#[tokio::test]
async fn changes_are_made_in_order_before_anything_is_checked() {
    let client = Client::new();
    let image = Webhook::patching(
        json!([{"op": "add", "path": "/spec/containers", "value": [{"name": "c", "image": "nginx"}]}]),
    )
    .await;
    let label = Webhook::start(|request| {
        assert_eq!(request["object"]["spec"]["containers"][0]["image"], "nginx", "after the other");
        assert_eq!(request["object"]["spec"]["containers"][0]["imagePullPolicy"], "Always", "completed");
        patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]))
    })
    .await;
    let last = Webhook::allowing().await;
    let pods = || rules(&["CREATE"], "", &["pods"]);
    // By the names of configurations, whoever came first.
    configure(&client, MUTATING, "b", vec![label.hook("label", pods())]).await;
    configure(&client, MUTATING, "a", vec![image.hook("image", pods())]).await;
    configure(&client, VALIDATING, "c", vec![last.hook("last", pods())]).await;
    // Its account's token would be mounted into containers after they were asked (docs/adr/0020).
    let refused = json!({"metadata": {"name": "web"}, "spec": {"automountServiceAccountToken": false}});
    let made = client.post(PODS, &refused).await.with(201);
    assert_eq!(made["metadata"]["labels"], json!({"seen": "yes"}));
    assert_eq!(made["spec"]["containers"][0]["image"], "nginx");
    let [asked] = last.asked().try_into().unwrap();
    assert_eq!(asked["object"]["metadata"]["labels"], json!({"seen": "yes"}), "judged as it is stored");
    assert_eq!(asked["object"]["spec"], made["spec"]);
    // What they make of it is checked as all others.
    let wrong =
        Webhook::patching(json!([{"op": "replace", "path": "/spec/containers/0/name", "value": "No"}])).await;
    configure(&client, MUTATING, "wrong", vec![wrong.hook("wrong", pods())]).await;
    let status = client.post(PODS, &json!({"metadata": {"name": "other"}, "spec": {}})).await.with(422);
    assert!(message(&status).contains("spec.containers[0].name"), "{status}");
    assert!(last.asked().is_empty(), "what is not valid is not judged");
}

#[tokio::test]
async fn who_wants_is_asked_again_once_when_others_changed_it() {
    let client = Client::new();
    let counting = |key: &'static str| {
        Webhook::start(move |request| {
            let value = request["object"]["data"][key].as_str().map_or(1, |n| n.parse::<u8>().unwrap() + 1);
            let path = format!("/data/{key}");
            patched(&json!([{"op": "add", "path": path, "value": value.to_string()}]))
        })
    };
    let (a, b, c) = (counting("a").await, counting("b").await, counting("c").await);
    let again = |hook: Value| with(hook, "reinvocationPolicy", json!("IfNeeded"));
    let hooks = vec![again(a.hook("a", all_maps())), b.hook("b", all_maps()), again(c.hook("c", all_maps()))];
    configure(&client, MUTATING, "counts", hooks).await;
    let made = client.post(MAPS, &map("m")).await.with(201);
    // The last is asked again since the first changed it again; then it is enough.
    assert_eq!(made["data"], json!({"k": "v", "a": "2", "b": "1", "c": "2"}));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_or_passed_over_as_its_policy_says() {
    let (client, _, lines) = audited("- {level: Metadata}", Options::default());
    let webhook = Webhook::raw(|_| Some((500, b"oops".to_vec()))).await;
    configure(&client, VALIDATING, "guards", vec![webhook.hook("sick", all_maps())]).await;
    let status = client.post(MAPS, &map("m")).await.with(500);
    let told = "Internal error occurred: failed calling webhook \"sick.example.com\": failed to call webhook: an error on the server \
        (500 Internal Server Error) has prevented the request from succeeding";
    assert_eq!((message(&status), &status["reason"]), (told, &json!("InternalError")));
    // Nobody listens there, and nobody vouches for it.
    for (key, value, told) in [
        (
            "url",
            json!("https://127.0.0.1:1/x"),
            "Post \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: ",
        ),
        ("caBundle", json!(null), "tls: "),
        ("caBundle", json!("bm8="), "clientConfig.caBundle: it holds no certificate in PEM"),
    ] {
        let mut hook = webhook.hook("sick", all_maps());
        hook["clientConfig"][key] = value;
        let url = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/guards");
        client.patch(&url, MERGE, &json!({"webhooks": [hook]})).await.with(200);
        let status = client.post(MAPS, &map("m")).await.with(500);
        let start =
            "Internal error occurred: failed calling webhook \"sick.example.com\": failed to call webhook: ";
        assert!(message(&status).starts_with(start) && message(&status).contains(told), "{status}");
    }
    let url = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/guards");
    let hook = with(webhook.hook("sick", all_maps()), "failurePolicy", json!("Ignore"));
    client.patch(&url, MERGE, &json!({"webhooks": [hook]})).await.with(200);
    client.post(MAPS, &map("m")).await.with(201);
    let key = "failed-open.validating.webhook.admission.k8s.io/round_0_index_0";
    assert_eq!(lines.last()["annotations"][key], "sick.example.com");
}

#[tokio::test]
async fn one_that_does_not_answer_holds_up_nobody_for_longer_than_it_may() {
    let client = Client::new();
    let silent = Webhook::raw(|_| None).await;
    let hook = with(silent.hook("silent", all_maps()), "timeoutSeconds", json!(1));
    configure(&client, VALIDATING, "guards", vec![hook]).await;
    let status = client.post(MAPS, &map("m")).await.with(500);
    let told =
        format!("Post \"https://localhost:{}/check?timeout=1s\": context deadline exceeded", silent.port);
    assert!(message(&status).ends_with(&told), "{status}");
    // What it is not for goes on.
    client.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await.with(201);
}

#[tokio::test]
async fn what_was_admitted_is_what_is_stored() {
    let client = Client::new();
    client.post(MAPS, &map("m")).await.with(201);
    let webhook = Webhook::start(|request| {
        let seen = request["oldObject"]["metadata"]["resourceVersion"].as_str().unwrap();
        patched(&json!([{"op": "add", "path": "/data/seen", "value": seen}]))
    })
    .await;
    let judge = Webhook::allowing().await;
    configure(&client, MUTATING, "notes", vec![webhook.hook("notes", all_maps())]).await;
    configure(&client, VALIDATING, "judges", vec![judge.hook("judges", all_maps())]).await;
    client.memory.disturb.store(2, Ordering::Relaxed);
    let url = format!("{MAPS}/m");
    let patched = client.patch(&url, MERGE, &json!({"data": {"n": "1"}})).await.with(200);
    let asked = webhook.asked();
    assert_eq!(asked.len(), 3, "each time that others were faster");
    let last = &asked[2]["oldObject"];
    assert_eq!(patched["data"]["seen"], last["metadata"]["resourceVersion"]);
    // What others wrote is there, and was shown.
    assert!(last["metadata"]["annotations"]["disturbed"].is_string(), "{last}");
    assert_eq!(patched["metadata"]["annotations"], last["metadata"]["annotations"]);
    let judged = judge.asked();
    assert_eq!((judged.len(), &judged[2]["object"]["data"]), (3, &patched["data"]));
    // Who locks it is refused, and nobody is asked twice.
    client.memory.disturb.store(1, Ordering::Relaxed);
    client.put(&url, &patched).await.with(409);
    assert_eq!(judge.asked().len(), 1);
}

#[tokio::test]
async fn a_deletion_is_of_what_was_shown() {
    let client = Client::new();
    let webhook = Webhook::start(|request| {
        json!({"allowed": request["oldObject"]["data"]["keep"].is_null(),
            "status": {"message": "it is needed", "code": 409, "reason": "Conflict"}})
    })
    .await;
    let deletions = rules(&["DELETE"], "", &["configmaps"]);
    configure(&client, VALIDATING, "guards", vec![webhook.hook("keep", deletions)]).await;
    let mut kept = map("kept");
    kept["data"]["keep"] = "yes".into();
    kept["metadata"]["labels"] = json!({"a": "b"});
    client.post(MAPS, &kept).await.with(201);
    let status = client.delete(&format!("{MAPS}/kept")).await.with(409);
    let told = "admission webhook \"keep.example.com\" denied the request: it is needed";
    assert_eq!(message(&status), told);
    assert_eq!(webhook.asked().len(), 1, "a webhook's conflict is its answer");
    client.get(&format!("{MAPS}/kept")).await.with(200);
    client.delete(&format!("{MAPS}/gone")).await.with(404);
    // Of a collection each.
    client.config_map("one", json!({"c": "d"})).await;
    client.config_map("two", json!({"c": "d"})).await;
    client.delete(&format!("{MAPS}?labelSelector=c=d")).await.with(200);
    let mut names: Vec<Value> =
        webhook.asked().iter().map(|asked| asked["oldObject"]["metadata"]["name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["one", "two"]);
    client.get(&format!("{MAPS}/one")).await.with(404);
    // What is only tried is asked about as such.
    client.config_map("three", json!({})).await;
    client.delete(&format!("{MAPS}/three?dryRun=All")).await.with(200);
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!((&asked["dryRun"], &asked["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    client.get(&format!("{MAPS}/three")).await.with(200);
}

#[tokio::test]
async fn what_stands_below_objects_is_asked_about_as_what_it_is() {
    let client = Client::new();
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201);
    let more = Webhook::start(|request| {
        if request["subResource"] != "scale" {
            return json!({"allowed": true});
        }
        assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
        assert_eq!(request["oldObject"]["spec"]["replicas"], 1);
        patched(&json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]))
    })
    .await;
    let below = || rules(&["*"], "apps", &["deployments/scale", "deployments/status"]);
    configure(&client, MUTATING, "more", vec![more.hook("more", below())]).await;
    let judge = Webhook::allowing().await;
    configure(&client, VALIDATING, "judges", vec![judge.hook("judges", below())]).await;
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let scaled = client.patch(&scale, MERGE, &json!({"spec": {"replicas": 3}})).await.with(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let [asked] = judge.asked().try_into().unwrap();
    assert_eq!(
        (&asked["object"]["kind"], &asked["object"]["spec"]["replicas"]),
        (&json!("Scale"), &json!(5))
    );
    // A status changes nothing else, whatever a webhook makes of the rest.
    let rest = Webhook::patching(json!([
        {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}},
        {"op": "add", "path": "/status/observedGeneration", "value": 7},
    ]))
    .await;
    let status = rules(&["UPDATE"], "apps", &["deployments/status"]);
    configure(&client, MUTATING, "rest", vec![rest.hook("rest", status)]).await;
    let body = json!({"status": {"replicas": 1}});
    let after = client.patch(&format!("{DEPLOYMENTS}/web/status"), MERGE, &body).await.with(200);
    assert!(after["metadata"].get("labels").is_none(), "{after}");
    let [asked] = judge.asked().try_into().unwrap();
    assert_eq!(asked["object"]["status"]["observedGeneration"], 7);
    assert!(asked["object"]["metadata"].get("labels").is_none(), "{asked}");
    assert_eq!((&asked["subResource"], &asked["object"]["kind"]), (&json!("status"), &json!("Deployment")));
    // Nobody asked about the object itself.
    client.patch(&format!("{DEPLOYMENTS}/web"), MERGE, &json!({"spec": {"paused": true}})).await.with(200);
    assert!(judge.asked().is_empty() && rest.asked().len() == 1);
}

#[tokio::test]
async fn evictions_bindings_and_streams_are_asked_about() {
    let client = Client::new();
    client.post(PODS, &pod("web")).await.with(201);
    let webhook = Webhook::start(|_| json!({"allowed": false})).await;
    let all = rules(&["CREATE", "CONNECT"], "", &["pods/*"]);
    configure(&client, VALIDATING, "guards", vec![webhook.hook("no", all)]).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    client.post(&format!("{PODS}/web/eviction"), &eviction).await.with(400);
    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n"}});
    client.post(&format!("{PODS}/web/binding"), &binding).await.with(400);
    let exec = format!("{PODS}/web/exec?command=ls&command=-l&stdout=true&container=c");
    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let status = client.raw("GET", &exec, &headers, Body::empty()).await.with(400);
    assert!(message(&status).starts_with("admission webhook \"no.example.com\" denied"), "{status}");
    let asked = webhook.asked();
    let told = |key: &str| -> Vec<Value> { asked.iter().map(|asked| asked[key].clone()).collect() };
    assert_eq!(told("operation"), ["CREATE", "CREATE", "CONNECT"]);
    assert_eq!(told("subResource"), ["eviction", "binding", "exec"]);
    assert_eq!(told("name"), ["web", "web", "web"]);
    let kinds: Vec<Value> = asked.iter().map(|asked| asked["kind"]["kind"].clone()).collect();
    assert_eq!(kinds, ["Eviction", "Binding", "PodExecOptions"]);
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "container": "c",
        "command": ["ls", "-l"]});
    assert_eq!(asked[2]["object"], options);
    client.get(&format!("{PODS}/web")).await.with(200);
}

#[tokio::test]
async fn selectors_and_conditions_say_what_is_asked_about() {
    let client = Client::new();
    let webhook = Webhook::allowing().await;
    let hook = |name: &str, key: &str, value: Value| with(webhook.hook(name, all_maps()), key, value);
    let is = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    let conditions = json!([
        {"name": "user", "expression": "request.userInfo.username == 'admin' && !has(request.gone)"},
        {"name": "data", "expression": "request.operation == 'DELETE' ? oldObject.data.k == 'c' : object.data.k == 'c'"},
    ]);
    let hooks = vec![
        hook("home", "namespaceSelector", is("kubernetes.io/metadata.name", "kube-system")),
        hook("labels", "objectSelector", is("a", "b")),
        hook("when", "matchConditions", conditions),
    ];
    configure(&client, VALIDATING, "guards", hooks).await;
    let count = || webhook.asked().len();
    client.config_map("x", json!({})).await;
    assert_eq!(count(), 0);
    client.post("/api/v1/namespaces/kube-system/configmaps", &map("m")).await.with(201);
    assert_eq!(count(), 1, "by its namespace");
    client.config_map("y", json!({"a": "b"})).await;
    assert_eq!(count(), 1, "by its labels");
    let url = format!("{MAPS}/y");
    client.patch(&url, MERGE, &json!({"metadata": {"labels": null}})).await.with(200);
    assert_eq!(count(), 1, "by those that it had");
    client.config_map("c", json!({})).await;
    assert_eq!(count(), 1, "by its conditions");
    client.delete(&format!("{MAPS}/c")).await.with(200);
    assert_eq!(count(), 1);
    // One that fails is as a webhook that cannot be asked.
    let failing = json!([{"name": "x", "expression": "object.spec.replicas > 1"}]);
    let config = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/guards");
    let failing = hook("when", "matchConditions", failing);
    client.patch(&config, MERGE, &json!({"webhooks": [failing]})).await.with(200);
    let status = client.post(MAPS, &map("z")).await.with(403);
    let told = "configmaps \"z\" is forbidden: expression 'object.spec.replicas > 1' resulted in error: no such key: spec";
    assert_eq!(message(&status), told);
    let failing = with(failing, "failurePolicy", json!("Ignore"));
    client.patch(&config, MERGE, &json!({"webhooks": [failing]})).await.with(200);
    client.post(MAPS, &map("z")).await.with(201);
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn namespaces_are_selected_by_their_own_labels() {
    let client = Client::new();
    let webhook = Webhook::allowing().await;
    let namespaces = rules(&["*"], "", &["namespaces"]);
    let selector = json!({"matchLabels": {"team": "a"}});
    let hook = with(webhook.hook("teams", namespaces), "namespaceSelector", selector);
    configure(&client, VALIDATING, "guards", vec![hook]).await;
    let named = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    client.post("/api/v1/namespaces", &named("x", json!({}))).await.with(201);
    assert!(webhook.asked().is_empty());
    client.post("/api/v1/namespaces", &named("y", json!({"team": "a"}))).await.with(201);
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!((&asked["namespace"], &asked["name"]), (&json!("y"), &json!("y")));
    client.delete("/api/v1/namespaces/y").await.with(200);
    assert_eq!(webhook.asked().len(), 1, "by those that it has");
}

#[tokio::test]
async fn what_is_applied_passes_too_and_webhooks_own_nothing() {
    let client = Client::new();
    let webhook = Webhook::patching(json!([{"op": "add", "path": "/data/added", "value": "by it"}])).await;
    configure(&client, MUTATING, "adds", vec![webhook.hook("adds", all_maps())]).await;
    let applied = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": value}});
    let url = format!("{MAPS}/m?fieldManager=me");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let apply = async |value: &str| client.raw("PATCH", &url, &headers, applied(value).to_string()).await;
    let made = apply("v").await.with(201);
    assert_eq!(made["data"], json!({"k": "v", "added": "by it"}));
    let fields = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"];
    assert_eq!(*fields, json!({"f:k": {}}), "{made}");
    assert_eq!(webhook.asked()[0]["operation"], "CREATE");
    let again = apply("w").await.with(200);
    assert_eq!(again["data"], json!({"k": "w", "added": "by it"}));
    assert_eq!(webhook.asked()[0]["operation"], "UPDATE");
    // What changes nothing writes nothing.
    assert_eq!(revision(&apply("w").await.with(200)), revision(&again));
}

#[tokio::test]
async fn what_is_only_tried_is_asked_about_and_not_done() {
    let client = Client::new();
    let webhook = Webhook::patching(json!([{"op": "add", "path": "/data/added", "value": "by it"}])).await;
    configure(&client, MUTATING, "adds", vec![webhook.hook("adds", all_maps())]).await;
    let tried = client.post(&format!("{MAPS}?dryRun=All"), &map("m")).await.with(201);
    assert_eq!(tried["data"]["added"], "by it");
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!(asked["dryRun"], true);
    client.get(&format!("{MAPS}/m")).await.with(404);
}

#[tokio::test]
async fn custom_resources_are_asked_about_in_the_version_that_is_wanted() {
    let client = custom::defined().await;
    let webhook = Webhook::patching(json!([{"op": "add", "path": "/spec/paused", "value": true}])).await;
    let rule = json!([{"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"],
        "resources": ["backups"]}]);
    let exact = with(webhook.hook("exact", rule.clone()), "matchPolicy", json!("Exact"));
    configure(&client, MUTATING, "pauses", vec![webhook.hook("equivalent", rule), exact]).await;
    let made = client.post(custom::BACKUPS, &custom::backup("a")).await.with(201);
    assert_eq!(made["spec"]["paused"], true);
    assert_eq!(webhook.asked().len(), 2);
    let mut older = custom::backup("b");
    older["apiVersion"] = "example.com/v1beta1".into();
    let made = client.post(custom::OLDER, &older).await.with(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["paused"]), (&json!("example.com/v1beta1"), &json!(true)));
    let [asked] = webhook.asked().try_into().unwrap();
    assert_eq!(asked["object"]["apiVersion"], "example.com/v1");
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v1"), &json!("v1beta1"))
    );
    assert_eq!(
        (&asked["resource"]["version"], &asked["requestResource"]["version"]),
        (&json!("v1"), &json!("v1beta1"))
    );
    // What it makes of them is checked by the schema.
    let wrong = Webhook::patching(json!([{"op": "add", "path": "/spec/replicas", "value": 11}])).await;
    let rule = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    configure(&client, MUTATING, "wrong", vec![wrong.hook("wrong", rule)]).await;
    let status = client.post(custom::BACKUPS, &custom::backup("c")).await.with(422);
    assert!(message(&status).contains("spec.replicas"), "{status}");
}

#[tokio::test]
async fn a_hostile_answer_does_no_harm() {
    let client = Client::new();
    let failed = "Internal error occurred: failed calling webhook \"bad.example.com\": ";
    let invalid = format!("{failed}received invalid webhook response: ");
    let patch = |patch: Value| patched(&patch);
    let deep = json!([{"op": "add", "path": "/data/x", "value": serde_json::from_str::<Value>(&format!("{}1{}", "[".repeat(63), "]".repeat(63))).unwrap()}]);
    let doubling: Vec<Value> =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/x{n}")})).collect();
    let cases: Vec<(Value, String)> = vec![
        (json!({"uid": "another", "allowed": true}), format!("{invalid}expected response.uid=")),
        (json!({"allowed": "yes"}), format!("{invalid}response.allowed is no truth value")),
        (
            json!({"allowed": true, "patch": "e30="}),
            format!("{invalid}webhook returned response.patch but not"),
        ),
        (
            json!({"allowed": true, "patch": "!", "patchType": "JSONPatch"}),
            format!("{invalid}response.patch is not base64"),
        ),
        (
            json!({"allowed": true, "patch": "e30=", "patchType": "Merge"}),
            format!("{invalid}webhook returned invalid"),
        ),
        (
            json!({"allowed": true, "warnings": "x".repeat(6 << 20)}),
            format!("{failed}failed to call webhook: the answer of the webhook is longer"),
        ),
        (
            patch(json!([{"op": "replace", "path": "/kind", "value": "Secret"}])),
            "changes apiVersion or kind".into(),
        ),
        (patch(json!([{"op": "replace", "path": "", "value": 7}])), "cannot be applied".into()),
        (patch(json!([{"op": "replace", "path": "/metadata", "value": 7}])), "cannot be applied".into()),
        (patch(json!([{"op": "remove", "path": "/data/gone"}])), "cannot be applied".into()),
        (patch(deep), format!("{invalid}response.patch: ")),
        (patch(json!(doubling)), "cannot be applied".into()),
        (
            patch(json!([{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}])),
            "does not match the namespace".into(),
        ),
    ];
    for (response, told) in cases {
        let webhook = Webhook::raw(move |review| {
            let mut response = response.clone();
            if response.get("uid").is_none() {
                response["uid"] = review["request"]["uid"].clone();
            }
            Some((200, review_of(response)))
        })
        .await;
        let url = format!("{CONFIGURATIONS}/mutatingwebhookconfigurations/bad");
        client.delete(&url).await;
        configure(&client, MUTATING, "bad", vec![webhook.hook("bad", all_maps())]).await;
        let answer = client.post(MAPS, &map("m")).await;
        assert!(matches!(answer.code, 400 | 500), "{}", answer.code);
        assert!(message(&answer.json()).contains(&told), "{told:?} in {}", answer.json());
    }
    client.delete(&format!("{CONFIGURATIONS}/mutatingwebhookconfigurations/bad")).await.with(200);
    client.get(&format!("{MAPS}/m")).await.with(404);
    // Who only judges may not change anything.
    let webhook = Webhook::patching(json!([{"op": "add", "path": "/data/x", "value": "y"}])).await;
    configure(&client, VALIDATING, "judges", vec![webhook.hook("bad", all_maps())]).await;
    let status = client.post(MAPS, &map("m")).await.with(500);
    assert!(message(&status).ends_with("validating webhook may not return response.patch"), "{status}");
}

#[tokio::test]
async fn webhooks_judge_not_themselves() {
    let client = Client::new();
    let webhook = Webhook::start(|_| json!({"allowed": false})).await;
    let everything =
        json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    for kind in [MUTATING, VALIDATING] {
        configure(&client, kind, "no", vec![webhook.hook("no", everything.clone())]).await;
    }
    client.post(MAPS, &map("m")).await.with(400);
    for kind in ["mutating", "validating"] {
        let url = format!("{CONFIGURATIONS}/{kind}webhookconfigurations/no");
        client.patch(&url, JSON_PATCH, &json!([])).await.with(200);
        client.delete(&url).await.with(200);
    }
    client.post(MAPS, &map("m")).await.with(201);
}

#[tokio::test]
async fn what_webhooks_make_of_it_is_not_more_than_its_user_may() {
    let client = Client::new();
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let allowed = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]},
    ]);
    client
        .post(&format!("{roles}/roles"), &json!({"metadata": {"name": "r"}, "rules": allowed}))
        .await
        .with(201);
    let binding = json!({"metadata": {"name": "r"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    client.post(&format!("{roles}/rolebindings"), &binding).await.with(201);
    let more = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let webhook = Webhook::patching(json!([{"op": "add", "path": "/rules", "value": more}])).await;
    let rule = rules(&["CREATE"], "rbac.authorization.k8s.io", &["roles"]);
    configure(&client, MUTATING, "more", vec![webhook.hook("more", rule)]).await;
    let jane = client.as_peer(Some(peer(Role::User, "jane", "staff")));
    let status = jane.post(&format!("{roles}/roles"), &json!({"metadata": {"name": "mine"}})).await.with(403);
    assert!(message(&status).contains("attempting to grant RBAC permissions not currently held"), "{status}");
}

#[tokio::test]
async fn services_are_found_by_their_endpoints_or_pods() {
    let client = Client::new();
    let webhook = Webhook::allowing().await;
    let hook = webhook.behind("guard", "guard", all_maps());
    configure(&client, VALIDATING, "guards", vec![hook]).await;
    let refused = async |told: &str| {
        let status = client.post(MAPS, &map("m")).await.with(500);
        let url = "failed to call webhook: ";
        assert!(message(&status).ends_with(&format!("{url}{told}")), "{status}");
    };
    refused("service \"guard\" not found").await;
    let service = json!({"metadata": {"name": "guard"}, "spec": {"selector": {"app": "guard"},
        "ports": [{"name": "https", "port": 443, "targetPort": webhook.port}]}});
    client.post("/api/v1/namespaces/default/services", &service).await.with(201);
    refused("no endpoints available for service \"guard\"").await;
    // A pod of it that is ready, on this machine.
    let mut guard = pod("guard");
    guard["metadata"]["labels"] = json!({"app": "guard"});
    client.post(PODS, &guard).await.with(201);
    let status =
        json!({"status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
    client.patch(&format!("{PODS}/guard/status"), MERGE, &status).await.with(200);
    client.post(MAPS, &map("by-pods")).await.with(201);
    assert_eq!(webhook.asked().len(), 1);
    // What slices say counts before.
    let slice = json!({"metadata": {"name": "guard-1", "labels": {"kubernetes.io/service-name": "guard"}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": webhook.port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": false}}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    client.post(slices, &slice).await.with(201);
    refused("no endpoints available for service \"guard\"").await;
    let ready = json!([{"op": "replace", "path": "/endpoints/0/conditions/ready", "value": true}]);
    client.patch(&format!("{slices}/guard-1"), JSON_PATCH, &ready).await.with(200);
    client.post(MAPS, &map("by-slices")).await.with(201);
    assert_eq!((webhook.asked().len(), webhook.connections()), (1, 1));
}
