#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use kontiki_actors::{Kind, ObjectKey};

use super::*;

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

fn resources() -> Vec<ResourceDoc> {
    let all = texts(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    let scale = SubresourceDoc {
        name: "scale".to_owned(),
        group: "autoscaling".to_owned(),
        version: "v1".to_owned(),
        kind: "Scale".to_owned(),
        verbs: texts(&["get", "patch", "update"]),
    };
    let resource = |group: &str, kind: &str, plural: &str, namespaced| ResourceDoc {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
        verbs: all.clone(),
        ..ResourceDoc::default()
    };
    vec![
        resource("", "Pod", "pods", true),
        resource("", "Node", "nodes", false),
        ResourceDoc { subresources: vec![scale], ..resource("apps", "Deployment", "deployments", true) },
        ResourceDoc {
            schema: Some(DefinedSchema::new(&definition(), "v1")),
            ..resource("example.org", "Widget", "widgets", true)
        },
    ]
}

fn definition() -> Arc<Object> {
    let key = ObjectKey::new(Kind::CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.org");
    let schema =
        json!({"properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let versions = json!([{"name": "v1", "schema": {"openAPIV3Schema": schema}}]);
    let document = json!({"metadata": {"name": key.name}, "spec": {"versions": versions}});
    Arc::new(Object::new(key, 1, kontiki_actors::Document::from_value(document)))
}

fn parsed(group: &str) -> Value {
    serde_json::from_slice(&document(&resources(), group, "v1").unwrap().bytes).unwrap()
}

/// Every `$ref` in a document.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            into.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|v| references(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, into)),
        _ => {}
    }
}

#[test]
fn the_index_names_each_document_by_its_hash() {
    let index: Value = serde_json::from_slice(&index(&resources())).unwrap();
    let paths = index["paths"].as_object().unwrap();
    let names: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["api/v1", "apis/apps/v1", "apis/example.org/v1"]));
    for (path, entry) in paths {
        let (group, version) = parse_path(path).unwrap();
        let hash = document(&resources(), group, version).unwrap().hash;
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
        assert_eq!(hash.len(), 64);
    }
    assert!(document(&resources(), "batch", "v1").is_none());
    let mut changed = resources();
    changed[0].verbs.pop();
    assert_ne!(document(&changed, "", "v1").unwrap().hash, document(&resources(), "", "v1").unwrap().hash);
    assert_eq!(
        document(&changed, "apps", "v1").unwrap().hash,
        document(&resources(), "apps", "v1").unwrap().hash
    );
}

#[test]
fn writes_say_that_fields_can_be_validated() {
    let apps = parsed("apps");
    let item = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let collection = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"];
    for operation in [&item["patch"], &item["put"], &collection["post"]] {
        let names: Vec<&str> =
            operation["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        for wanted in ["fieldValidation", "dryRun", "fieldManager"] {
            assert!(names.contains(&wanted), "{wanted}");
        }
        assert_eq!(
            operation["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "version": "v1", "kind": "Deployment"})
        );
    }
    let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["patch"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["group"], "autoscaling");
    assert!(apps["paths"]["/apis/apps/v1/deployments"]["get"].is_object());
    assert!(parsed("")["paths"]["/api/v1/nodes/{name}"]["patch"].is_object());
}

#[test]
fn schemas_carry_the_marks_and_no_reference_dangles() {
    for group in ["", "apps", "example.org"] {
        let document = parsed(group);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut wanted = BTreeSet::new();
        references(&document, &mut wanted);
        for reference in wanted {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{group}: {name}");
        }
    }
    let apps = parsed("apps");
    let schemas = &apps["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(spec["required"], json!(["selector", "template"]));
    assert_eq!(spec["properties"]["replicas"]["format"], "int32");
    assert!(spec["properties"]["replicas"]["description"].as_str().unwrap().contains("Defaults to 1"));
    assert_eq!(
        spec["properties"]["selector"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"
    );
    // What is embedded in a type is required of it, too.
    assert_eq!(schemas["io.k8s.api.core.v1.EphemeralContainer"]["required"], json!(["name"]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"],
        "atomic"
    );
}

#[test]
fn custom_resources_keep_their_schema_and_gain_metadata() {
    let widget = &parsed("example.org")["components"]["schemas"]["org.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"], true);
    assert!(widget["properties"]["metadata"]["allOf"].is_array());
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    // What every object has is told in Kubernetes' words.
    for (field, words) in [
        ("apiVersion", "APIVersion defines"),
        ("kind", "Kind is a string"),
        ("metadata", "Standard object's"),
    ] {
        let text = widget["properties"][field]["description"].as_str().unwrap();
        assert!(text.starts_with(words), "{text}");
    }
}

#[test]
fn v2_names_no_fields_of_what_may_have_others() {
    let widget = |schema: Value| {
        let mut resources = resources();
        let versions = json!([{"name": "v1", "schema": {"openAPIV3Schema": schema}}]);
        let mut object = (*definition()).clone();
        let document = json!({"metadata": {"name": object.key.name}, "spec": {"versions": versions}});
        object.document = kontiki_actors::Document::from_value(document).into();
        resources.last_mut().unwrap().schema = Some(DefinedSchema::new(&Arc::new(object), "v1"));
        let v2: Value = serde_json::from_slice(&document_v2(&resources, Form::Json).bytes).unwrap();
        v2["definitions"]["org.example.v1.Widget"].clone()
    };
    let kinds = json!([{"group": "example.org", "version": "v1", "kind": "Widget"}]);
    let open = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"spec": {"type": "object"}},
    });
    assert_eq!(widget(open.clone()), json!({"type": "object", "x-kubernetes-group-version-kind": kinds}));
    let maybe = json!({"type": "array", "nullable": true, "items": {"type": "string"}});
    let told = widget(json!({
        "type": "object", "description": "A widget", "required": ["spec", "maybe"],
        "properties": {"spec": open, "maybe": maybe, "size": {"type": "integer", "anyOf": [{"minimum": 1}]}},
    }));
    assert_eq!((&told["description"], &told["required"]), (&json!("A widget"), &json!(["spec"])));
    let properties = &told["properties"];
    assert_eq!(properties["spec"], json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!((&properties["maybe"], &properties["size"]), (&json!({}), &json!({"type": "integer"})));
    assert!(properties["metadata"]["$ref"].is_string());
}

#[test]
fn operations_declare_what_is_really_answered() {
    let documents = [parsed(""), parsed("apps"), parsed("example.org")];
    let mut seen = BTreeSet::new();
    for document in &documents {
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                let action = operation["x-kubernetes-action"].as_str().unwrap();
                let codes: Vec<&str> =
                    operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
                let expected: &[&str] = match action {
                    "post" => &["201", "401", "default"],
                    "put" | "patch" => &["200", "201", "401", "default"],
                    "delete" => &["200", "202", "401", "default"],
                    _ => &["200", "401", "default"],
                };
                assert_eq!(codes, expected, "{method} {path}");
                let refusal = &operation["responses"]["default"]["content"]["application/json"]["schema"];
                assert!(refusal["$ref"].as_str().unwrap().ends_with(".meta.v1.Status"));
                seen.insert(action.to_owned());
            }
        }
    }
    let all = ["delete", "deletecollection", "get", "list", "patch", "post", "put"];
    assert_eq!(seen, all.map(str::to_owned).into());
    let item = &documents[1]["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let media: Vec<&String> = item["patch"]["requestBody"]["content"].as_object().unwrap().keys().collect();
    let known = [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    assert_eq!(media, known);
    let many = &documents[1]["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["delete"];
    let answer = &many["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
    assert!(answer.as_str().unwrap().ends_with("DeploymentList"));
}
