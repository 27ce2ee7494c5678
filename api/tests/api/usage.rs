//! `metrics.k8s.io`: what `kubectl top` asks for.

use kontiki_api::usage::{ContainerUsage, NodeUsage, PodUsage};
use kontiki_pki::Role;
use serde_json::{Value, json};

use crate::client::{Client, peer, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const USED: &str = "/apis/metrics.k8s.io/v1beta1";

/// Two nodes, a pod on one of them, and one that no worker speaks of.
async fn cluster() -> Client {
    let client = Client::new();
    for node in ["n1", "n2"] {
        client.memory.add_node(node);
    }
    let mut labelled = pod("web");
    labelled["metadata"]["labels"] = json!({"app": "web"});
    let web = client.post(PODS, &labelled).await.with(201);
    client.post(PODS, &pod("new")).await.with(201);
    let home = client.get(&format!("{PODS}/web")).await.with(200)["spec"]["nodeName"].clone();
    let container = |name: &str, cpu_nanocores| ContainerUsage {
        name: name.into(),
        cpu_nanocores,
        memory_bytes: 64 << 20,
    };
    let pod = PodUsage {
        uid: web["metadata"]["uid"].as_str().unwrap().into(),
        containers: vec![container("main", 250_000_000), container("side", 0)],
    };
    let usage = NodeUsage {
        node: home.as_str().unwrap().into(),
        time_ms: 1_700_000_000_000,
        window_ms: 15_020,
        cpu_nanocores: 1_500_000_000,
        memory_bytes: 1 << 30,
        pods: vec![pod],
    };
    *client.memory.usage.lock() = Some(vec![usage]);
    client
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_pods_and_nodes_use_is_told_as_by_metrics_server() {
    let client = cluster().await;
    let pods = client.get(&format!("{USED}/namespaces/default/pods")).await.with(200);
    assert_eq!(
        pods,
        json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": [{
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"},
                "creationTimestamp": "2023-11-14T22:13:20Z"},
            "timestamp": "2023-11-14T22:13:20Z", "window": "15.020s",
            "containers": [
                {"name": "main", "usage": {"cpu": "250000000n", "memory": "65536Ki"}},
                {"name": "side", "usage": {"cpu": "0", "memory": "65536Ki"}},
            ],
        }]})
    );
    let one = client.get(&format!("{USED}/namespaces/default/pods/web")).await.with(200);
    assert_eq!((&one["kind"], &one["containers"]), (&json!("PodMetrics"), &pods["items"][0]["containers"]));
    let nodes = client.get(&format!("{USED}/nodes")).await.with(200);
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1, "the other says nothing");
    assert_eq!(nodes["items"][0]["usage"], json!({"cpu": "1500000000n", "memory": "1048576Ki"}));
    let name = names(&nodes)[0];
    assert_eq!(client.get(&format!("{USED}/nodes/{name}")).await.with(200)["kind"], "NodeMetrics");
}

#[tokio::test]
async fn selectors_and_places_count() {
    let client = cluster().await;
    for (query, expected) in [
        ("pods", vec!["web"]),
        ("pods?labelSelector=app%3Dweb", vec!["web"]),
        ("pods?labelSelector=app%3Dother", vec![]),
        ("pods?fieldSelector=metadata.name%3Dnew", vec![]),
        ("namespaces/kube-system/pods", vec![]),
        ("nodes?labelSelector=none", vec![]),
    ] {
        assert_eq!(names(&client.get(&format!("{USED}/{query}")).await.with(200)), expected, "{query}");
    }
    assert_eq!(client.get(&format!("{USED}/pods?labelSelector=!!")).await.code, 400);
}

#[tokio::test]
async fn what_cannot_be_told_is_not_invented() {
    let client = cluster().await;
    for (path, name) in [("pods/new", "default/new"), ("pods/gone", "default/gone")] {
        let refused = client.get(&format!("{USED}/namespaces/default/{path}")).await.with(404);
        assert_eq!(refused["message"], format!("pods.metrics.k8s.io \"{name}\" not found"));
    }
    let nobody = Client::new();
    nobody.memory.add_node("n1");
    let refused = nobody.get(&format!("{USED}/nodes")).await.with(503);
    assert!(refused["message"].as_str().unwrap().contains("nobody leads"), "{refused}");
    assert_eq!(
        names(&nobody.get(&format!("{USED}/pods")).await.with(200)),
        [""; 0],
        "there is nobody to ask"
    );
}

#[tokio::test]
async fn it_is_discovered_and_can_only_be_read() {
    let client = cluster().await;
    let groups = client.get("/apis").await.with(200);
    let group = groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == "metrics.k8s.io");
    assert_eq!(group.unwrap()["preferredVersion"]["groupVersion"], "metrics.k8s.io/v1beta1");
    let resources = client.get(USED).await.with(200);
    let told: Vec<_> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["name"], it["kind"], it["namespaced"], it["verbs"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["nodes", "NodeMetrics", false, ["get", "list"]]),
            json!(["pods", "PodMetrics", true, ["get", "list"]])
        ]
    );
    assert_eq!(client.post(&format!("{USED}/nodes"), &json!({})).await.code, 405);
    assert_eq!(client.get(&format!("{USED}/pods?watch=1")).await.code, 405);
    assert_eq!(client.get(&format!("{USED}/namespaces/default/pods/web/status")).await.code, 404);
    assert_eq!(client.get("/apis/metrics.k8s.io/v1/nodes").await.code, 404);
}

#[tokio::test]
async fn whoever_may_see_the_pods_of_a_namespace_may_see_what_they_use() {
    let client = cluster().await;
    let bob = client.as_peer(Some(peer(Role::User, "bob", "dev")));
    let url = format!("{USED}/namespaces/default/pods");
    let refused = bob.get(&url).await.with(403);
    let expected = "pods.metrics.k8s.io is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"metrics.k8s.io\" in the namespace \"default\"";
    assert!(refused["message"].as_str().unwrap().starts_with(expected), "{refused}");
    let binding = json!({
        "metadata": {"name": "bob"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    client.post(bindings, &binding).await.with(201);
    assert_eq!(names(&bob.get(&url).await.with(200)), ["web"]);
    assert_eq!(bob.get(&format!("{USED}/nodes")).await.code, 403, "a node belongs to no namespace");
}
