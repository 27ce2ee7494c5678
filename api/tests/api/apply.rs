//! Server-side apply, and who owns which field.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use kontiki_actors::State;
use kontiki_api::{
    FeedLimits, Options,
    rest::{Access, Authorizer, User},
};
use serde_json::{Value, json};

use crate::client::{Answer, Client, MERGE, deployment, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";

async fn apply(client: &Client, uri: &str, query: &str, body: &Value) -> Answer {
    client.patch(&format!("{uri}?{query}"), APPLY, body).await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Who owns what: `manager/operation/subresource` and the fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut out: Vec<(String, Value)> = list
        .iter()
        .map(|e| {
            let name = ["manager", "operation", "subresource"].map(|key| text(e, key)).join("/");
            (name, e["fieldsV1"].clone())
        })
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn fields(owner: &str, fields: Value) -> (String, Value) {
    (owner.to_owned(), fields)
}

#[tokio::test]
async fn what_is_missing_is_made_and_what_is_so_stays() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    let made = apply(&client, &url, "fieldManager=me", &map(json!({"x": "1"}))).await.with(201);
    let mine = fields("me/Apply/", json!({"f:data": {"f:x": {}}}));
    assert_eq!(owners(&made), std::slice::from_ref(&mine));
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert_eq!(entry["time"].as_str().map(str::len), Some("2026-01-01T00:00:00Z".len()));
    let again = apply(&client, &url, "fieldManager=me", &map(json!({"x": "1"}))).await.with(200);
    assert_eq!(again, made, "nothing changed, so nothing was written");
    // Somebody else who wants the same owns it, too.
    let both = apply(&client, &url, "fieldManager=you", &map(json!({"x": "1"}))).await.with(200);
    assert_eq!(owners(&both), [mine, fields("you/Apply/", json!({"f:data": {"f:x": {}}}))]);
}

#[tokio::test]
async fn yaml_is_applied_like_json() {
    let client = Client::new();
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  creationTimestamp: null\ndata:\n  x: '1'\n";
    let url = format!("{MAPS}/a?fieldManager=me");
    let answer = client.raw("PATCH", &url, &[("content-type", APPLY)], text).await.with(201);
    assert_eq!((&answer["data"], owners(&answer).len()), (&json!({"x": "1"}), 1));
}

#[tokio::test]
async fn what_others_own_is_refused_unless_it_is_forced() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    apply(&client, &url, "fieldManager=me", &map(json!({"x": "1", "y": "1"}))).await.with(201);
    client.patch(&format!("{url}?fieldManager=editor"), MERGE, &json!({"data": {"z": "1"}})).await.with(200);
    let one = apply(&client, &url, "fieldManager=you", &map(json!({"x": "2", "z": "1"}))).await.with(409);
    assert_eq!(one["message"], "Apply failed with 1 conflict: conflict with \"me\": .data.x");
    assert_eq!((&one["reason"], &one["status"]), (&json!("Conflict"), &json!("Failure")));
    let cause =
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".data.x"});
    assert_eq!(one["details"], json!({"causes": [cause]}));
    let all = json!({"x": "2", "y": "2", "z": "2"});
    let many = apply(&client, &url, "fieldManager=you", &map(all.clone())).await.with(409);
    assert_eq!(
        many["message"],
        "Apply failed with 3 conflicts: conflicts with \"editor\" using v1:\n- .data.z\nconflicts with \"me\":\n- .data.x\n- .data.y"
    );
    assert_eq!(many["details"]["causes"].as_array().unwrap().len(), 3);
    let forced = apply(&client, &url, "fieldManager=you&force=true", &map(all.clone())).await.with(200);
    assert_eq!(forced["data"], all);
    let yours = fields("you/Apply/", json!({"f:data": {"f:x": {}, "f:y": {}, "f:z": {}}}));
    assert_eq!(owners(&forced), [yours]);
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_if_nobody_else_owns_it() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    apply(&client, &url, "fieldManager=me", &map(json!({"x": "1", "y": "1"}))).await.with(201);
    apply(&client, &url, "fieldManager=you", &map(json!({"y": "1"}))).await.with(200);
    let left = apply(&client, &url, "fieldManager=me", &map(json!({"z": "1"}))).await.with(200);
    assert_eq!(left["data"], json!({"y": "1", "z": "1"}), "x was mine alone, y is yours, too");
    let url = format!("{DEPLOYMENTS}/web");
    let mut web = deployment("web", 1);
    let ports = json!([{"containerPort": 80}, {"containerPort": 81, "name": "b"}]);
    web["spec"]["template"]["spec"]["containers"][0]["ports"] = ports;
    let made = apply(&client, &url, "fieldManager=me", &web).await.with(201);
    let container =
        &owners(&made)[0].1["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"];
    assert_eq!(
        container["f:ports"]["k:{\"containerPort\":80,\"protocol\":\"TCP\"}"],
        json!({".": {}, "f:containerPort": {}})
    );
    web["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 81, "name": "b"}]);
    let left = apply(&client, &url, "fieldManager=me", &web).await.with(200);
    let ports = &left["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(*ports, json!([{"containerPort": 81, "name": "b", "protocol": "TCP"}]));
    // The default comes back where a field goes that has one.
    web["spec"].as_object_mut().unwrap().remove("replicas");
    let left = apply(&client, &url, "fieldManager=me", &web).await.with(200);
    assert_eq!(left["spec"]["replicas"], 1);
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_in_words() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    let nobody = apply(&client, &url, "", &map(json!({}))).await.with(422);
    assert_eq!(
        nobody["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let with = |path: &str, value: Value| {
        let mut body = map(json!({}));
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let mut owned = map(json!({}));
    owned["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let mut unknown = map(json!({}));
    unknown["dada"] = json!({});
    let mut twice = map(json!({}));
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"});
    twice["metadata"]["ownerReferences"] = json!([owner, owner]);
    for (body, message) in [
        (with("/kind", "Secret".into()), "invalid object type: /v1, Kind=Secret"),
        (with("/apiVersion", "apps/v1".into()), "invalid object type: apps/v1, Kind=ConfigMap"),
        (
            with("/metadata/name", "b".into()),
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (owned, "metadata.managedFields must be nil"),
        (
            unknown,
            "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .dada: field not declared in schema",
        ),
        (
            twice,
            "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .metadata.ownerReferences: duplicate entries for key [uid=\"u\"]",
        ),
    ] {
        let refused = apply(&client, &url, "fieldManager=me", &body).await.with(400);
        assert_eq!((refused["message"].as_str(), &refused["reason"]), (Some(message), &json!("BadRequest")));
    }
    let repeated =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1","x":"2"}}"#;
    let strict = format!("{url}?fieldManager=me&fieldValidation=Strict");
    client.raw("PATCH", &strict, &[("content-type", APPLY)], repeated).await.with(400);
    client.raw("PATCH", &strict, &[("content-type", APPLY)], "a: [").await.with(400);
    client.get(&url).await.with(404);
    // Only what is there has a revision and a uid.
    for (field, value) in [("uid", "u"), ("resourceVersion", "7")] {
        let mut body = map(json!({}));
        body["metadata"][field] = value.into();
        apply(&client, &url, "fieldManager=me", &body).await.with(409);
    }
    let made = apply(&client, &url, "fieldManager=me", &map(json!({}))).await.with(201);
    let mut locked = map(json!({"x": "1"}));
    locked["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    apply(&client, &url, "fieldManager=me", &locked).await.with(200);
    apply(&client, &url, "fieldManager=me", &locked).await.with(409);
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    let made = apply(&client, &url, "fieldManager=me&dryRun=All", &map(json!({"x": "1"}))).await.with(201);
    assert_eq!((made["data"]["x"].as_str(), owners(&made).len()), (Some("1"), 1));
    client.get(&url).await.with(404);
    apply(&client, &url, "fieldManager=me", &map(json!({"x": "1"}))).await.with(201);
    let changed = apply(&client, &url, "fieldManager=me&dryRun=All", &map(json!({"x": "2"}))).await.with(200);
    assert_eq!(changed["data"]["x"], "2");
    assert_eq!(client.get(&url).await.with(200)["data"]["x"], "1");
    let refused = apply(&client, &url, "fieldManager=you&dryRun=All", &map(json!({"x": "2"}))).await;
    refused.with(409);
}

#[tokio::test]
async fn whoever_writes_owns_what_he_changed() {
    let client = Client::new();
    let made = client.raw(
        "POST",
        MAPS,
        &[("user-agent", "tool/1.0 (x)")],
        map(json!({"x": "1", "y": "1"})).to_string(),
    );
    let made = made.await.with(201);
    assert_eq!(owners(&made), [fields("tool/Update/", json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}))]);
    let url = format!("{MAPS}/a");
    let patched =
        client.patch(&format!("{url}?fieldManager=p"), MERGE, &json!({"data": {"x": "2"}})).await.with(200);
    let after = [
        fields("p/Update/", json!({"f:data": {"f:x": {}}})),
        fields("tool/Update/", json!({"f:data": {".": {}, "f:y": {}}})),
    ];
    assert_eq!(owners(&patched), after);
    // What is already so makes nobody an owner.
    let same =
        client.patch(&format!("{url}?fieldManager=q"), MERGE, &json!({"data": {"x": "2"}})).await.with(200);
    assert_eq!((owners(&same), revision(&same)), (after.to_vec(), revision(&patched)));
    // A client that knows nothing of owners does not take them away; what it removes, nobody owns any more.
    let body = json!({"metadata": {"name": "a"}, "data": {"y": "1"}});
    let put = client.put(&format!("{url}?fieldManager=r"), &body).await.with(200);
    assert_eq!(owners(&put), after[1..]);
    let nameless = client.patch(&url, MERGE, &json!({"data": {"n": "1"}})).await.with(200);
    assert_eq!(owners(&nameless)[1], fields("unknown/Update/", json!({"f:data": {"f:n": {}}})));
}

#[tokio::test]
async fn a_new_deployment_is_owned_as_in_kubernetes() {
    let client = Client::new();
    let made = client.post(&format!("{DEPLOYMENTS}?fieldManager=m"), &deployment("web", 1)).await.with(201);
    let container = json!({
        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
        "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
    });
    let spec = json!({
        "f:containers": {"k:{\"name\":\"c\"}": container}, "f:dnsPolicy": {}, "f:restartPolicy": {},
        "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
    });
    let wanted = json!({"f:spec": {
        "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": spec},
    }});
    assert_eq!(owners(&made), [fields("m/Update/", wanted)]);
}

#[tokio::test]
async fn owners_can_be_written_and_forgotten() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    for (at, reset) in [json!([]), json!([{}])].into_iter().enumerate() {
        apply(&client, &url, "fieldManager=me&force=true", &map(json!({"x": at.to_string()}))).await;
        let forgotten =
            client.patch(&url, MERGE, &json!({"metadata": {"managedFields": reset}})).await.with(200);
        assert_eq!(owners(&forgotten), [], "{reset}");
    }
    // Nobody owns anything, and who updates does not begin to.
    let updated = client.patch(&url, MERGE, &json!({"data": {"y": "1"}})).await.with(200);
    assert_eq!(owners(&updated), []);
    let applied = apply(&client, &url, "fieldManager=me", &map(json!({"z": "1"}))).await.with(200);
    let before = json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}});
    let mine = fields("me/Apply/", json!({"f:data": {"f:z": {}}}));
    assert_eq!(owners(&applied), [fields("before-first-apply/Update/", before), mine.clone()]);
    // As kubectl does when it takes over from itself: the list as a whole, on the revision it knows.
    let mut list = applied["metadata"]["managedFields"].clone();
    list.as_array_mut().unwrap().retain(|entry| entry["manager"] == "me");
    let operations = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": list},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": applied["metadata"]["resourceVersion"]},
    ]);
    let written = client.patch(&url, JSON_PATCH, &operations).await.with(200);
    assert_eq!(owners(&written), std::slice::from_ref(&mine));
    client.patch(&url, JSON_PATCH, &operations).await.with(409);
    // What cannot be read does not count.
    let broken = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Apply"}]}});
    assert_eq!(owners(&client.patch(&url, MERGE, &broken).await.with(200)), [mine]);
}

#[tokio::test]
async fn kubectl_takes_over_from_its_annotation() {
    let client = Client::new();
    let said = |value: &str| {
        let mut body = map(json!({"x": value, "y": "1"}));
        let text = format!("{}\n", body);
        body["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
        body
    };
    let url = format!("{MAPS}/a");
    client.post(&format!("{MAPS}?fieldManager=kubectl-client-side-apply"), &said("1")).await.with(201);
    let new = map(json!({"x": "2"}));
    let other = apply(&client, &url, "fieldManager=other", &new).await.with(409);
    let conflict =
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.x";
    assert_eq!(other["message"], conflict);
    let taken = apply(&client, &url, "fieldManager=kubectl", &new).await.with(200);
    assert_eq!(taken["data"], json!({"x": "2", "y": "1"}));
    let annotation = &taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let annotation: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(annotation, new, "the annotation says what was applied now");
    // What another changed since then conflicts.
    client.patch(&format!("{url}?fieldManager=e"), MERGE, &json!({"data": {"x": "3"}})).await.with(200);
    let refused = apply(&client, &url, "fieldManager=kubectl", &new).await.with(409);
    assert_eq!(refused["message"], "Apply failed with 1 conflict: conflict with \"e\" using v1: .data.x");
}

#[tokio::test]
async fn the_status_has_owners_of_its_own() {
    let client = Client::new();
    let url = format!("{DEPLOYMENTS}/web");
    apply(&client, &url, "fieldManager=me", &deployment("web", 1)).await.with(201);
    let before = owners(&client.get(&url).await.with(200));
    let mut body = deployment("web", 9);
    body["status"] = json!({"conditions": [{"type": "Mine", "status": "True"}]});
    // On the object the status says nothing, on the status the object does.
    let with_status = apply(
        &client,
        &url,
        "fieldManager=st",
        &json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"}, "status": body["status"]}),
    )
    .await
    .with(200);
    assert_eq!(owners(&with_status), before);
    let status_url = format!("{url}/status");
    let applied = apply(&client, &status_url, "fieldManager=st", &body).await.with(200);
    assert_eq!(applied["spec"]["replicas"], 1);
    let condition =
        json!({"f:conditions": {"k:{\"type\":\"Mine\"}": {".": {}, "f:status": {}, "f:type": {}}}});
    let own = fields("st/Apply/status", json!({"f:status": condition}));
    assert_eq!(owners(&applied), [before.clone(), vec![own.clone()]].concat());
    body["status"]["conditions"][0]["status"] = "False".into();
    let refused = apply(&client, &status_url, "fieldManager=other", &body).await.with(409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"st\" with subresource \"status\": .status.conditions[type=\"Mine\"].status"
    );
    let patch = json!({"status": {"observedGeneration": 7}, "spec": {"replicas": 5}});
    let patched = client.patch(&format!("{status_url}?fieldManager=p"), MERGE, &patch).await.with(200);
    assert_eq!(
        owners(&patched)[1],
        fields("p/Update/status", json!({"f:status": {"f:observedGeneration": {}}}))
    );
    let missing = format!("{DEPLOYMENTS}/none/status");
    let mut none = body.clone();
    none["metadata"]["name"] = "none".into();
    apply(&client, &missing, "fieldManager=me", &none).await.with(404);
}

#[tokio::test]
async fn a_scale_owns_the_replicas_of_its_object() {
    let client = Client::new();
    let url = format!("{DEPLOYMENTS}/web");
    apply(&client, &url, "fieldManager=me", &deployment("web", 1)).await.with(201);
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    client
        .patch(&format!("{url}/scale?fieldManager=s"), MERGE, &json!({"spec": {"replicas": 2}}))
        .await
        .with(200);
    let scaled = client.get(&url).await.with(200);
    assert_eq!(owners(&scaled)[1], fields("s/Update/scale", replicas.clone()));
    assert!(owners(&scaled)[0].1["f:spec"].get("f:replicas").is_none());
    let refused = apply(&client, &url, "fieldManager=me", &deployment("web", 1)).await.with(409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"s\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let scale = |count: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": count}});
    let refused = apply(&client, &format!("{url}/scale"), "fieldManager=t", &scale(3)).await.with(409);
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.replicas");
    let applied =
        apply(&client, &format!("{url}/scale"), "fieldManager=t&force=true", &scale(3)).await.with(200);
    assert_eq!((&applied["kind"], &applied["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    let after = client.get(&url).await.with(200);
    assert_eq!(
        (owners(&after)[1].clone(), &after["spec"]["replicas"]),
        (fields("t/Apply/scale", replicas), &json!(3))
    );
}

#[tokio::test]
async fn times_tell_when_an_owner_changed_something() {
    let minutes = AtomicI64::new(0);
    let clock = Arc::new(move || minutes.fetch_add(1, Ordering::Relaxed) * 60_000);
    let client = Client::with(FeedLimits::default(), Options { clock, ..Options::default() });
    let times = |object: &Value| -> Vec<String> {
        let list = object["metadata"]["managedFields"].as_array().unwrap();
        list.iter().map(|entry| entry["time"].as_str().unwrap().to_owned()).collect()
    };
    let url = format!("{DEPLOYMENTS}/web");
    let mut web = deployment("web", 1);
    // Neither a zero nor a null is a change where nothing is.
    web["spec"]["minReadySeconds"] = 0.into();
    web["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    let made = apply(&client, &url, "fieldManager=me", &web).await.with(201);
    assert_eq!(times(&made), ["1970-01-01T00:00:00Z"]);
    let again = apply(&client, &url, "fieldManager=me", &web).await.with(200);
    assert_eq!(again, made);
    let body = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = client.patch(&format!("{url}?fieldManager=p"), MERGE, &body).await.with(200);
    assert_eq!(times(&patched), ["1970-01-01T00:00:00Z", "1970-01-01T00:02:00Z"]);
    let again = client.patch(&format!("{url}?fieldManager=p"), MERGE, &body).await.with(200);
    assert_eq!(again, patched);
    web["spec"]["replicas"] = 2.into();
    let changed = apply(&client, &url, "fieldManager=me", &web).await.with(200);
    assert_eq!(times(&changed), ["1970-01-01T00:04:00Z", "1970-01-01T00:02:00Z"]);
}

#[tokio::test]
async fn what_is_not_applied_stays_as_it_was_written() {
    let client = Client::new();
    // Zeros that say no more than nothing does.
    let mut web = deployment("web", 1);
    web["spec"]["minReadySeconds"] = 0.into();
    web["spec"]["template"]["spec"]["hostNetwork"] = false.into();
    web["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 0}]);
    let made = client.post(DEPLOYMENTS, &web).await.with(201);
    let metadata = json!({"name": "web", "labels": {"a": "b"}});
    let mut label = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata});
    let url = format!("{DEPLOYMENTS}/web");
    let applied = apply(&client, &url, "fieldManager=me", &label).await.with(200);
    assert_eq!((&applied["spec"], &applied["metadata"]["generation"]), (&made["spec"], &json!(1)));
    label["spec"] = json!({"template": {"spec": {"containers": [{"name": "c", "workingDir": "/"}]}}});
    let applied = apply(&client, &url, "fieldManager=me", &label).await.with(200);
    let spec = &applied["spec"]["template"]["spec"];
    let wanted = &made["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["ports"], wanted["containers"][0]["ports"]);
    assert_eq!((&container["workingDir"], &spec["hostNetwork"]), (&json!("/"), &wanted["hostNetwork"]));
    assert_eq!(applied["metadata"]["generation"], 2);
}

#[tokio::test]
async fn controllers_own_nothing() {
    let client = Client::new();
    client.memory.add_node("n1");
    let url = format!("{DEPLOYMENTS}/web");
    apply(&client, &url, "fieldManager=me", &deployment("web", 1)).await.with(201);
    while client.memory.step() {}
    let after = client.get(&url).await.with(200);
    assert!(after["status"]["observedGeneration"].is_number(), "its actor wrote its status: {after}");
    assert_eq!(owners(&after).len(), 1);
    let pods = client.get("/api/v1/namespaces/default/pods").await.with(200);
    assert_eq!(owners(&pods["items"][0]), []);
}

#[tokio::test]
async fn others_who_write_in_between_are_no_conflict() {
    let client = Client::new();
    let url = format!("{MAPS}/a");
    apply(&client, &url, "fieldManager=me", &map(json!({"x": "1"}))).await.with(201);
    client.memory.disturb.store(3, Ordering::Relaxed);
    let applied = apply(&client, &url, "fieldManager=me", &map(json!({"x": "2"}))).await.with(200);
    assert_eq!(applied["data"]["x"], "2");
    assert!(applied["metadata"]["annotations"]["disturbed"].is_string(), "the others' write is still there");
}

/// Lets everybody do anything but create.
struct NoCreate;

impl Authorizer for NoCreate {
    fn allows(&self, _: &User, access: &Access<'_>, _: &State) -> bool {
        access.verb != "create"
    }
}

#[tokio::test]
async fn what_is_missing_is_made_only_by_who_may_create() {
    let client =
        Client::with(FeedLimits::default(), Options { authorizer: Arc::new(NoCreate), ..Options::default() });
    let refused = apply(&client, &format!("{MAPS}/a"), "fieldManager=me", &map(json!({}))).await.with(403);
    assert!(
        refused["message"].as_str().unwrap().contains("cannot create resource \"configmaps\""),
        "{refused}"
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"a": "b"}}});
    apply(&client, "/api/v1/namespaces/default", "fieldManager=me", &namespace).await.with(200);
}
