//! Ephemeral containers: what `kubectl debug` asks of a pod that runs.

use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::client::{Client, MERGE, peer, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const BELOW: &str = "/api/v1/namespaces/default/pods/web/ephemeralcontainers";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn debugger(name: &str) -> Value {
    json!({"name": name, "image": "busybox", "targetContainerName": "c", "stdin": true, "tty": true})
}

fn spec(containers: Value) -> Value {
    json!({"spec": {"ephemeralContainers": containers}})
}

fn names(pod: &Value) -> Vec<&str> {
    let list = pod["spec"]["ephemeralContainers"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|container| container["name"].as_str().unwrap()).collect()
}

async fn web(client: &Client) -> Value {
    client.post(PODS, &pod("web")).await.with(201)
}

#[tokio::test]
async fn they_are_added_by_every_form_of_a_write() {
    let client = Client::new();
    let before = web(&client).await;
    assert_eq!(client.get(BELOW).await.with(200)["metadata"]["uid"], before["metadata"]["uid"]);
    let one = client.patch(BELOW, STRATEGIC, &spec(json!([debugger("a")]))).await.with(200);
    let added = &one["spec"]["ephemeralContainers"][0];
    assert_eq!(
        (&added["imagePullPolicy"], &added["terminationMessagePath"], &added["resources"]),
        (&json!("Always"), &json!("/dev/termination-log"), &json!({}))
    );
    assert_eq!(one["metadata"]["generation"], 2);
    // A merge patch has the whole list; a JSON patch adds to it.
    let mut all = one["spec"]["ephemeralContainers"].as_array().unwrap().clone();
    all.push(debugger("b"));
    client.patch(BELOW, MERGE, &spec(all.into())).await.with(200);
    let add = json!([{"op": "add", "path": "/spec/ephemeralContainers/-", "value": debugger("c2")}]);
    let three = client.patch(BELOW, JSON_PATCH, &add).await.with(200);
    assert_eq!(names(&three), ["a", "b", "c2"]);
    // Whatever else a PUT says is not heard.
    let mut put = three.clone();
    put["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(debugger("d"));
    put["metadata"]["labels"] = json!({"x": "y"});
    put["spec"]["containers"][0]["image"] = "other".into();
    let four = client.put(BELOW, &put).await.with(200);
    assert_eq!(names(&four), ["a", "b", "c2", "d"]);
    assert_eq!(
        (&four["metadata"]["labels"], &four["spec"]["containers"]),
        (&before["metadata"]["labels"], &before["spec"]["containers"])
    );
    assert_eq!(client.put(BELOW, &put).await.with(409)["reason"], "Conflict", "its revision is an older one");
    let mut applied = spec(json!([debugger("e")]));
    (applied["apiVersion"], applied["kind"]) = ("v1".into(), "Pod".into());
    applied["metadata"] = json!({"name": "web", "labels": {"x": "y"}});
    let url = format!("{BELOW}?fieldManager=m");
    let five = client.patch(&url, APPLY, &applied).await.with(200);
    assert_eq!(names(&five).len(), 5);
    let owners = five["metadata"]["managedFields"].as_array().unwrap();
    let applier = owners.iter().find(|owner| owner["manager"] == "m").unwrap();
    assert_eq!(
        (&applier["operation"], &applier["subresource"]),
        (&json!("Apply"), &json!("ephemeralcontainers"))
    );
    assert_eq!(applier["fieldsV1"]["f:metadata"], Value::Null, "nobody owns what he cannot write");
    assert_ne!(applier["fieldsV1"]["f:spec"]["f:ephemeralContainers"]["k:{\"name\":\"e\"}"], Value::Null);
    // What is so already changes nothing.
    let again = client.patch(&url, APPLY, &applied).await.with(200);
    assert_eq!(again["metadata"]["resourceVersion"], five["metadata"]["resourceVersion"]);
    // Nothing is made that is not there.
    applied["metadata"]["name"] = "none".into();
    let url = format!("{PODS}/none/ephemeralcontainers?fieldManager=m");
    client.patch(&url, APPLY, &applied).await.with(404);
    client.post(BELOW, &debugger("x")).await.with(405);
}

#[tokio::test]
async fn they_stay_as_they_are_and_come_no_other_way() {
    let client = Client::new();
    web(&client).await;
    client.patch(BELOW, STRATEGIC, &spec(json!([debugger("a")]))).await.with(200);
    let mut other = debugger("a");
    other["image"] = "other".into();
    for (asked, told) in [
        (json!([other]), "existing ephemeral containers \"a\" may not be changed"),
        (json!([]), "existing ephemeral containers \"a\" may not be removed"),
        (Value::Null, "existing ephemeral containers \"a\" may not be removed"),
    ] {
        let status = client.patch(BELOW, MERGE, &spec(asked)).await.with(422);
        assert!(status["message"].as_str().unwrap().contains(told), "{status}");
    }
    let mut served = debugger("b");
    served["ports"] = json!([{"containerPort": 80}]);
    let status = client.patch(BELOW, STRATEGIC, &spec(json!([served]))).await.with(422);
    assert!(
        status["message"].as_str().unwrap().contains("cannot be set for an Ephemeral Container"),
        "{status}"
    );

    let status =
        client.patch(&format!("{PODS}/web"), STRATEGIC, &spec(json!([debugger("b")]))).await.with(422);
    assert!(
        status["message"].as_str().unwrap().contains("pod updates may not change fields other than"),
        "{status}"
    );
    let mut new = pod("other");
    new["spec"]["ephemeralContainers"] = json!([debugger("a")]);
    let status = client.post(PODS, &new).await.with(422);
    assert!(status["message"].as_str().unwrap().contains("cannot be set on create"), "{status}");
    // All else goes on as before.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(names(&client.patch(&format!("{PODS}/web"), MERGE, &label).await.with(200)), ["a"]);
}

#[tokio::test]
async fn the_namespaces_standard_is_asked() {
    let client = Client::new();
    web(&client).await;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    client.patch("/api/v1/namespaces/default", MERGE, &label).await.with(200);
    let mut tracer = debugger("a");
    tracer["securityContext"] = json!({"capabilities": {"add": ["SYS_PTRACE"]}});
    let status = client.patch(BELOW, STRATEGIC, &spec(json!([tracer]))).await.with(403);
    assert!(
        status["message"].as_str().unwrap().contains("violates PodSecurity \"baseline:latest\""),
        "{status}"
    );
    client.patch(BELOW, STRATEGIC, &spec(json!([debugger("a")]))).await.with(200);
}

#[tokio::test]
async fn a_node_adds_none_whatever_its_roles_allow() {
    let client = Client::new();
    web(&client).await;
    let mut node = peer(Role::User, "system:node:n1", "system:masters");
    node.groups.push("system:nodes".into());
    let node = client.as_peer(Some(node));
    let status = node.patch(BELOW, STRATEGIC, &spec(json!([debugger("a")]))).await.with(403);
    let told = "unexpected pod subresource \"ephemeralcontainers\", only 'status' and 'eviction' are allowed";
    assert!(status["message"].as_str().unwrap().contains(told), "{status}");
}
