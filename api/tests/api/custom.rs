//! Custom resources: definitions, and the objects of their kinds, which are served like all others.

use kontiki_api::{FeedLimits, Options};
use serde_json::{Value, json};

use crate::client::{Client, MERGE, TABLE, cells, peer, revision};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/backups.example.com";
pub(crate) const BACKUPS: &str = "/apis/example.com/v1/namespaces/default/backups";
pub(crate) const OLDER: &str = "/apis/example.com/v1beta1/namespaces/default/backups";
const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["schedule"], "properties": {
            "schedule": {"type": "string", "pattern": "^(\\S+ ){4}\\S+$", "description": "When, as cron has it."},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 10, "default": 1},
            "keep": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "paused": {"type": "boolean"},
            "targets": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "path": {"type": "string"}, "port": {"type": "integer", "default": 80}}}},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "order": {"type": "array", "items": {"type": "string"}},
            "options": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        }},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "selector": {"type": "string"},
            "phase": {"type": "string", "enum": ["Waiting", "Done"]},
            "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type"], "properties": {
                    "type": {"type": "string"}, "status": {"type": "string"}}}},
        }},
    }})
}

/// A definition with two versions, of which the older is deprecated and tells less.
fn definition() -> Value {
    let subresources = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    let columns = json!([
        {"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule", "description": "When it runs."},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Paused", "type": "boolean", "jsonPath": ".spec.paused", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "backups.example.com"},
    "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "backups", "kind": "Backup", "shortNames": ["bk"], "categories": ["all", "data"]},
        "versions": [
            {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                "schema": {"openAPIV3Schema": schema()}, "subresources": subresources},
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema()},
                "subresources": subresources, "additionalPrinterColumns": columns,
                "selectableFields": [{"jsonPath": ".spec.schedule"}, {"jsonPath": ".spec.paused"}]},
            {"name": "v2", "served": false, "storage": false, "schema": {"openAPIV3Schema": schema()}},
        ]}})
}

pub(crate) fn backup(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Backup", "metadata": {"name": name},
        "spec": {"schedule": "0 3 * * *"}})
}

pub(crate) async fn defined() -> Client {
    let client = Client::new();
    define(&client).await;
    client
}

/// Defines backups.
pub(crate) async fn define(client: &Client) {
    client.post(DEFINITIONS, &definition()).await.with(201);
}

fn causes(status: &Value) -> Vec<String> {
    let all = status["details"]["causes"].as_array().unwrap();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|c| format!("{} {}: {}", text(c, "reason"), text(c, "field"), text(c, "message")))
        .collect()
}

/// A definition with one thing changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut changed = definition();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    changed
}

#[tokio::test]
async fn a_definition_is_completed_and_served_at_once() {
    let client = Client::new();
    client.get(BACKUPS).await.with(404);
    let made = client.post(DEFINITIONS, &definition()).await.with(201);
    let names = &made["spec"]["names"];
    assert_eq!((&names["singular"], &names["listKind"]), (&json!("backup"), &json!("BackupList")));
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made["status"]["acceptedNames"], *names);
    let conditions = made["status"]["conditions"].as_array().unwrap();
    let holds: Vec<(&Value, &Value)> = conditions.iter().map(|c| (&c["type"], &c["status"])).collect();
    assert_eq!(holds, [(&json!("NamesAccepted"), &json!("True")), (&json!("Established"), &json!("True"))]);
    let list = client.get(BACKUPS).await.with(200);
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("BackupList"), &json!("example.com/v1")));
    client.get("/apis/example.com/v2/backups").await.with(404);
    let table = client.table(DEFINITION).await;
    assert_eq!(cells(&table)[0], "backups.example.com");
    assert_eq!(table["columnDefinitions"][1]["name"], "Created At");
}

#[tokio::test]
async fn definitions_are_checked_as_kubernetes_checks_them() {
    let client = Client::new();
    for (changed, said) in [
        (
            with("/metadata/name", json!("other.example.com")),
            "FieldValueInvalid metadata.name: Invalid value: \"other.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            with("/spec/scope", json!("World")),
            "FieldValueNotSupported spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            with("/spec/preserveUnknownFields", json!(true)),
            "FieldValueInvalid spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ),
        (
            with("/spec/versions/0/storage", json!(true)),
            "FieldValueInvalid spec.versions: Invalid value: [\"v1beta1\",\"v1\",\"v2\"]: must have exactly one version marked as storage version",
        ),
        (
            with("/spec/versions/0/name", json!("v1")),
            "FieldValueInvalid spec.versions: Invalid value: [\"v1\",\"v1\",\"v2\"]: must contain unique version names",
        ),
        (
            with("/spec/versions/0/schema", json!({})),
            "FieldValueRequired spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            with(
                "/spec/versions/0/schema/openAPIV3Schema",
                json!({"type": "object", "properties": {"spec": {}}}),
            ),
            "FieldValueRequired spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            with(
                "/spec/conversion",
                json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}),
            ),
            "FieldValueRequired spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            with("/spec/names/listKind", json!("Back_ups")),
            "FieldValueInvalid spec.names.listKind: Invalid value: \"Back_ups\": may have mixed case",
        ),
        (
            with("/spec/versions/1/additionalPrinterColumns/0/jsonPath", json!("spec")),
            "FieldValueInvalid spec.versions[1].additionalPrinterColumns[0].jsonPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ),
        (
            with("/spec/versions/1/additionalPrinterColumns/0/type", json!("text")),
            "FieldValueInvalid spec.versions[1].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            with("/spec/versions/1/subresources/scale/specReplicasPath", json!(".status.x")),
            "FieldValueInvalid spec.versions[1].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
        ),
        (
            with("/spec/versions/1/selectableFields/0/jsonPath", json!(".spec.targets")),
            "FieldValueInvalid spec.versions[1].selectableFields[0].jsonPath: Invalid value: \".spec.targets\": must point to a field of type string, boolean or integer.",
        ),
        (
            with("/spec/versions/1/deprecationWarning", json!("old")),
            "FieldValueInvalid spec.versions[1].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions",
        ),
    ] {
        let told = causes(&client.post(DEFINITIONS, &changed).await.with(422));
        assert!(told.len() == 1 && told[0].starts_with(said), "{told:#?}\n{said}");
    }
    let grouped = |group: &str, approved: Option<&str>| {
        let mut changed = with("/spec/group", json!(group));
        changed["metadata"]["name"] = format!("backups.{group}").into();
        if let Some(approved) = approved {
            changed["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": approved});
        }
        changed
    };
    for (group, approved, said) in [
        ("example", None, "spec.group: Invalid value: \"example\": should be a domain with at least one dot"),
        (
            "rbac.authorization.k8s.io",
            Some("unapproved, a test"),
            "spec.group: Invalid value: \"rbac.authorization.k8s.io\": is a group that the cluster itself serves",
        ),
        (
            "gateway.networking.k8s.io",
            None,
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see",
        ),
    ] {
        let told = causes(&client.post(DEFINITIONS, &grouped(group, approved)).await.with(422));
        assert!(told.len() == 1 && told[0].contains(said), "{told:#?}");
    }
    let approved = "https://github.com/kubernetes-sigs/gateway-api/pull/3328";
    client.post(DEFINITIONS, &grouped("gateway.networking.k8s.io", Some(approved))).await.with(201);
}

#[tokio::test]
async fn what_a_definition_may_not_change() {
    let client = defined().await;
    let now = client.get(DEFINITION).await.with(200);
    for (pointer, value, field) in [
        ("/spec/scope", json!("Cluster"), "spec.scope"),
        ("/spec/names/kind", json!("Copy"), "spec.names.kind"),
    ] {
        let mut changed = now.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let told = causes(&client.put(DEFINITION, &changed).await.with(422));
        assert!(told[0].contains(field) && told[0].contains("field is immutable"), "{told:?}");
    }
    let mut gone = now.clone();
    gone["spec"]["versions"].as_array_mut().unwrap().remove(1);
    gone["spec"]["versions"][0]["storage"] = true.into();
    let told = causes(&client.put(DEFINITION, &gone).await.with(422));
    assert!(
        told[0].contains("status.storedVersions[0]") && told[0].contains("missing from spec.versions"),
        "{told:?}"
    );
    let mut unnamed = now.clone();
    unnamed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let told = causes(&client.put(DEFINITION, &unnamed).await.with(422));
    assert!(told[0].contains("must be specified for an update"), "{told:?}");
    // Its generation counts what it asks for; the status is its own.
    let mut more = now;
    more["spec"]["versions"][2]["served"] = true.into();
    more["status"] = json!({});
    let changed = client.put(DEFINITION, &more).await.with(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed["status"]["storedVersions"], json!(["v1"]));
    client.get("/apis/example.com/v2/backups").await.with(200);
    // What is empty says something here.
    let mut apart = changed;
    apart["spec"]["versions"][2]["subresources"] = json!({"status": {}});
    assert_eq!(client.put(DEFINITION, &apart).await.with(200)["metadata"]["generation"], 3);
    assert!(client.get("/apis/example.com/v2").await.bytes.windows(14).any(|part| part == b"backups/status"));
}

#[tokio::test]
async fn objects_live_as_all_others_do() {
    let client = defined().await;
    let made = client.post(BACKUPS, &backup("a")).await.with(201);
    assert_eq!((&made["apiVersion"], &made["kind"]), (&json!("example.com/v1"), &json!("Backup")));
    assert_eq!(
        (&made["metadata"]["generation"], &made["metadata"]["namespace"]),
        (&json!(1), &json!("default"))
    );
    assert_eq!(made["spec"], json!({"schedule": "0 3 * * *", "replicas": 1}), "completed");
    assert_eq!(client.post(BACKUPS, &backup("a")).await.with(409)["reason"], "AlreadyExists");
    let own = format!("{BACKUPS}/a");
    assert_eq!(client.get(&own).await.with(200), made);
    let mut newer = made.clone();
    newer["spec"]["paused"] = true.into();
    let changed = client.put(&own, &newer).await.with(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(client.put(&own, &newer).await.with(409)["reason"], "Conflict");
    let mut unlocked = changed.clone();
    unlocked["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert!(
        causes(&client.put(&own, &unlocked).await.with(422))[0].contains("must be specified for an update")
    );
    let labelled = client.patch(&own, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).await.with(200);
    assert_eq!(labelled["metadata"]["generation"], 2, "labels are not asked for");
    let again = client.patch(&own, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).await.with(200);
    assert_eq!(revision(&again), revision(&labelled), "nothing changed, so nothing was written");
    client.post("/apis/example.com/v1/namespaces/gone/backups", &backup("a")).await.with(404);
    let all = client.get("/apis/example.com/v1/backups").await.with(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    let generated = json!({"metadata": {"generateName": "x-"}, "spec": {"schedule": "* * * * *"}});
    client.post(BACKUPS, &generated).await.with(201);
    client.delete(&own).await.with(200);
    assert_eq!(client.get(&own).await.with(404)["message"], "backups.example.com \"a\" not found");
    client.delete(BACKUPS).await.with(200);
    assert_eq!(client.get(BACKUPS).await.with(200)["items"], json!([]));
}

#[tokio::test]
async fn a_version_is_a_name_only() {
    let client = defined().await;
    let mut older = backup("a");
    older["apiVersion"] = "example.com/v1beta1".into();
    let answer = client.raw("POST", OLDER, &[], older.to_string()).await;
    assert_eq!(answer.headers["warning"], "299 - \"example.com/v1beta1 Backup is deprecated\"");
    let made = answer.with(201);
    assert_eq!(made["apiVersion"], "example.com/v1beta1");
    let newer = client.get(&format!("{BACKUPS}/a")).await.with(200);
    assert_eq!((&newer["apiVersion"], &newer["spec"]), (&json!("example.com/v1"), &made["spec"]));
    let mut watch = client.watch(&format!("{OLDER}?watch"), "application/json").await;
    assert_eq!(watch.next().await.unwrap()["object"]["apiVersion"], "example.com/v1beta1");
    client.patch(&format!("{BACKUPS}/a"), MERGE, &json!({"spec": {"paused": true}})).await.with(200);
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["apiVersion"]),
        (&json!("MODIFIED"), &json!("example.com/v1beta1"))
    );
    // What somebody owned in one version, he owns in the other.
    let managers = &event["object"]["metadata"]["managedFields"];
    let versions: Vec<&Value> = managers.as_array().unwrap().iter().map(|m| &m["apiVersion"]).collect();
    assert_eq!(versions, ["example.com/v1", "example.com/v1beta1"]);
    let wrong = client.post(BACKUPS, &older).await.with(400);
    assert!(
        wrong["message"].as_str().unwrap().contains("does not match the expected API version"),
        "{wrong}"
    );
}

#[tokio::test]
async fn what_is_not_declared_goes() {
    let client = defined().await;
    let mut odd = backup("a");
    odd["spec"]["schedul"] = "x".into();
    odd["spec"]["options"] = json!({"any": {"thing": [1]}});
    odd["spec"]["template"] =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"y": 1}});
    odd["spec"]["targets"] = json!([{"name": "t", "pth": "/"}]);
    odd["metadata"]["odd"] = 1.into();
    odd["top"] = 1.into();
    let answer = client.raw("POST", BACKUPS, &[], odd.to_string()).await;
    let warnings: Vec<&str> = answer.headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    let mut told: Vec<String> = ["metadata.odd", "spec.schedul", "spec.targets[0].pth", "top"]
        .map(|f| format!("299 - \"unknown field \\\"{f}\\\"\""))
        .to_vec();
    told.sort();
    let mut warnings: Vec<String> = warnings.iter().map(|w| (*w).to_owned()).collect();
    warnings.sort();
    assert_eq!(warnings, told);
    let made = answer.with(201);
    assert_eq!(made["spec"]["options"], odd["spec"]["options"]);
    assert_eq!(made["spec"]["template"], odd["spec"]["template"]);
    assert_eq!(made["spec"]["targets"], json!([{"name": "t", "port": 80}]));
    assert_eq!(
        (&made["spec"]["schedul"], &made["top"], &made["metadata"]["odd"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    odd["metadata"]["name"] = "b".into();
    let strict = client.post(&format!("{BACKUPS}?fieldValidation=Strict"), &odd).await.with(400);
    let message = strict["message"].as_str().unwrap();
    assert!(message.contains("strict decoding error: unknown field \"metadata.odd\""), "{message}");
    let quiet = client.raw("POST", &format!("{BACKUPS}?fieldValidation=Ignore"), &[], odd.to_string()).await;
    assert!(quiet.headers.get("warning").is_none());
    let twice = r#"{"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "schedule": "0 * * * *"}}"#;
    let refused =
        client.raw("POST", &format!("{BACKUPS}?fieldValidation=Strict"), &[], twice).await.with(400);
    assert!(refused["message"].as_str().unwrap().contains("duplicate field \"spec.schedule\""), "{refused}");
    let yaml = "\napiVersion: example.com/v1\nkind: Backup\nmetadata:\n  name: d\nspec:\n  schedule: \"* * * * *\"\n  schedule: \"0 * * * *\"\n";
    let told = "line 8: key \"schedule\" already set in map";
    let send = async |method: &str, url: &str, media: &str, how: &str| {
        let mark = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{mark}fieldValidation={how}");
        client.raw(method, &url, &[("content-type", media)], yaml.to_owned()).await
    };
    let applied = format!("{BACKUPS}/d?fieldManager=me");
    for (method, url, media, code) in
        [("PATCH", applied.as_str(), APPLY, 200), ("POST", BACKUPS, "application/yaml", 201)]
    {
        let refused = send(method, url, media, "Strict").await.with(400);
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(&format!("yaml: unmarshal errors:\n  {told}")), "{message}");
        if method == "PATCH" {
            send(method, url, media, "Ignore").await.with(201);
        }
        let warned = send(method, url, media, "Warn").await;
        let warnings = warned.headers.get_all("warning").iter().map(|w| w.to_str().unwrap());
        assert!(warnings.into_iter().any(|w| w.contains("line 8: key")), "{method}");
        let made = warned.with(code);
        assert_eq!(made["spec"]["schedule"], "0 * * * *");
        client.delete(&format!("{BACKUPS}/d")).await.with(200);
    }
}

#[tokio::test]
async fn nulls_say_nothing_where_none_may_be() {
    let client = defined().await;
    let mut object = backup("a");
    object["spec"]["paused"] = Value::Null;
    object["spec"]["replicas"] = Value::Null;
    object["spec"]["labels"] = json!({"x": null});
    let made = client.post(BACKUPS, &object).await.with(201);
    assert_eq!(made["spec"], json!({"schedule": "0 3 * * *", "replicas": 1, "labels": {}}));
    object["spec"]["schedule"] = Value::Null;
    let told = causes(&client.post(BACKUPS, &object).await.with(422));
    assert_eq!(told, ["FieldValueRequired spec.schedule: Required value"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_as_kubernetes_tells_it() {
    let client = defined().await;
    let mut wrong = backup("a");
    wrong["spec"] =
        json!({"replicas": 11, "paused": "no", "keep": true, "targets": [{"name": "x"}, {"path": "y"}]});
    let status = client.post(BACKUPS, &wrong).await.with(422);
    let mut told = causes(&status);
    told.sort();
    assert_eq!(
        told,
        [
            "FieldValueInvalid <nil>: Invalid value: \"\": \"spec.keep\" must validate at least one schema (anyOf)",
            "FieldValueInvalid spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            "FieldValueRequired spec.schedule: Required value",
            "FieldValueRequired spec.targets[1].name: Required value",
            "FieldValueTypeInvalid spec.keep: Invalid value: \"boolean\": spec.keep in body must be of type integer,string: \"boolean\"",
            "FieldValueTypeInvalid spec.keep: Invalid value: \"boolean\": spec.keep in body must be of type integer: \"boolean\"",
            "FieldValueTypeInvalid spec.paused: Invalid value: \"string\": spec.paused in body must be of type boolean: \"string\"",
        ]
    );
    assert_eq!(
        (&status["details"]["kind"], &status["details"]["group"]),
        (&json!("Backup"), &json!("example.com"))
    );
    assert!(
        status["message"].as_str().unwrap().starts_with("Backup.example.com \"a\" is invalid: ["),
        "{status}"
    );
    client.post(BACKUPS, &backup("a")).await.with(201);
    let patch = json!({"spec": {"schedule": "never"}});
    let told = causes(&client.patch(&format!("{BACKUPS}/a"), MERGE, &patch).await.with(422));
    assert_eq!(
        told,
        [
            "FieldValueInvalid spec.schedule: Invalid value: \"never\": spec.schedule in body should match '^(\\S+ ){4}\\S+$'"
        ]
    );
}

#[tokio::test]
async fn each_patch_that_kubernetes_takes() {
    let client = defined().await;
    client.post(BACKUPS, &backup("a")).await.with(201);
    let own = format!("{BACKUPS}/a");
    let steps = json!([{"op": "add", "path": "/spec/tags", "value": ["a"]}, {"op": "test", "path": "/kind", "value": "Backup"}]);
    assert_eq!(client.patch(&own, JSON_PATCH, &steps).await.with(200)["spec"]["tags"], json!(["a"]));
    let merged = client.patch(&own, MERGE, &json!({"spec": {"tags": null, "odd": 1}})).await.with(200);
    assert_eq!((&merged["spec"]["tags"], &merged["spec"]["odd"]), (&Value::Null, &Value::Null));
    let strategic = client.patch(&own, STRATEGIC, &json!({"spec": {"paused": true}})).await.with(415);
    assert_eq!(
        strategic["message"],
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
         application/merge-patch+json, application/apply-patch+yaml"
    );
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    client.raw("POST", BACKUPS, &protobuf, "k8s\0").await.with(415);
    // No definition says how its objects are said in protobuf.
    let first = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    assert_eq!(client.raw("GET", &own, &first, "").await.with(200)["kind"], "Backup");
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    for uri in [&own, BACKUPS, &format!("{BACKUPS}?watch=true")] {
        client.raw("GET", uri, &only, "").await.with(406);
    }
    let yaml =
        "apiVersion: example.com/v1\nkind: Backup\nmetadata: {name: b}\nspec: {schedule: '* * * * *'}\n";
    client.raw("POST", BACKUPS, &[("content-type", "application/yaml")], yaml).await.with(201);
}

/// A backup of so many levels, the last of which is an object with a number in it.
fn deep(name: &str, levels: usize) -> Value {
    let mut object = backup(name);
    // It stands in an object in an object.
    object["spec"]["options"] = (0..levels - 2).fold(json!(1), |value, _| json!({ "a": value }));
    object
}

#[tokio::test]
async fn no_object_is_deeper_than_it_can_be_read_back() {
    let client = defined().await;
    let media = [("content-type", "application/yaml")];
    // JSON is YAML, too.
    for (name, yaml) in [("a", true), ("b", false)] {
        let send = |object: Value| {
            let headers = if yaml { &media[..] } else { &[] };
            let client = &client;
            async move { client.raw("POST", BACKUPS, headers, object.to_string()).await }
        };
        let refused = send(deep(name, 65)).await.with(400);
        assert!(refused["message"].as_str().unwrap().contains("exceeded max depth of 64"), "{refused}");
        let made = send(deep(name, 64)).await.with(201);
        assert_eq!(made["spec"]["options"], deep(name, 64)["spec"]["options"]);
        let own = format!("{BACKUPS}/{name}");
        let labelled =
            client.patch(&own, MERGE, &json!({"metadata": {"labels": {"x": "y"}}})).await.with(200);
        assert_eq!((&labelled["spec"], &labelled["metadata"]["labels"]["x"]), (&made["spec"], &json!("y")));
        assert_eq!(client.get(&own).await.with(200), labelled);
        let owned = &labelled["metadata"]["managedFields"][0]["fieldsV1"];
        assert!(owned["f:spec"]["f:options"].is_object(), "whoever made it still owns it: {owned}");
    }
    let applied = |levels: usize| {
        let client = &client;
        async move { client.patch(&format!("{BACKUPS}/c?fieldManager=m"), APPLY, &deep("c", levels)).await }
    };
    let refused = applied(65).await.with(400);
    assert!(refused["message"].as_str().unwrap().contains("exceeded max depth of 64"), "{refused}");
    applied(64).await.with(201);
    let flow = format!("apiVersion: example.com/v1\nspec: {}1{}", "{a: ".repeat(64), "}".repeat(64));
    let url = format!("{BACKUPS}/d?fieldManager=m");
    let refused = client.raw("PATCH", &url, &[("content-type", APPLY)], flow).await.with(400);
    assert!(refused["message"].as_str().unwrap().contains("exceeded max depth of 64"), "{refused}");
}

#[tokio::test]
async fn a_json_patch_that_copies_a_value_into_itself_changes_nothing() {
    let client = defined().await;
    let mut object = backup("a");
    object["spec"]["options"] = json!({"a": {}});
    let made = client.post(BACKUPS, &object).await.with(201);
    let own = format!("{BACKUPS}/a");
    // Each copy makes it twice as deep.
    let copy = |n: u32| {
        let end = format!("/spec/options{}", "/a".repeat(2_usize.pow(n) + 1));
        json!({"op": "copy", "from": "/spec/options/a", "path": end})
    };
    let patched = client.patch(&own, JSON_PATCH, &(0..16).map(copy).collect()).await.with(422);
    assert!(patched["message"].as_str().unwrap().contains("deeper than 64 levels"), "{patched}");
    assert_eq!(client.get(&own).await.with(200), made);
    let few = client.patch(&own, JSON_PATCH, &(0..3).map(copy).collect()).await.with(200);
    assert!(few.pointer(&format!("/spec/options{}", "/a".repeat(8))).is_some());
}

#[tokio::test]
async fn the_status_is_written_apart() {
    let client = defined().await;
    let mut object = backup("a");
    object["status"] = json!({"phase": "Done"});
    let made = client.post(BACKUPS, &object).await.with(201);
    assert_eq!(made["status"], Value::Null);
    let own = format!("{BACKUPS}/a");
    let done = client.patch(&own, MERGE, &json!({"status": {"phase": "Done"}})).await.with(200);
    assert_eq!(revision(&done), revision(&made), "nothing but the status was told");
    let below = format!("{own}/status");
    let patch = json!({"status": {"phase": "Done", "odd": 1}, "spec": {"paused": true}, "metadata": {"labels": {"a": "b"}}});
    let done = client.patch(&below, MERGE, &patch).await.with(200);
    assert_eq!((&done["status"], &done["metadata"]["generation"]), (&json!({"phase": "Done"}), &json!(1)));
    assert_eq!((&done["spec"]["paused"], &done["metadata"]["labels"]), (&Value::Null, &Value::Null));
    let told = causes(&client.patch(&below, MERGE, &json!({"status": {"phase": "Odd"}})).await.with(422));
    assert_eq!(
        told,
        [
            "FieldValueNotSupported status.phase: Unsupported value: \"Odd\": supported values: \"Waiting\", \"Done\""
        ]
    );
    let mut whole = client.get(&below).await.with(200);
    whole["status"]["phase"] = "Waiting".into();
    assert_eq!(client.put(&below, &whole).await.with(200)["status"]["phase"], "Waiting");
}

#[tokio::test]
async fn without_a_subresource_the_status_is_a_field_like_others() {
    let client = Client::new();
    let mut plain = definition();
    for version in plain["spec"]["versions"].as_array_mut().unwrap() {
        version.as_object_mut().unwrap().remove("subresources");
    }
    client.post(DEFINITIONS, &plain).await.with(201);
    let mut object = backup("a");
    object["status"] = json!({"phase": "Waiting"});
    let made = client.post(BACKUPS, &object).await.with(201);
    assert_eq!(made["status"]["phase"], "Waiting");
    let own = format!("{BACKUPS}/a");
    let changed = client.patch(&own, MERGE, &json!({"status": {"phase": "Done"}})).await.with(200);
    assert_eq!(
        (&changed["status"]["phase"], &changed["metadata"]["generation"]),
        (&json!("Done"), &json!(2))
    );
    client.get(&format!("{own}/status")).await.with(404);
    client.get(&format!("{own}/scale")).await.with(404);
}

#[tokio::test]
async fn replicas_are_scaled() {
    let client = defined().await;
    client.post(BACKUPS, &backup("a")).await.with(201);
    let own = format!("{BACKUPS}/a");
    client
        .patch(&format!("{own}/status"), MERGE, &json!({"status": {"replicas": 1, "selector": "a=b"}}))
        .await
        .with(200);
    let below = format!("{own}/scale");
    let mut scale = client.get(&below).await.with(200);
    assert_eq!(
        (&scale["kind"], &scale["spec"], &scale["status"]),
        (&json!("Scale"), &json!({"replicas": 1}), &json!({"replicas": 1, "selector": "a=b"}))
    );
    scale["spec"]["replicas"] = 3.into();
    assert_eq!(client.put(&below, &scale).await.with(200)["spec"]["replicas"], 3);
    let object = client.get(&own).await.with(200);
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(3), &json!(2)));
    assert_eq!(object["status"]["replicas"], 1, "the status stays");
    assert_eq!(
        client.patch(&below, MERGE, &json!({"spec": {"replicas": 4}})).await.with(200)["spec"]["replicas"],
        4
    );
    let told = causes(&client.patch(&below, MERGE, &json!({"spec": {"replicas": 11}})).await.with(422));
    assert!(told[0].contains("should be less than or equal to 10"), "{told:?}");
    // Whoever scaled owns the replicas.
    let conflict = json!({"apiVersion": "example.com/v1", "kind": "Backup", "metadata": {"name": "a"}, "spec": {"replicas": 2, "schedule": "0 3 * * *"}});
    let refused = client.patch(&format!("{own}?fieldManager=me"), APPLY, &conflict).await.with(409);
    assert_eq!(
        causes(&refused),
        [
            "FieldManagerConflict .spec.replicas: conflict with \"unknown\" with subresource \"scale\" using example.com/v1"
        ]
    );
}

#[tokio::test]
async fn apply_merges_by_what_the_schema_says_of_lists() {
    let client = defined().await;
    let apply = async |who: &str, spec: Value| {
        let body = json!({"apiVersion": "example.com/v1", "kind": "Backup", "metadata": {"name": "a"}, "spec": spec});
        client.patch(&format!("{BACKUPS}/a?fieldManager={who}"), APPLY, &body).await
    };
    let one = json!({"schedule": "0 3 * * *", "targets": [{"name": "x", "path": "/x"}], "tags": ["one"], "order": ["a"],
        "options": {"deep": {"a": 1}}, "labels": {"one": "1"}});
    let made = apply("one", one.clone()).await.with(201);
    assert_eq!(made["spec"]["replicas"], 1, "completed, and nobody's");
    let fields = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert_eq!(
        *fields,
        json!({"f:schedule": {}, "f:order": {}, "f:tags": {"v:\"one\"": {}}, "f:labels": {"f:one": {}},
            "f:options": {"f:deep": {".": {}, "f:a": {}}},
            "f:targets": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}, "f:path": {}}}})
    );
    let two = json!({"targets": [{"name": "y"}], "tags": ["two"], "options": {"deep": {"b": 2}}, "labels": {"two": "2"}});
    let merged = apply("two", two).await.with(200);
    assert_eq!(
        merged["spec"]["targets"],
        json!([{"name": "x", "path": "/x", "port": 80}, {"name": "y", "port": 80}])
    );
    assert_eq!(
        (&merged["spec"]["tags"], &merged["spec"]["options"]),
        (&json!(["one", "two"]), &json!({"deep": {"a": 1, "b": 2}}))
    );
    let refused =
        apply("two", json!({"order": ["b"], "targets": [{"name": "x", "path": "/z"}]})).await.with(409);
    assert_eq!(
        causes(&refused),
        [
            "FieldManagerConflict .spec.order: conflict with \"one\"",
            "FieldManagerConflict .spec.targets[name=\"x\"].path: conflict with \"one\""
        ]
    );
    // What nobody wants any more goes.
    let less = apply("two", json!({"tags": ["two"]})).await.with(200);
    assert_eq!(less["spec"]["targets"], json!([{"name": "x", "path": "/x", "port": 80}]));
    assert_eq!(less["spec"]["labels"], json!({"one": "1"}));
    let again = apply("one", one).await.with(200);
    assert_eq!(revision(&again), revision(&less), "nothing changed, so nothing was written");
    let unknown = apply("one", json!({"schedule": "0 3 * * *", "odd": 1})).await.with(400);
    assert!(
        unknown["message"].as_str().unwrap().contains(".spec.odd: field not declared in schema"),
        "{unknown}"
    );
    let status = json!({"apiVersion": "example.com/v1", "kind": "Backup", "metadata": {"name": "a"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let ready =
        client.patch(&format!("{BACKUPS}/a/status?fieldManager=three"), APPLY, &status).await.with(200);
    assert_eq!(ready["status"], status["status"]);
}

#[tokio::test]
async fn tables_have_the_columns_of_the_definition() {
    let client = defined().await;
    client.post(BACKUPS, &backup("a")).await.with(201);
    let ready = json!({"status": {"conditions": [{"type": "Live", "status": "False"}, {"type": "Ready", "status": "True"}]}});
    client.patch(&format!("{BACKUPS}/a/status"), MERGE, &ready).await.with(200);
    let table = client.table(BACKUPS).await;
    let columns = table["columnDefinitions"].as_array().unwrap();
    let told: Vec<(&str, &str, i64)> = columns
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["type"].as_str().unwrap(), c["priority"].as_i64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("Name", "string", 0),
            ("Schedule", "string", 0),
            ("Replicas", "integer", 0),
            ("Ready", "string", 0),
            ("Paused", "boolean", 1),
            ("Age", "date", 0)
        ]
    );
    assert_eq!(columns[1]["description"], "When it runs.");
    assert_eq!(cells(&table)[..5], [json!("a"), json!("0 3 * * *"), json!(1), json!("True"), Value::Null]);
    assert!(cells(&table)[5].as_str().unwrap().ends_with('s'));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let older = client.table(OLDER).await;
    assert_eq!(older["columnDefinitions"].as_array().unwrap().len(), 2, "name and age");
    let mut watch = client.watch(&format!("{BACKUPS}?watch&includeObject=Object"), TABLE).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["rows"][0]["cells"][1], "0 3 * * *");
    assert_eq!(event["object"]["rows"][0]["object"]["kind"], "Backup");
}

#[tokio::test]
async fn selectors_pages_and_watches() {
    let client = defined().await;
    for (name, schedule, paused) in
        [("a", "0 1 * * *", true), ("b", "0 2 * * *", false), ("c", "0 1 * * *", false)]
    {
        let mut object = backup(name);
        object["spec"]["schedule"] = schedule.into();
        object["spec"]["paused"] = paused.into();
        object["metadata"]["labels"] = json!({"name": name});
        client.post(BACKUPS, &object).await.with(201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let by = async |query: &str| names(&client.get(&format!("{BACKUPS}?{query}")).await.with(200));
    assert_eq!(by("fieldSelector=spec.schedule%3D0+1+*+*+*").await, ["a", "c"]);
    assert_eq!(by("fieldSelector=spec.paused%3Dtrue").await, ["a"]);
    assert_eq!(by("fieldSelector=metadata.name%3Db").await, ["b"]);
    assert_eq!(by("labelSelector=name+in+(a,b)").await, ["a", "b"]);
    client.get(&format!("{BACKUPS}?fieldSelector=spec.replicas%3D1")).await.with(400);
    client.get(&format!("{OLDER}?fieldSelector=spec.paused%3Dtrue")).await.with(400);
    let first = client.get(&format!("{BACKUPS}?limit=2")).await.with(200);
    let next = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(
        (names(&first), by(&format!("limit=2&continue={next}")).await),
        (vec!["a".into(), "b".into()], vec!["c".into()])
    );
    let mut watch = client
        .watch(
            &format!("{BACKUPS}?watch&resourceVersion={}&allowWatchBookmarks=true", revision(&first)),
            "application/json",
        )
        .await;
    client.config_map("other", json!({})).await;
    client.delete(&format!("{BACKUPS}/b")).await.with(200);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("b")));
    assert_eq!(revision(&event["object"]), client.memory.state().revision());
}

#[tokio::test]
async fn a_default_that_comes_later_is_seen_in_what_is_there() {
    let client = defined().await;
    client.post(BACKUPS, &backup("a")).await.with(201);
    let mut now = client.get(DEFINITION).await.with(200);
    now["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["paused"]["default"] =
        true.into();
    client.put(DEFINITION, &now).await.with(200);
    let read = client.get(&format!("{BACKUPS}/a")).await.with(200);
    assert_eq!(read["spec"]["paused"], true);
    assert_eq!(client.get(BACKUPS).await.with(200)["items"][0]["spec"]["paused"], true);
    assert_eq!(client.get(&format!("{OLDER}/a")).await.with(200)["spec"]["paused"], Value::Null);
    let mut watch = client.watch(&format!("{BACKUPS}?watch"), "application/json").await;
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["paused"], true);
}

#[tokio::test]
async fn they_are_discovered_and_documented() {
    let client = defined().await;
    let groups = client.get("/apis").await.with(200);
    let group = groups["groups"].as_array().unwrap().iter().find(|g| g["name"] == "example.com").unwrap();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let versions: Vec<&Value> = group["versions"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
    assert_eq!(versions, ["v1", "v1beta1"]);
    assert_eq!(
        client.get("/apis/example.com").await.with(200)["preferredVersion"]["groupVersion"],
        "example.com/v1"
    );
    let list = client.get("/apis/example.com/v1").await.with(200);
    let entries = list["resources"].as_array().unwrap();
    let names: Vec<&Value> = entries.iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["backups", "backups/status", "backups/scale"]);
    assert_eq!(
        (&entries[0]["shortNames"], &entries[0]["categories"]),
        (&json!(["bk"]), &json!(["all", "data"]))
    );
    assert_eq!(
        (&entries[0]["singularName"], &entries[2]["group"]),
        (&json!("backup"), &json!("autoscaling"))
    );
    let v2 = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = client.raw("GET", "/apis", &v2, "").await.with(200);
    let group =
        all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "example.com").unwrap();
    assert_eq!(group["versions"][0]["resources"][0]["responseKind"]["kind"], "Backup");
    let index = client.get("/openapi/v3").await.with(200);
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = client.get(&url).await.with(200);
    let schema = &document["components"]["schemas"]["com.example.v1.Backup"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["schedule"]["description"],
        "When, as cron has it."
    );
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Backup");
    // Whoever finds a strategic patch here sends one, and custom resources take none.
    for below in ["", "/status", "/scale"] {
        let path = format!("/apis/example.com/v1/namespaces/{{namespace}}/backups/{{name}}{below}");
        let content = document["paths"][&path]["patch"]["requestBody"]["content"].as_object().unwrap();
        let media: Vec<&str> = content.keys().map(|media| &media["application/".len()..]).collect();
        assert_eq!(media, ["apply-patch+yaml", "json-patch+json", "merge-patch+json"], "{path}");
    }
    let older = client.get("/openapi/v2").await.with(200);
    assert!(older["definitions"]["com.example.v1.Backup"]["properties"]["spec"].is_object());
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let older = client.raw("GET", "/openapi/v2", &protobuf, "").await;
    assert!(older.code == 200 && older.bytes.windows(18).any(|part| part == b"com.example.v1.Bac"));
    // What changes changes its address.
    let mut now = client.get(DEFINITION).await.with(200);
    now["spec"]["versions"][0]["served"] = false.into();
    client.put(DEFINITION, &now).await.with(200);
    let index = client.get("/openapi/v3").await.with(200);
    assert_ne!(index["paths"]["apis/example.com/v1"]["serverRelativeURL"], url.as_str());
    assert_eq!(index["paths"]["apis/example.com/v1beta1"], Value::Null);
    client.get("/apis/example.com/v1beta1").await.with(404);
    client.get(OLDER).await.with(404);
    client.delete(DEFINITION).await.with(200);
    client.get("/apis/example.com").await.with(404);
    assert_eq!(client.get("/openapi/v3").await.with(200)["paths"]["apis/example.com/v1"], Value::Null);
}

#[tokio::test]
async fn the_end_of_a_definition_is_that_of_its_objects() {
    let client = defined().await;
    client.post(BACKUPS, &backup("a")).await.with(201);
    let mut held = backup("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    client.post(BACKUPS, &held).await.with(201);
    let going = client.delete(DEFINITION).await.with(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    client.get(&format!("{BACKUPS}/a")).await.with(404);
    let refused = client.post(BACKUPS, &backup("b")).await.with(405);
    assert_eq!(refused["message"], "create not allowed while custom resource definition is terminating");
    client
        .patch(&format!("{BACKUPS}/held"), MERGE, &json!({"metadata": {"finalizers": null}}))
        .await
        .with(200);
    client.get(DEFINITION).await.with(404);
    client.get(BACKUPS).await.with(404);
    // The name is free again, for another kind of things.
    let mut other = definition();
    other["spec"]["scope"] = "Cluster".into();
    client.post(DEFINITIONS, &other).await.with(201);
    client.post("/apis/example.com/v1/backups", &backup("a")).await.with(201);
    client.get(BACKUPS).await.with(404);
}

#[tokio::test]
async fn roles_allow_them_by_name() {
    let client = defined().await;
    let rules = json!([{"apiGroups": ["example.com"], "resources": ["backups"], "verbs": ["get", "create"]}]);
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    client.post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &role).await.with(201);
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    client
        .post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding)
        .await
        .with(201);
    let jane = client.as_peer(Some(peer(kontiki_pki::Role::User, "jane", "devs")));
    jane.post(BACKUPS, &backup("a")).await.with(201);
    jane.get(&format!("{BACKUPS}/a")).await.with(200);
    let refused = jane.delete(&format!("{BACKUPS}/a")).await.with(403);
    assert_eq!(
        refused["message"],
        "backups.example.com \"a\" is forbidden: User \"jane\" cannot delete resource \"backups\" in API group \"example.com\" in the namespace \"default\""
    );
    // A path means what it was judged by.
    let master_only = BACKUPS.replace("backups", "back%75ps");
    jane.get(&format!("{master_only}/a")).await.with(403);
    client.get(&format!("{master_only}/a")).await.with(404);
    jane.patch(&format!("{BACKUPS}/a/status"), MERGE, &json!({"status": {}})).await.with(403);
    jane.get(BACKUPS).await.with(403);
}

#[tokio::test]
async fn a_controller_that_lags_finds_them_too() {
    let client = Client::with(FeedLimits::default(), Options::default());
    *client.memory.behind.lock() = Some(client.memory.state());
    client.post(DEFINITIONS, &definition()).await.with(201);
    client.get(BACKUPS).await.with(200);
    client.post(BACKUPS, &backup("a")).await.with(201);
    client.get("/apis/example.com/v1").await.with(200);
}

#[tokio::test]
async fn rules_are_run_and_said() {
    let client = Client::new();
    let mut ruled = definition();
    let spec = &mut ruled["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.paused) || !self.paused || self.replicas == 0", "message": "what is paused has no replicas"},
        {"rule": "self.schedule == oldSelf.schedule", "message": "the schedule stays", "reason": "FieldValueForbidden", "fieldPath": ".schedule"},
        {"rule": "url(self.schedule).getHost() == 'x'"},
    ]);
    let answer = client.raw("POST", DEFINITIONS, &[], ruled.to_string()).await;
    let warning = answer.headers["warning"].to_str().unwrap();
    assert!(warning.contains("is kept, but not evaluated: the function"), "{warning}");
    answer.with(201);
    client.post(BACKUPS, &backup("a")).await.with(201);
    let own = format!("{BACKUPS}/a");
    let told = causes(&client.patch(&own, MERGE, &json!({"spec": {"paused": true}})).await.with(422));
    assert_eq!(told, ["FieldValueInvalid spec: Invalid value: \"object\": what is paused has no replicas"]);
    let told =
        causes(&client.patch(&own, MERGE, &json!({"spec": {"schedule": "* * * * *"}})).await.with(422));
    assert_eq!(told, ["FieldValueForbidden spec.schedule: Forbidden: the schedule stays"]);
    client.patch(&own, MERGE, &json!({"spec": {"paused": true, "replicas": 0}})).await.with(200);
    let told = causes(
        &client.patch(&format!("{own}/scale"), MERGE, &json!({"spec": {"replicas": 1}})).await.with(422),
    );
    assert_eq!(told, ["FieldValueInvalid spec: Invalid value: \"object\": what is paused has no replicas"]);
    let told = causes(&client.patch(&own, MERGE, &json!({"spec": {"replicas": 12}})).await.with(422));
    assert_eq!(told.len(), 2, "{told:?}");
    let told = causes(&client.patch(&own, MERGE, &json!({"spec": {"replicas": "x"}})).await.with(422));
    assert!(
        told[1].starts_with(
            "FieldValueInvalid <nil>: Invalid value: \"null\": some validation rules were not checked"
        ),
        "{told:?}"
    );
    let wrong = with(
        "/spec/versions/1/schema/openAPIV3Schema",
        json!({"type": "object", "x-kubernetes-validations": [{"rule": "other.x"}]}),
    );
    let mut wrong = wrong;
    wrong["metadata"]["name"] = "others.example.com".into();
    wrong["spec"]["names"] = json!({"plural": "others", "kind": "Other"});
    wrong["spec"]["versions"][1].as_object_mut().unwrap().remove("selectableFields");
    let told = causes(&client.post(DEFINITIONS, &wrong).await.with(422));
    assert!(
        told[0].contains("x-kubernetes-validations[0].rule")
            && told[0].contains("undeclared reference to 'other'"),
        "{told:?}"
    );
}
