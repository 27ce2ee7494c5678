//! `paths`: the operations on each resource, with the query parameters that clients look for.

use serde_json::{Map, Value, json};

use super::components::{patch_schema, reference, schema_name};
use super::{ResourceDoc, path_of};

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    STRATEGIC,
    "application/apply-patch+yaml",
];

/// Not for custom resources. Clients look here whether they may send one: `kubectl apply` does.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// A kind as operations name it.
#[derive(Clone, Copy)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    custom: bool,
}

/// All operations, by path.
pub(super) fn paths(resources: &[&ResourceDoc]) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in resources {
        let base = format!("/{}", path_of(&resource.group, &resource.version));
        let inside = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{base}{inside}/{}", resource.plural);
        let custom = resource.schema.is_some();
        let kind = Kind { group: &resource.group, version: &resource.version, kind: &resource.kind, custom };
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
            let post = if resource.kind == "Binding" { order(kind) } else { create(kind) };
            on_collection.insert("post".to_owned(), post);
        }
        if offers("deletecollection") {
            on_collection.insert("delete".to_owned(), delete_collection(kind));
        }
        add(collection.clone(), on_collection, namespace);
        let verbs: Vec<&str> = resource.verbs.iter().map(String::as_str).filter(|v| *v != "create").collect();
        add(format!("{collection}/{{name}}"), on_object(&verbs, kind), name);
        for sub in &resource.subresources {
            let verbs: Vec<&str> = sub.verbs.iter().map(String::as_str).collect();
            let path = format!("{collection}/{{name}}/{}", sub.name);
            let kind = Kind { group: &sub.group, version: &sub.version, kind: &sub.kind, custom };
            let operations = match sub.name.as_str() {
                "log" => Map::from_iter([("get".to_owned(), log(kind))]),
                "eviction" | "binding" => Map::from_iter([("post".to_owned(), order(kind))]),
                "attach" => connect(kind, &STREAM, &OF_PROCESS[1..]),
                "exec" => connect(kind, &STREAM, &OF_PROCESS),
                "portforward" => connect(kind, &STREAM, &[("ports", "integer")]),
                "proxy" => {
                    let operations = connect(kind, &PROXY, &[("path", "string")]);
                    let parameters = [name, &["path"]].concat();
                    add(format!("{path}/{{path}}"), operations.clone(), &parameters);
                    operations
                }
                _ => on_object(&verbs, kind),
            };
            add(path, operations, name);
        }
    }
    paths
}

fn on_object(verbs: &[&str], kind: Kind<'_>) -> Map<String, Value> {
    let mut operations = Map::new();
    for verb in verbs {
        let (method, operation) = match *verb {
            "get" => ("get", operation("get", kind, &[], None, answers(&["200"], json_body(of(kind))))),
            "update" => ("put", update(kind)),
            "patch" => ("patch", patch(kind)),
            "delete" => ("delete", delete(kind)),
            "create" => ("post", create(kind)),
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
    operation("list", kind, &parameters, None, answers(&["200"], json_body(list_of(kind))))
}

/// What a log asks for and answers with: text.
fn log(kind: Kind<'_>) -> Value {
    let parameters = [
        ("container", "string"),
        ("follow", "boolean"),
        ("limitBytes", "integer"),
        ("previous", "boolean"),
        ("sinceSeconds", "integer"),
        ("sinceTime", "string"),
        ("tailLines", "integer"),
        ("timestamps", "boolean"),
    ];
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    operation("get", kind, &parameters, None, answers(&["200"], text))
}

const OF_PROCESS: [(&str, &str); 6] = [
    ("command", "string"),
    ("container", "string"),
    ("stderr", "boolean"),
    ("stdin", "boolean"),
    ("stdout", "boolean"),
    ("tty", "boolean"),
];

/// By these methods a stream is opened, and a request is handed on.
const STREAM: [&str; 2] = ["get", "post"];
const PROXY: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// What becomes a stream, or is handed on.
fn connect(kind: Kind<'_>, methods: &[&str], parameters: &[(&str, &str)]) -> Map<String, Value> {
    let text = json!({ "*/*": { "schema": { "type": "string" } } });
    let operation = operation("connect", kind, parameters, None, answers(&["200"], text));
    methods.iter().map(|method| ((*method).to_owned(), operation.clone())).collect()
}

const WRITING: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

fn create(kind: Kind<'_>) -> Value {
    operation("post", kind, &WRITING, Some(object(kind)), answers(&["201"], json_body(of(kind))))
}

/// A POST that is done and has nothing to show: a binding, an eviction.
fn order(kind: Kind<'_>) -> Value {
    operation("post", kind, &WRITING, Some(object(kind)), answers(&["201"], json_body(reference(STATUS))))
}

/// Some kinds are created by an update of what is not there.
fn update(kind: Kind<'_>) -> Value {
    operation("put", kind, &WRITING, Some(object(kind)), answers(&["200", "201"], json_body(of(kind))))
}

fn patch(kind: Kind<'_>) -> Value {
    let parameters = [
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
        ("force", "boolean"),
    ];
    let taken = PATCHES.into_iter().filter(|media| !kind.custom || *media != STRATEGIC);
    let content: Map<String, Value> =
        taken.map(|media| (media.to_owned(), json!({ "schema": patch_schema() }))).collect();
    let request = json!({ "content": content, "required": true });
    // What is applied and not there is made.
    operation("patch", kind, &parameters, Some(request), answers(&["200", "201"], json_body(of(kind))))
}

const DELETING: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

fn delete_options() -> Value {
    json!({ "content": json_body(reference("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")) })
}

/// Answers with the object while something holds it, and of some kinds always.
fn delete(kind: Kind<'_>) -> Value {
    let answer = json_body(json!({ "anyOf": [reference(STATUS), of(kind)] }));
    operation("delete", kind, &DELETING, Some(delete_options()), answers(&["200", "202"], answer))
}

fn delete_collection(kind: Kind<'_>) -> Value {
    let selecting = [
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
    ];
    let parameters: Vec<(&str, &str)> = DELETING.into_iter().chain(selecting).collect();
    let answer = answers(&["200"], json_body(list_of(kind)));
    operation("deletecollection", kind, &parameters, Some(delete_options()), answer)
}

fn operation(
    action: &str,
    kind: Kind<'_>,
    parameters: &[(&str, &str)],
    request: Option<Value>,
    answers: Value,
) -> Value {
    let mut query: Vec<Value> = parameters.iter().map(|(name, of)| query_parameter(name, of)).collect();
    query.push(query_parameter("pretty", "string"));
    let mut operation = json!({
        "parameters": query,
        "responses": answers,
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
    });
    if let Some(request) = request {
        operation["requestBody"] = request;
    }
    operation
}

/// The answers of an operation: those of success, and a Status for everything else.
fn answers(codes: &[&str], content: Value) -> Value {
    let mut answers = Map::new();
    for code in codes {
        let description = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        answers.insert((*code).to_owned(), json!({ "description": description, "content": content }));
    }
    let status = json_body(reference(STATUS));
    answers.insert("401".to_owned(), json!({ "description": "Unauthorized", "content": status }));
    answers.insert("default".to_owned(), json!({ "description": "Why it was refused", "content": status }));
    Value::Object(answers)
}

fn of(kind: Kind<'_>) -> Value {
    reference(&schema_name(kind.group, kind.version, kind.kind))
}

fn list_of(kind: Kind<'_>) -> Value {
    let list = schema_name(kind.group, kind.version, &format!("{}List", kind.kind));
    let known = crate::schema::Registry::global().named(&list).is_some();
    if known { reference(&list) } else { json!({ "type": "object" }) }
}

/// A body that must be there.
fn object(kind: Kind<'_>) -> Value {
    json!({ "content": json_body(of(kind)), "required": true })
}

fn json_body(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn query_parameter(name: &str, of: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": of, "uniqueItems": true } })
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true } })
}
