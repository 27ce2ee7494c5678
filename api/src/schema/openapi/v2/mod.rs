//! The OpenAPI v2 document of everything that is served, made from the parts of the v3 documents: for tools that know only the older
//! form, and for kubectl before 1.27.
//!
//! What v2 cannot say is said less exactly: of alternatives the text, else the first is left.

mod gnostic;

use serde_json::{Map, Value, json};

use super::{Document, ResourceDoc, by_group_version, components, hash, paths};

const KINDS: &str = "x-kubernetes-group-version-kind";

/// How a v2 document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// `openapi.v2.Document` as protobuf, in the messages of gnostic.
    Protobuf,
}

/// The hash that stands for the document, the same in both forms.
pub fn hash_v2(resources: &[ResourceDoc]) -> String {
    hash(&resources.iter().collect::<Vec<_>>())
}

/// The document.
pub fn document_v2(resources: &[ResourceDoc], form: Form) -> Document {
    let (mut all_paths, mut definitions) = (Map::new(), Map::new());
    for ((group, version), resources) in by_group_version(resources) {
        let items = paths::paths(&resources);
        all_paths.extend(items.iter().map(|(path, item)| (path.clone(), path_item(item))));
        for (name, v3) in components::schemas(&resources, (group, version), components::Edition::V2) {
            match definitions.get_mut(&name) {
                Some(known) => add_kinds(known, &v3),
                None => drop(definitions.insert(name, schema(&v3))),
            }
        }
    }
    let document = json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": env!("CARGO_PKG_VERSION") },
        "paths": all_paths,
        "definitions": definitions,
    });
    let bytes = match form {
        Form::Json => document.to_string().into_bytes(),
        Form::Protobuf => gnostic::encode(&document),
    };
    Document { bytes, hash: hash_v2(resources) }
}

/// A type that is shared by groups is a kind of each.
fn add_kinds(known: &mut Value, more: &Value) {
    let more = more[KINDS].as_array().into_iter().flatten();
    if let Some(kinds) = known.get_mut(KINDS).and_then(Value::as_array_mut) {
        for kind in more {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
    }
}

fn path_item(v3: &Value) -> Value {
    let parts = v3.as_object().into_iter().flatten();
    let part = |(name, value): (&String, &Value)| {
        let value = if name == "parameters" { parameters(value) } else { operation(value) };
        (name.clone(), value)
    };
    Value::Object(parts.map(part).collect())
}

fn parameters(v3: &Value) -> Value {
    let parameter = |v3: &Value| {
        let mut v2 = v3.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(schema)) = v2.remove("schema") {
            v2.extend(schema);
        }
        Value::Object(v2)
    };
    v3.as_array().into_iter().flatten().map(parameter).collect()
}

fn operation(v3: &Value) -> Value {
    let mut v2 = v3.as_object().cloned().unwrap_or_default();
    let mut all = match v2.remove("parameters").map(|v3| parameters(&v3)) {
        Some(Value::Array(all)) => all,
        _ => Vec::new(),
    };
    if let Some(body) = v2.remove("requestBody") {
        let required = body["required"].as_bool().unwrap_or(false);
        let mut parameter = json!({ "name": "body", "in": "body", "required": required });
        if let Some(content) = body["content"].as_object() {
            v2.insert("consumes".to_owned(), content.keys().cloned().collect());
            parameter["schema"] = first_schema(content);
        }
        all.push(parameter);
    }
    v2.insert("parameters".to_owned(), all.into());
    let (mut media, mut answers): (Vec<String>, _) = (Vec::new(), Map::new());
    for (code, answer) in v3["responses"].as_object().into_iter().flatten() {
        let mut v2 = json!({ "description": answer["description"] });
        if let Some(content) = answer["content"].as_object() {
            for media_type in content.keys() {
                if !media.contains(media_type) {
                    media.push(media_type.clone());
                }
            }
            v2["schema"] = first_schema(content);
        }
        answers.insert(code.clone(), v2);
    }
    v2.insert("produces".to_owned(), media.into());
    v2.insert("responses".to_owned(), Value::Object(answers));
    Value::Object(v2)
}

/// All forms of a body have one schema.
fn first_schema(content: &Map<String, Value>) -> Value {
    content.values().next().map_or_else(|| json!({}), |media| schema(&media["schema"]))
}

fn schema(v3: &Value) -> Value {
    let mut v2 = Map::new();
    for (key, value) in v3.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("$ref", Value::String(target)) => {
                let name = target.rsplit('/').next().unwrap_or_default();
                v2.insert(key.clone(), format!("#/definitions/{name}").into());
            }
            // What stands beside a reference counts in v2.
            ("allOf", Value::Array(parts)) => parts.iter().map(schema).for_each(|part| merge(&mut v2, part)),
            ("oneOf" | "anyOf", Value::Array(parts)) => {
                let text = parts.iter().find(|part| part["type"] == "string");
                if let Some(part) = text.or(parts.first()) {
                    merge(&mut v2, schema(part));
                }
            }
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, value)| (name.clone(), schema(value)));
                v2.insert(key.clone(), Value::Object(properties.collect()));
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                drop(v2.insert(key.clone(), schema(value)))
            }
            _ => drop(v2.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(v2)
}

fn merge(into: &mut Map<String, Value>, part: Value) {
    if let Value::Object(part) = part {
        into.extend(part);
    }
}

#[cfg(test)]
mod tests;
