//! `paths`: the operations on each resource, with the query parameters that clients look for.

use serde_json::{Map, Value, json};

use super::components::{patch_schema, reference, schema_name};
use super::{ResourceDoc, SubresourceDoc, path_of};

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A kind as operations name it.
#[derive(Clone, Copy)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

/// All operations, by path.
pub(super) fn paths(resources: &[&ResourceDoc]) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in resources {
        let base = format!("/{}", path_of(&resource.group, &resource.version));
        let inside = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{base}{inside}/{}", resource.plural);
        let kind = Kind { group: &resource.group, version: &resource.version, kind: &resource.kind };
        let offers = |verb: &str| resource.verbs.iter().any(|v| v == verb);
        let mut add = |path: String, operations: Map<String, Value>, parameters: &[&str]| {
            let mut item = operations;
            if !item.is_empty() {
                let fixed: Vec<Value> = parameters.iter().map(|name| path_parameter(name)).collect();
                item.insert("parameters".to_owned(), fixed.into());
                paths.insert(path, Value::Object(item));
            }
        };
        let namespace: &[&str] = if resource.namespaced { &["namespace"] } else { &[] };
        let name: &[&str] = if resource.namespaced { &["name", "namespace"] } else { &["name"] };

        let mut on_collection = Map::new();
        if offers("list") {
            on_collection.insert("get".to_owned(), list(kind));
            if resource.namespaced {
                add(
                    format!("{base}/{}", resource.plural),
                    Map::from_iter([("get".to_owned(), list(kind))]),
                    &[],
                );
            }
        }
        if offers("create") {
            on_collection.insert("post".to_owned(), write("post", kind));
        }
        if offers("deletecollection") {
            on_collection.insert("delete".to_owned(), delete("deletecollection", kind));
        }
        add(collection.clone(), on_collection, namespace);
        let verbs: Vec<&str> = resource.verbs.iter().map(String::as_str).filter(|v| *v != "create").collect();
        add(format!("{collection}/{{name}}"), on_object(&verbs, kind), name);
        for sub in &resource.subresources {
            let verbs: Vec<&str> = sub.verbs.iter().map(String::as_str).collect();
            let path = format!("{collection}/{{name}}/{}", sub.name);
            add(path, on_object(&verbs, sub_kind(sub)), name);
        }
    }
    paths
}

fn sub_kind(sub: &SubresourceDoc) -> Kind<'_> {
    Kind { group: &sub.group, version: &sub.version, kind: &sub.kind }
}

fn on_object(verbs: &[&str], kind: Kind<'_>) -> Map<String, Value> {
    let mut operations = Map::new();
    for verb in verbs {
        let (method, operation) = match *verb {
            "get" => ("get", operation("get", kind, &[], None)),
            "update" => ("put", write("put", kind)),
            "patch" => ("patch", patch(kind)),
            "delete" => ("delete", delete("delete", kind)),
            "create" => ("post", write("post", kind)),
            _ => continue,
        };
        operations.insert(method.to_owned(), operation);
    }
    operations
}

fn list(kind: Kind<'_>) -> Value {
    let parameters = [
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    let mut operation = operation("list", kind, &parameters, None);
    let list = schema_name(kind.group, kind.version, &format!("{}List", kind.kind));
    let known = crate::schema::Registry::global().named(&list).is_some();
    operation["responses"]["200"]["content"] =
        body(if known { reference(&list) } else { json!({ "type": "object" }) });
    operation
}

fn write(action: &str, kind: Kind<'_>) -> Value {
    let parameters = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    let content = body(reference(&schema_name(kind.group, kind.version, kind.kind)));
    operation(action, kind, &parameters, Some(json!({ "content": content, "required": true })))
}

fn patch(kind: Kind<'_>) -> Value {
    let parameters = [
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
        ("force", "boolean"),
    ];
    let content: Map<String, Value> =
        PATCHES.iter().map(|media| ((*media).to_owned(), json!({ "schema": patch_schema() }))).collect();
    operation("patch", kind, &parameters, Some(json!({ "content": content, "required": true })))
}

fn delete(action: &str, kind: Kind<'_>) -> Value {
    let parameters = [
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    let content = body(reference("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
    let mut operation = operation(action, kind, &parameters, Some(json!({ "content": content })));
    operation["responses"]["200"]["content"] = body(reference("io.k8s.apimachinery.pkg.apis.meta.v1.Status"));
    operation
}

fn operation(action: &str, kind: Kind<'_>, parameters: &[(&str, &str)], request: Option<Value>) -> Value {
    let mut query: Vec<Value> = parameters.iter().map(|(name, of)| query_parameter(name, of)).collect();
    query.push(query_parameter("pretty", "string"));
    let answer = body(reference(&schema_name(kind.group, kind.version, kind.kind)));
    let mut operation = json!({
        "parameters": query,
        "responses": { "200": { "description": "OK", "content": answer }, "401": { "description": "Unauthorized" } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
    });
    if let Some(request) = request {
        operation["requestBody"] = request;
    }
    operation
}

fn body(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn query_parameter(name: &str, of: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": of, "uniqueItems": true } })
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true } })
}
