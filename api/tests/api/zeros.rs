//! Zeros that Kubernetes' types leave out are not stored, so that clients who read, change and write by these types change nothing else.

use kontiki_actors::{Document, Input, Kind, ObjectKey, Request, input::Part};
use serde_json::{Value, json};

use crate::{
    client::{Client, MERGE, revision},
    kinds::encode,
};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What a pod says, as a client with Kubernetes' types writes it. The zeros in it are pointers, or not `omitempty`.
fn plain() -> Value {
    json!({
        "automountServiceAccountToken": false, "restartPolicy": "Always",
        "containers": [{
            "name": "c", "image": "nginx:1", "env": [{"name": "A"}],
            "securityContext": {"privileged": false},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "X", "value": ""}]}},
        }],
        "volumes": [{"name": "v", "emptyDir": {}}],
    })
}

/// The same with all that a chart writes out.
fn with_zeros() -> Value {
    let mut spec = plain();
    let zeros = json!({"hostNetwork": false, "hostPID": false, "nodeName": "", "priorityClassName": "",
        "nodeSelector": {}, "tolerations": [], "imagePullSecrets": [], "initContainers": []});
    extend(&mut spec, zeros);
    let container = &mut spec["containers"][0];
    extend(container, json!({"stdin": false, "tty": false, "workingDir": "", "args": [], "envFrom": []}));
    container["env"][0]["value"] = "".into();
    extend(&mut container["volumeMounts"][0], json!({"readOnly": false, "subPath": ""}));
    extend(&mut container["livenessProbe"], json!({"initialDelaySeconds": 0, "periodSeconds": 0}));
    spec
}

fn extend(value: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    value.as_object_mut().unwrap().extend(more);
}

fn workload(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": {"a": "b"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    })
}

/// A deployment as a chart writes it.
fn written_out(name: &str) -> Value {
    let mut web = workload("Deployment", name, with_zeros());
    web["metadata"]["annotations"] = json!({});
    extend(&mut web["spec"], json!({"paused": false, "minReadySeconds": 0}));
    web["spec"]["selector"]["matchExpressions"] = json!([]);
    web
}

async fn replica_sets(client: &Client) -> usize {
    while client.memory.step() {}
    let listed = client.get("/apis/apps/v1/namespaces/default/replicasets").await.with(200);
    listed["items"].as_array().unwrap().len()
}

/// Stores an object as older builds did, in place of what is there.
fn rewrite(client: &Client, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) {
    let key = ObjectKey::new(kind, "default", name);
    let mut object = client.memory.state().get(&key).unwrap().document.to_value();
    edit(&mut object);
    let document = Document::from_value(object);
    let update =
        Request::Update { key, document, part: Part::Main, revision: None, uid: None, dry_run: false };
    client.memory.turn(Input::Api(update), None);
}

/// A deployment as a client sends it that read it and changed nothing of its metadata.
async fn as_read(client: &Client, url: &str, object: Value) -> Value {
    let mut object = object;
    let there = client.get(url).await.with(200);
    object["metadata"]["annotations"] = there["metadata"]["annotations"].clone();
    object
}

fn without_revision(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    object
}

#[tokio::test]
async fn a_deployment_that_writes_them_out_does_not_roll_when_a_typed_client_writes_it() {
    let client = Client::new();
    client.memory.add_node("n");
    let yaml = [("content-type", "application/yaml")];
    let made = client.raw("POST", DEPLOYMENTS, &yaml, written_out("web").to_string()).await.with(201);
    assert_eq!((made["spec"].get("paused"), made["spec"].get("minReadySeconds")), (None, None));
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"app": "web"}}));
    let pod = &made["spec"]["template"]["spec"];
    for gone in ["hostNetwork", "nodeName", "nodeSelector", "tolerations", "initContainers"] {
        assert_eq!(pod.get(gone), None, "{pod}");
    }
    let container = &pod["containers"][0];
    assert_eq!(container["env"], json!([{"name": "A"}]));
    assert_eq!(container["volumeMounts"], json!([{"name": "v", "mountPath": "/v"}]));
    assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
    // Pointers to zero, elements and what is never left out stay.
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(container["securityContext"]["privileged"], false);
    assert_eq!(container["livenessProbe"]["httpGet"]["httpHeaders"], json!([{"name": "X", "value": ""}]));
    assert_eq!(pod["volumes"], json!([{"name": "v", "emptyDir": {}}]));
    assert_eq!(replica_sets(&client).await, 1);

    let url = format!("{DEPLOYMENTS}/web");
    let before = client.get(&url).await.with(200);
    let typed = as_read(&client, &url, workload("Deployment", "web", plain())).await;
    let written_out = as_read(&client, &url, written_out("web")).await;
    let after = client.put(&url, &typed).await.with(200);
    assert_eq!((revision(&after), &after["metadata"]["generation"]), (revision(&before), &json!(1)));
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    for body in [&typed, &written_out] {
        let mut body = body.clone();
        body["metadata"]["labels"] = json!({"c": "d"});
        let after = client.raw("PUT", &url, &protobuf, encode::body(&body)).await.with(200);
        assert_eq!(after["metadata"]["generation"], 1, "{body}");
    }
    let after = client.put(&url, &written_out).await.with(200);
    assert_eq!(after["metadata"]["generation"], 1);
    client.patch(&url, MERGE, &json!({"spec": {"paused": false, "replicas": 2}})).await.with(200);
    assert_eq!(replica_sets(&client).await, 1);
}

#[tokio::test]
async fn what_older_builds_stored_with_them_does_not_change_by_their_going() {
    let client = Client::new();
    client.memory.add_node("n");
    let mut old = client.post(&format!("{DEPLOYMENTS}?dryRun=All"), &written_out("web")).await.with(201);
    old["metadata"] = json!({"name": "web", "namespace": "default", "labels": {"a": "b"}});
    let spec = &mut old["spec"]["template"]["spec"];
    extend(spec, json!({"hostNetwork": false, "nodeSelector": {}, "tolerations": []}));
    spec["containers"][0]["env"][0]["value"] = "".into();
    let template = old["spec"]["template"].clone();
    let key = ObjectKey::new(Kind::DEPLOYMENT, "default", "web");
    let document = Document::from_value(old);
    let create = Request::Create { key, generate_name: None, document, dry_run: false };
    client.memory.turn(Input::Api(create), None);
    assert_eq!(replica_sets(&client).await, 1);

    let url = format!("{DEPLOYMENTS}/web");
    let mut typed = as_read(&client, &url, workload("Deployment", "web", plain())).await;
    typed["metadata"]["labels"] = json!({"c": "d"});
    let labelled = client.put(&url, &typed).await.with(200);
    assert_eq!((&labelled["metadata"]["generation"], &labelled["spec"]["template"]), (&json!(1), &template));
    let mut scaled = typed.clone();
    scaled["spec"]["replicas"] = 2.into();
    let scaled = client.put(&url, &scaled).await.with(200);
    assert_eq!((&scaled["metadata"]["generation"], &scaled["spec"]["template"]), (&json!(2), &template));
    assert_eq!(replica_sets(&client).await, 1, "nothing rolls out anew");
    let mut other = typed.clone();
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2".into();
    let other = client.put(&url, &other).await.with(200);
    assert_eq!(other["spec"]["template"]["spec"].get("hostNetwork"), None);
    assert_eq!(replica_sets(&client).await, 2);

    // What may not change did not.
    client.post(JOBS, &job("old")).await.with(201);
    rewrite(&client, Kind::JOB, "old", |job| {
        extend(&mut job["spec"]["template"]["spec"], json!({"hostNetwork": false, "nodeSelector": {}}));
    });
    let mut read = client.get(&format!("{JOBS}/old")).await.with(200);
    read["spec"]["template"]["spec"] = never(plain());
    read["spec"]["suspend"] = false.into();
    client.put(&format!("{JOBS}/old"), &without_revision(&read)).await.with(200);
}

fn never(mut spec: Value) -> Value {
    spec["restartPolicy"] = "Never".into();
    spec
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"suspend": true, "template": {"spec": never(with_zeros())}}})
}

#[tokio::test]
async fn pods_jobs_and_stateful_sets_are_written_by_typed_clients() {
    let client = Client::new();
    let pod =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let made = client.post(PODS, &pod(with_zeros())).await.with(201);
    let mut typed = without_revision(&made);
    typed["metadata"]["labels"] = json!({"a": "b"});
    for gone in ["hostNetwork", "hostPID", "nodeSelector", "imagePullSecrets"] {
        typed["spec"].as_object_mut().unwrap().remove(gone);
    }
    let container = &mut typed["spec"]["containers"][0];
    container["env"] = json!([{"name": "A"}]);
    container["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    client.put(&format!("{PODS}/p"), &typed).await.with(200);
    // As it comes from one that still has the manifest.
    extend(&mut typed["spec"], json!({"hostNetwork": false, "nodeSelector": {}}));
    typed["spec"]["containers"][0]["env"][0]["value"] = "".into();
    let put = client.put(&format!("{PODS}/p"), &typed).await.with(200);
    assert_eq!(put["spec"], made["spec"]);

    let mut queued = client.post(JOBS, &job("queued")).await.with(201);
    queued["spec"]["suspend"] = false.into();
    queued["spec"]["template"]["spec"] = never(plain());
    client.put(&format!("{JOBS}/queued"), &without_revision(&queued)).await.with(200);

    let mut set = workload("StatefulSet", "db", plain());
    let made = client.post(STATEFUL_SETS, &set).await.with(201);
    assert_eq!(made["spec"]["serviceName"], "");
    let url = format!("{STATEFUL_SETS}/db");
    set["spec"]["serviceName"] = "".into();
    let put = client.put(&url, &set).await.with(200);
    assert_eq!(put["metadata"]["generation"], 1);
    // Older builds stored none.
    rewrite(&client, Kind::STATEFUL_SET, "db", |set| {
        set["spec"].as_object_mut().unwrap().remove("serviceName");
    });
    assert_eq!(client.get(&url).await.with(200)["spec"].get("serviceName"), None);
    set["metadata"]["labels"] = json!({"c": "d"});
    let put = client.put(&url, &set).await.with(200);
    assert_eq!(put["metadata"]["generation"], 1);
}

#[tokio::test]
async fn who_applies_them_owns_them_though_they_are_not_stored() {
    let client = Client::new();
    let url = format!("{DEPLOYMENTS}/web?fieldManager=me");
    let media = [("content-type", "application/apply-patch+yaml")];
    let apply =
        async |code: u16| client.raw("PATCH", &url, &media, written_out("web").to_string()).await.with(code);
    let made = apply(201).await;
    assert_eq!(made["spec"]["template"]["spec"].get("hostNetwork"), None);
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"];
    assert_eq!((&owned["f:hostNetwork"], &owned["f:restartPolicy"]), (&json!({}), &json!({})));
    let again = apply(200).await;
    assert_eq!((&again["metadata"]["generation"], &again["spec"]), (&json!(1), &made["spec"]));
}

#[tokio::test]
async fn an_empty_list_of_owners_still_makes_nobody_an_owner() {
    let client = Client::new();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": ""}});
    let made = client.post(maps, &map).await.with(201);
    // A value in a map is no field.
    assert_eq!(made["data"], json!({"k": ""}));
    assert_eq!(made["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    let patch = json!({"metadata": {"managedFields": []}});
    let reset = client.patch(&format!("{maps}/m"), MERGE, &patch).await.with(200);
    assert_eq!(reset["metadata"].get("managedFields"), None);
}

#[tokio::test]
async fn what_must_be_there_is_shown_although_nobody_said_it() {
    let client = Client::new();
    let at = |group: &str, plural: &str| format!("/{group}/namespaces/default/{plural}");
    for (group, plural, object, pointer, zero) in [
        ("apis/apps/v1", "controllerrevisions", json!({"data": {"a": 1}}), "/revision", json!(0)),
        ("api/v1", "limitranges", json!({"spec": {}}), "/spec/limits", json!([])),
        ("apis/networking.k8s.io/v1", "networkpolicies", json!({"spec": {}}), "/spec/podSelector", json!({})),
    ] {
        let mut object = object;
        object["metadata"] = json!({"name": "a"});
        let made = client.post(&at(group, plural), &object).await.with(201);
        assert_eq!(made.pointer(pointer), Some(&zero), "{plural}");
        let put = client.put(&format!("{}/a", at(group, plural)), &object).await.with(200);
        assert_eq!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "{plural}");
    }
    // A status is written by whoever knows it, as far as he says.
    let budgets = at("apis/policy/v1", "poddisruptionbudgets");
    client.post(&budgets, &json!({"metadata": {"name": "a"}, "spec": {"maxUnavailable": 1}})).await.with(201);
    let told =
        client.put(&format!("{budgets}/a/status"), &json!({"metadata": {"name": "a"}, "status": {}})).await;
    let status = told.with(200)["status"].clone();
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        assert_eq!(status[field], 0, "{field}");
    }
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "reason": "R"});
    client.post(&at("api/v1", "events"), &event).await.with(201);
    let shown = client.get(&format!("{}/e", at("apis/events.k8s.io/v1", "events"))).await.with(200);
    assert_eq!(shown.get("eventTime"), Some(&Value::Null));
}
