//! Updates: PUT, patches, subresources, generations, conflicts.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::client::{Client, MERGE, deployment, pod, revision};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

async fn web(client: &Client) -> Value {
    client.post(DEPLOYMENTS, &deployment("web", 1)).await.with(201)
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec_only() {
    let client = Client::new();
    assert_eq!(web(&client).await["metadata"]["generation"], 1);
    let url = format!("{DEPLOYMENTS}/web");
    let generation = |object: &Value| object["metadata"]["generation"].as_i64().unwrap();
    let labelled = client.patch(&url, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.with(200);
    assert_eq!(generation(&labelled), 1);
    let scaled = client.patch(&url, STRATEGIC, &json!({"spec": {"replicas": 2}})).await.with(200);
    assert_eq!(generation(&scaled), 2);
    // What is already so is no change: same generation, same revision.
    let before = client.get(&url).await.with(200);
    let mut again = before.clone();
    again["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {}});
    again["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let after = client.put(&url, &again).await.with(200);
    assert_eq!((generation(&after), revision(&after)), (2, revision(&before)));
}

#[tokio::test]
async fn a_stale_revision_is_a_conflict_and_none_is_not() {
    let client = Client::new();
    let old = web(&client).await;
    let url = format!("{DEPLOYMENTS}/web");
    let current = client.patch(&url, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).await.with(200);
    assert_ne!(revision(&old), revision(&current));
    let refused = client.put(&url, &old).await.with(409);
    assert_eq!(refused["reason"], "Conflict");
    assert!(refused["message"].as_str().unwrap().contains("the object has been modified"), "{refused}");
    let mut foreign = current.clone();
    foreign["metadata"]["uid"] = "another".into();
    assert!(
        client.put(&url, &foreign).await.with(409)["message"]
            .as_str()
            .unwrap()
            .contains("Precondition failed")
    );
    let stale =
        json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"], "labels": {"c": "d"}}});
    client.patch(&url, MERGE, &stale).await.with(409);
    let unlocked = client.patch(&url, MERGE, &json!({"metadata": {"labels": {"c": "d"}}})).await.with(200);
    assert_eq!(unlocked["metadata"]["labels"], json!({"a": "b", "c": "d"}));
}

#[tokio::test]
async fn a_controller_that_is_behind_refuses_nothing_for_it() {
    let client = Client::new();
    let maps = "/api/v1/namespaces/default/configmaps";
    client.config_map("old", json!({})).await;
    let known = client.get(&format!("{maps}/old")).await.with(200);
    *client.memory.behind.lock() = Some(client.memory.state());
    let newer = client
        .patch(&format!("{maps}/old"), MERGE, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .with(200);
    client.config_map("new", json!({})).await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    client.post(classes, &json!({"metadata": {"name": "high"}, "value": 7})).await.with(201);

    // What it has not heard of is there for those who write.
    client.patch(&format!("{maps}/new"), MERGE, &json!({"data": {"x": "y"}})).await.with(200);
    let mut replaced = newer.clone();
    replaced["data"] = json!({"x": "y"});
    let replaced = client.put(&format!("{maps}/old"), &replaced).await.with(200);
    assert_eq!(replaced["metadata"]["labels"], json!({"a": "b"}));
    // Lets pass only who has heard of the last write.
    let test = json!([{"op": "test", "path": "/data/x", "value": "y"}, {"op": "add", "path": "/data/z", "value": "w"}]);
    let patched = client.patch(&format!("{maps}/old"), JSON_PATCH, &test).await.with(200);
    assert_eq!(patched["data"], json!({"x": "y", "z": "w"}));
    let mut urgent = pod("urgent");
    urgent["spec"]["priorityClassName"] = "high".into();
    let urgent = client.post("/api/v1/namespaces/default/pods", &urgent).await.with(201);
    assert_eq!(urgent["spec"]["priority"], 7);

    // What it holds and is no more so is no ground for anything either.
    client.put(&format!("{maps}/old"), &known).await.with(409);
    client.delete(&format!("{maps}/old")).await.with(200);
    client.patch(&format!("{maps}/old"), MERGE, &json!({"data": {"x": "z"}})).await.with(404);
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    client.put(lease, &body).await.with(201);
    // What it holds and is gone is made again.
    *client.memory.behind.lock() = Some(client.memory.state());
    client.delete(lease).await.with(200);
    client.put(lease, &body).await.with(201);
    let unlocked = client.put(lease, &body).await.with(422);
    assert!(unlocked["message"].as_str().unwrap().contains("must be specified for an update"), "{unlocked}");
}

#[tokio::test]
async fn a_patch_without_revision_is_tried_again_until_it_fits() {
    let client = Client::new();
    client.config_map("a", json!({})).await;
    let url = "/api/v1/namespaces/default/configmaps/a";
    client.memory.disturb.store(3, Ordering::Relaxed);
    let patched = client.patch(url, MERGE, &json!({"data": {"x": "y"}})).await.with(200);
    assert_eq!(patched["data"], json!({"k": "a", "x": "y"}));
    assert!(patched["metadata"]["annotations"]["disturbed"].is_string(), "the others' write is still there");
    client.memory.disturb.store(usize::MAX, Ordering::Relaxed);
    client.patch(url, MERGE, &json!({"data": {"x": "z"}})).await.with(409);
}

#[tokio::test]
async fn status_and_main_keep_out_of_each_other() {
    let client = Client::new();
    client.memory.add_node("n1");
    let url = "/api/v1/nodes/n1";
    let node = client.get(url).await.with(200);
    let body = json!({"spec": {"unschedulable": true}, "status": {"capacity": {"cpu": "1"}}});
    let main = client.patch(url, MERGE, &body).await.with(200);
    assert_eq!((&main["spec"]["unschedulable"], &main["status"]), (&json!(true), &node["status"]));
    let body = json!({"spec": {"unschedulable": null}, "status": {"capacity": {"example.com/x": "1"}}});
    let status = client.patch(&format!("{url}/status"), MERGE, &body).await.with(200);
    assert_eq!(status["spec"]["unschedulable"], true);
    assert_eq!(status["status"]["capacity"]["example.com/x"], "1");
}

#[tokio::test]
async fn a_write_of_a_status_takes_metadata_as_far_as_kubernetes_does() {
    let client = Client::new();
    client.memory.add_node("n1");
    let url = "/api/v1/nodes/n1";
    let before = client.get(url).await.with(200);
    let body = json!({
        "metadata": {"annotations": {"a": "1"}, "labels": {"l": "1"}},
        "spec": {"unschedulable": true},
        "status": {"capacity": {"example.com/x": "1"}},
    });
    let patched = client.patch(&format!("{url}/status"), MERGE, &body).await.with(200);
    let told = |object: &Value| {
        let metadata = &object["metadata"];
        (metadata["annotations"]["a"].clone(), metadata["labels"]["l"].clone())
    };
    assert_eq!(told(&patched), (json!("1"), json!("1")));
    assert_eq!(patched["spec"], before["spec"]);
    let mut put = patched.clone();
    put["metadata"]["annotations"]["a"] = "2".into();
    put["metadata"]["uid"] = before["metadata"]["uid"].clone();
    let put = client.put(&format!("{url}/status"), &put).await.with(200);
    assert_eq!(told(&put), (json!("2"), json!("1")));
    assert_eq!(told(&client.get(url).await.with(200)), (json!("2"), json!("1")));
    let wrong = json!({"metadata": {"labels": {"l": "not a value!"}}});
    client.patch(&format!("{url}/status"), MERGE, &wrong).await.with(422);
    // Deployments keep their labels, and give away their annotations.
    web(&client).await;
    let url = format!("{DEPLOYMENTS}/web");
    let deployment = client.get(&url).await.with(200);
    let patched = client.patch(&format!("{url}/status"), MERGE, &body).await.with(200);
    assert_eq!(told(&patched), (json!("1"), json!(null)));
    assert_eq!(patched["metadata"]["labels"], deployment["metadata"]["labels"]);
    assert_eq!(patched["metadata"]["generation"], deployment["metadata"]["generation"]);
    // Pods keep their owners.
    client.post("/api/v1/namespaces/default/pods", &pod("p")).await.with(201);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}]);
    let mut body = body.clone();
    body["metadata"]["ownerReferences"] = owner;
    body["status"] = json!({"message": "hello"});
    let url = "/api/v1/namespaces/default/pods/p/status";
    let patched = client.patch(url, MERGE, &body).await.with(200);
    assert_eq!(told(&patched), (json!("1"), json!("1")));
    assert_eq!(patched["metadata"]["ownerReferences"], json!(null));
    let owners = patched["metadata"]["managedFields"].to_string();
    assert!(owners.contains("f:annotations") && !owners.contains("f:ownerReferences"), "{owners}");
}

#[tokio::test]
async fn scale_is_a_resource_of_its_own() {
    let client = Client::new();
    web(&client).await;
    let url = format!("{DEPLOYMENTS}/web/scale");
    let mut scale = client.get(&url).await.with(200);
    assert_eq!((&scale["kind"], &scale["status"]["selector"]), (&json!("Scale"), &json!("app=web")));
    scale["spec"]["replicas"] = 3.into();
    assert_eq!(client.put(&url, &scale).await.with(200)["spec"]["replicas"], 3);
    let patched = client.patch(&url, MERGE, &json!({"spec": {"replicas": 5}})).await.with(200);
    assert_eq!((&patched["kind"], &patched["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    let parent = client.get(&format!("{DEPLOYMENTS}/web")).await.with(200);
    assert_eq!((&parent["spec"]["replicas"], &parent["metadata"]["generation"]), (&json!(5), &json!(3)));
    client.patch(&url, MERGE, &json!({"spec": {"replicas": -1}})).await.with(422);
}

#[tokio::test]
async fn patches_of_all_three_forms() {
    let client = Client::new();
    web(&client).await;
    let url = format!("{DEPLOYMENTS}/web");
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    let patched = client.patch(&url, STRATEGIC, &image).await.with(200);
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!((containers.as_array().unwrap().len(), &containers[0]["image"]), (1, &json!("nginx:2")));
    let operations = json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 0}]);
    assert_eq!(client.patch(&url, JSON_PATCH, &operations).await.with(200)["spec"]["replicas"], 0);
    let refused = client.patch(&url, JSON_PATCH, &operations).await.with(422);
    assert!(refused["message"].as_str().unwrap().contains("/spec/replicas"), "{refused}");
    assert!(
        refused["details"]["name"].is_null(),
        "kubectl shows the message of a failure without a name: {refused}"
    );
    let changed = client.patch(&url, MERGE, &json!({"spec": {"strategy": null}})).await.with(200);
    assert_eq!(changed["spec"]["strategy"]["type"], "RollingUpdate", "the default comes back");
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let client = Client::new();
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    client.post("/api/v1/namespaces/default/configmaps", &body).await.with(201);
    let url = "/api/v1/namespaces/default/configmaps/a";
    let pending = client.delete(url).await.with(200);
    assert!(pending["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    client.patch(url, MERGE, &more).await.with(422);
    client.patch(url, MERGE, &json!({"metadata": {"finalizers": null}})).await.with(200);
    client.get(url).await.with(404);
}

#[tokio::test]
async fn pods_are_bound_and_evicted() {
    let client = Client::new();
    let pods = "/api/v1/namespaces/default/pods";
    client.post(pods, &pod("p")).await.with(201);
    client.memory.add_node("n1");
    let url = format!("{pods}/p");
    if client.get(&url).await.with(200)["spec"].get("nodeName").is_none() {
        client
            .post(&format!("{url}/binding"), &json!({"target": {"kind": "Node", "name": "n1"}}))
            .await
            .with(201);
    }
    let again = client.post(&format!("{url}/binding"), &json!({"target": {"name": "n2"}})).await.with(409);
    assert!(again["message"].as_str().unwrap().contains("already assigned to node"), "{again}");
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let evicted = client.post(&format!("{url}/eviction"), &body).await.with(201);
    assert_eq!(evicted["status"], "Success");
    assert!(client.get(&url).await.with(200)["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn evictions_mind_disruption_budgets() {
    let client = Client::new();
    let (pods, budgets) =
        ("/api/v1/namespaces/default/pods", "/apis/policy/v1/namespaces/default/poddisruptionbudgets");
    client.memory.add_node("n1");
    client.post(pods, &pod("p")).await.with(201);
    let url = format!("{pods}/p");
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    client.patch(&format!("{url}/status"), MERGE, &ready).await.with(200);
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"minAvailable": 1, "selector": {}}});
    let made = client.post(budgets, &budget).await;
    assert!(!made.headers.contains_key("warning"));
    let status = &made.with(201)["status"];
    assert_eq!((&status["currentHealthy"], &status["disruptionsAllowed"]), (&json!(1), &json!(0)));

    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let refused = client.post(&format!("{url}/eviction"), &body).await;
    assert!(!refused.headers.contains_key("retry-after"), "client-go would hide the refusal and try again");
    let refused = refused.with(429);
    assert_eq!(refused["reason"], "TooManyRequests");
    assert_eq!(refused["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    let cause = &refused["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget all needs 1 healthy pods and has 1 currently");

    client.post(budgets, &with_name(&budget, "second")).await.with(201);
    let refused = client.post(&format!("{url}/eviction"), &body).await.with(500);
    assert!(
        refused["message"].as_str().unwrap().starts_with("This pod has more than one PodDisruptionBudget")
    );
    for name in ["all", "second"] {
        client.delete(&format!("{budgets}/{name}")).await.with(200);
    }
    client.post(&format!("{url}/eviction"), &body).await.with(201);
}

fn with_name(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = name.into();
    object
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused_as_asked() {
    let client = Client::new();
    let mut body = deployment("web", 1);
    body["spec"]["replicaz"] = 3.into();
    let strict = client.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body).await.with(400);
    assert!(
        strict["message"]
            .as_str()
            .unwrap()
            .contains("strict decoding error: unknown field \"spec.replicaz\"")
    );
    let warned = client.post(DEPLOYMENTS, &body).await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"spec.replicaz\\\"\"");
    assert!(warned.with(201)["spec"].get("replicaz").is_none(), "unknown fields are not stored");
    let url = format!("{DEPLOYMENTS}/web?fieldValidation=Strict");
    let patch = client.patch(&url, MERGE, &json!({"spec": {"x": 1}})).await.with(422);
    assert_eq!(patch["details"]["causes"][0]["field"], "patch");
}

/// A pod's spec whose requests and host ports are left open.
fn open_spec(memory: &str) -> Value {
    let limits = json!({"cpu": "1", "memory": memory});
    let container = |name: &str, port: i64| json!({"name": name, "image": "nginx:1", "resources": {"limits": limits}, "ports": [{"containerPort": port}]});
    json!({"hostNetwork": true, "initContainers": [container("i", 80)], "containers": [container("c", 80), container("d", 81)]})
}

/// The requests and host ports of all containers.
fn followed(spec: &Value) -> Vec<(Value, Value)> {
    let containers =
        ["initContainers", "containers"].into_iter().flat_map(|list| spec[list].as_array().unwrap());
    let told = |c: &Value| (c["resources"]["requests"].clone(), c["ports"][0]["hostPort"].clone());
    containers.map(told).collect()
}

#[tokio::test]
async fn pods_are_given_what_their_templates_leave_open() {
    let client = Client::new();
    let pods = "/api/v1/namespaces/default/pods";
    let assert_given = |pod: &Value, memory: &str| {
        let requests = json!({"cpu": "1", "memory": memory});
        let wanted = [80, 80, 81].map(|port| (requests.clone(), json!(port)));
        assert_eq!(followed(&pod["spec"]), wanted);
        assert_eq!(pod["spec"]["enableServiceLinks"], true);
        assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    };
    let mut alone = pod("alone");
    alone["spec"] = open_spec("1Gi");
    assert_given(&client.post(pods, &alone).await.with(201), "1Gi");
    client.delete(&format!("{pods}/alone?gracePeriodSeconds=0")).await.with(200);

    let mut web = deployment("web", 1);
    web["spec"]["template"]["spec"] = open_spec("1Gi");
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    let mut made = client.post(DEPLOYMENTS, &web).await.with(201);
    // A limit may fall, and what follows from it follows, as long as nobody said otherwise.
    for memory in ["1Gi", "512Mi", "2Gi"] {
        let limits = json!({"name": "c", "resources": {"limits": {"memory": memory}}});
        let mut others = [limits.clone(), limits.clone(), limits];
        others[1]["name"] = "d".into();
        others[2]["name"] = "i".into();
        let [c, d, i] = others;
        let patch = json!({"spec": {"template": {"spec": {"containers": [c, d], "initContainers": [i]}}}});
        made = client.patch(&format!("{DEPLOYMENTS}/web"), STRATEGIC, &patch).await.with(200);
        let template = &made["spec"]["template"]["spec"];
        assert_eq!(followed(template), [const { (Value::Null, Value::Null) }; 3]);
        assert!(template.get("enableServiceLinks").is_none());
        while client.memory.step() {}
        let listed = client.get(pods).await.with(200);
        let all = listed["items"].as_array().unwrap();
        assert_eq!(all.len(), 1);
        assert_given(&all[0], memory);
    }
    // Host ports go with the host's network.
    let patch = json!({"spec": {"template": {"spec": {"hostNetwork": null}}}});
    client.patch(&format!("{DEPLOYMENTS}/web"), MERGE, &patch).await.with(200);
    while client.memory.step() {}
    let listed = client.get(pods).await.with(200);
    assert!(followed(&listed["items"][0]["spec"]).iter().all(|(_, port)| port.is_null()));
    assert_eq!(made["metadata"]["generation"], 3);
}

#[tokio::test]
async fn templates_of_older_builds_are_the_same_without_what_pods_are_given() {
    let client = Client::new();
    // As they were stored.
    let mut complete = open_spec("1Gi");
    kontiki_actors::kinds::pod::complete(&mut complete);
    let mut web = deployment("web", 1);
    web["spec"]["template"]["spec"] = complete.clone();
    client.post(DEPLOYMENTS, &web).await.with(201);
    web["spec"]["template"]["spec"] = open_spec("1Gi");
    let put = client.put(&format!("{DEPLOYMENTS}/web"), &web).await.with(200);
    assert_eq!(followed(&put["spec"]["template"]["spec"])[0], (Value::Null, Value::Null));
    let sets = async || {
        let listed = client.get("/apis/apps/v1/namespaces/default/replicasets").await.with(200);
        listed["items"].as_array().unwrap().len()
    };
    while client.memory.step() {}
    assert_eq!(sets().await, 1, "nothing rolls out anew");
    web["spec"]["template"]["spec"] = open_spec("512Mi");
    client.put(&format!("{DEPLOYMENTS}/web"), &web).await.with(200);
    while client.memory.step() {}
    assert_eq!(sets().await, 2);

    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    for suspend in [false, true] {
        let name = format!("job-{suspend}");
        complete["restartPolicy"] = "Never".into();
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"suspend": suspend, "template": {"spec": complete}}});
        let mut job = client.post(jobs, &job).await.with(201);
        job["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        for (memory, code) in [("1Gi", 200), ("512Mi", 422)] {
            let mut spec = open_spec(memory);
            spec["restartPolicy"] = "Never".into();
            job["spec"]["template"]["spec"] = spec;
            client.put(&format!("{jobs}/{name}"), &job).await.with(code);
        }
    }
}
