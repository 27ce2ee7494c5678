//! Kinds that are stored for now: each from a manifest as people write it, in JSON and in protobuf, read back with its
//! defaults, printed, applied again without a change, and refused in Kubernetes' words when it is wrong.

mod admission;
mod autoscalers;
mod cluster;
pub(crate) mod encode;
mod events;
mod flow;
mod rbac;
mod storage;
mod volumes;
mod workloads;

use serde_json::{Value, json};

use crate::client::{Client, cells};

/// A path of a namespaced kind of a group.
pub(super) fn namespaced(group: &str, plural: &str) -> String {
    if group.is_empty() {
        return format!("/api/v1/namespaces/default/{plural}");
    }
    format!("/apis/{group}/v1/namespaces/default/{plural}")
}

/// Another document: values at JSON pointers, null takes away.
pub(super) fn with(manifest: &Value, edits: &[(&str, Value)]) -> Value {
    let mut value = manifest.clone();
    for (pointer, new) in edits {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {pointer}"));
        match (parent, new) {
            (Value::Object(map), Value::Null) => drop(map.remove(key)),
            (Value::Object(map), new) => drop(map.insert(key.to_owned(), new.clone())),
            (Value::Array(list), new) if key == "-" => list.push(new.clone()),
            (parent, new) => parent[key.parse::<usize>().unwrap()] = new.clone(),
        }
    }
    value
}

/// What a client asked for and the server completed: without metadata, without times, and without the uid in a job's labels.
fn content(object: &Value) -> String {
    let mut object = object.clone();
    for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    if object["status"]["startTime"].is_string() {
        object["status"]["startTime"] = Value::Null;
    }
    if object["status"]["lastPhaseTransitionTime"].is_string() {
        object["status"]["lastPhaseTransitionTime"] = Value::Null;
    }
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    object.as_object_mut().unwrap().remove("metadata");
    object.to_string().replace(&uid, "UID")
}

/// Of these kinds nothing is missing.
const ACTORS: [&str; 20] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CronJob",
    "DaemonSet",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "Job",
    "LimitRange",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "PriorityLevelConfiguration",
    "ReplicationController",
    "RuntimeClass",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "ServiceCIDR",
    "StorageClass",
    "StatefulSet",
];

/// Creates an object in both encodings, and checks all that is said above. Columns as `Head` or `Head*` for a wide one,
/// each with its cell; null for one that is not looked at.
pub(super) async fn stored(
    client: &Client,
    url: &str,
    manifest: &Value,
    defaults: &[(&str, Value)],
    table: &[(&str, Value)],
) -> Value {
    let media = [("content-type", "application/vnd.kubernetes.protobuf")];
    let by_protobuf = client.raw("POST", url, &media, encode::body(manifest)).await.with(201);
    client.delete(&format!("{url}/{}", manifest["metadata"]["name"].as_str().unwrap())).await.with(200);
    let answer = client.post(url, manifest).await;
    assert_eq!(answer.code, 201, "{}", String::from_utf8_lossy(&answer.bytes));
    let warning = answer.headers.get("warning").map(|warning| warning.to_str().unwrap().to_owned());
    let object = answer.json();
    match warning {
        Some(warning) => {
            // What is missing, or where it is not.
            let says = [" yet", " only"].iter().any(|word| warning.contains(word));
            assert!(warning.starts_with("299 - \"") && says, "{warning}");
        }
        None => assert!(ACTORS.contains(&object["kind"].as_str().unwrap()), "nobody says what is missing"),
    }
    assert_eq!(content(&by_protobuf), content(&object), "by protobuf");
    for (pointer, expected) in defaults {
        assert_eq!(object.pointer(pointer).unwrap_or(&Value::Null), expected, "{pointer} of {object}");
    }
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let own = format!("{url}/{name}");
    assert_eq!(client.get(&own).await.with(200), object);
    let shown = client.table(&own).await;
    let columns = shown["columnDefinitions"].as_array().unwrap();
    let heads: Vec<String> = columns[1..]
        .iter()
        .map(|c| format!("{}{}", c["name"].as_str().unwrap(), if c["priority"] == 1 { "*" } else { "" }))
        .collect();
    assert_eq!(heads, table.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>());
    for ((head, expected), cell) in table.iter().zip(&cells(&shown)[1..]) {
        assert!(expected.is_null() || expected == cell, "{head}: {cell} instead of {expected}");
    }
    // Applied as it was, it does not change. (A job cannot be: what was generated would be missing.)
    if object["kind"] == "Job" {
        return object;
    }
    // Who puts an object without the finalizers that protect it takes them away, until they are set again.
    let kept = ["resourceVersion", "finalizers"]
        .map(|field| (format!("/metadata/{field}"), object["metadata"][field].clone()));
    let again = with(manifest, &kept.each_ref().map(|(pointer, value)| (pointer.as_str(), value.clone())));
    let same = client.put(&own, &again).await.with(200);
    assert_eq!(same, object, "applied again");
    object
}

/// Checks that a new object with these edits is refused with just these causes: field, and a part of the message.
pub(super) async fn refused(
    client: &Client,
    url: &str,
    manifest: &Value,
    edits: &[(&str, Value)],
    causes: &[(&str, &str)],
) {
    let body = with(manifest, &[edits, &[("/metadata/name", json!("refused"))]].concat());
    check(&client.post(url, &body).await.with(422), causes);
}

/// Checks that an update with these edits is refused with just these causes.
pub(super) async fn fixed(
    client: &Client,
    url: &str,
    object: &Value,
    edits: &[(&str, Value)],
    causes: &[(&str, &str)],
) {
    let own = format!("{url}/{}", object["metadata"]["name"].as_str().unwrap());
    check(&client.put(&own, &with(object, edits)).await.with(422), causes);
}

fn check(status: &Value, causes: &[(&str, &str)]) {
    let told = status["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = told.iter().map(|c| c["field"].as_str().unwrap()).collect();
    assert_eq!(fields, causes.iter().map(|(field, _)| *field).collect::<Vec<_>>(), "{status}");
    for ((_, part), cause) in causes.iter().zip(told) {
        assert!(cause["message"].as_str().unwrap().contains(part), "{part:?} in {cause}");
    }
}

/// Changes of what an object asks for are counted, others are not.
#[tokio::test]
async fn generations_count_what_is_asked_for() {
    let client = Client::new();
    let url = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let made = client.post(url, &admission::webhooks("ValidatingWebhookConfiguration")).await.with(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let own = format!("{url}/guards");
    let labelled =
        with(&made, &[("/metadata/labels", json!({"a": "b"})), ("/metadata/resourceVersion", Value::Null)]);
    assert_eq!(client.put(&own, &labelled).await.with(200)["metadata"]["generation"], 1);
    let ignored = with(&labelled, &[("/webhooks/0/failurePolicy", json!("Ignore"))]);
    assert_eq!(client.put(&own, &ignored).await.with(200)["metadata"]["generation"], 2);
}

/// Every kind that is only stored says so, and says it in a way that a warning can carry.
#[test]
fn what_is_missing_is_said() {
    use kontiki_api::resource::{Behaviour, Strategy};
    for kind in kontiki_actors::Kind::all() {
        if let Behaviour::Data(missing) = Strategy::of(kind).behaviour {
            assert!(missing.len() < 200 && missing.is_ascii(), "{missing}");
        }
    }
}
