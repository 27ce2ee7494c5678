//! Server-side apply and owners of fields do what Kubernetes' own field manager does: recorded cases, see `vectors/README.md`.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use kontiki_api::{
    apply::{ApplyError, Owners, Reach, Writer},
    resource::fields::same,
    schema::{Shape, TypeRef, strict, type_for_api_version},
};
use serde_json::{Value, json};

/// A time that no recorded object has.
const NOW: &str = "2026-02-02T02:02:02Z";

fn vectors() -> Vec<Value> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/server_side_apply.jsonl");
    // Another, longer list can be made and named.
    let path = std::env::var_os("APPLY_VECTORS").map_or(recorded, Into::into);
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A document as this API stores it.
fn stored(of: TypeRef, value: &Value) -> Value {
    let mut value = value.clone();
    strict::check(of, &mut value).unwrap();
    value
}

/// A document without zeros, where they say no more than nothing does.
fn without_zeros(of: TypeRef, value: &mut Value) {
    const ZEROS: [&str; 7] = ["0", "\"\"", "\"0\"", "false", "[]", "{}", "null"];
    let zero = |value: &Value| ZEROS.contains(&value.to_string().as_str());
    value.as_object_mut().unwrap().retain(|name, value| {
        let field = of.field(name).unwrap();
        each_object(field.shape, value);
        field.pointer || !zero(value)
    });
}

fn each_object(shape: Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Struct(of), value) => without_zeros(of.resolve(), value),
        (Shape::Map(of), Value::Object(map)) => map.values_mut().for_each(|value| each_object(*of, value)),
        (Shape::List(of), Value::Array(list)) => list.iter_mut().for_each(|value| each_object(*of, value)),
        _ => {}
    }
}

/// What a case comes to here: the object and its owners, or what was refused.
fn answer(vector: &Value, of: TypeRef) -> Result<(Value, Owners), ApplyError> {
    let subresource = text(vector, "subresource");
    let writer = Writer {
        manager: text(vector, "manager"),
        subresource,
        of: of.into(),
        api_version: text(vector, "apiVersion"),
        reach: if subresource == "status" { Reach::Status } else { Reach::NoStatus },
        now: NOW,
    };
    let live = vector.get("live").map(|live| stored(of, live));
    if vector["op"] == "apply" {
        let mut config = vector["body"].clone();
        strict::check_applied(of, &mut config).unwrap();
        let (new, owners) =
            writer.applied(&live.unwrap_or_else(|| json!({})), &config, vector["force"] == true)?;
        return Ok((stored(of, &new), owners));
    }
    let body = stored(of, &vector["body"]);
    let owners = match live {
        Some(live) => writer.updated(&live, &body, None),
        None => writer.created(&body, None),
    };
    Ok((body, owners))
}

/// Owners as cases have them: in order of their names, of times only whether there is one.
fn owners(owners: &Owners) -> Value {
    let mut list = owners.to_value().unwrap_or_else(|| json!([])).as_array().unwrap().clone();
    for entry in &mut list {
        if entry.get("time").is_some() {
            entry["time"] = "set".into();
        }
    }
    list.sort_by_key(|e| [text(e, "operation"), text(e, "manager"), text(e, "subresource")].concat());
    Value::Array(list)
}

fn conflicts(error: &ApplyError) -> Value {
    let ApplyError::Conflicts(conflicts) = error else { panic!("{error}") };
    let mut pairs: Vec<(String, String)> = conflicts.iter().map(|c| (c.field(), c.cause())).collect();
    pairs.sort_by_key(|(field, cause)| format!("{cause}{field}"));
    json!(pairs)
}

/// How an answer differs from the recorded one.
fn check(vector: &Value) -> Result<(), String> {
    let of = type_for_api_version(text(vector, "apiVersion"), text(vector, "kind")).unwrap();
    let answer = answer(vector, of);
    if vector.get("error").is_some() {
        return match answer {
            Err(ApplyError::Unfit(_)) => Ok(()),
            other => Err(format!("not refused: {other:?}")),
        };
    }
    if let Some(wanted) = vector.get("conflicts") {
        return match answer {
            Err(error) if conflicts(&error) == *wanted => Ok(()),
            other => Err(format!("other conflicts: {other:?}")),
        };
    }
    let (mut new, found) = answer.map_err(|error| format!("refused: {error}"))?;
    let found = owners(&found);
    if found != *vector.get("managed").unwrap_or(&json!([])) {
        return Err(format!("other owners: {found}"));
    }
    let mut out = stored(of, &vector["out"]);
    for object in [&mut out, &mut new] {
        for own in ["uid", "managedFields"] {
            object["metadata"].as_object_mut().unwrap().remove(own);
        }
        without_zeros(of, object);
    }
    if same(&new, &out) { Ok(()) } else { Err(format!("another object: {new}\nnot {out}")) }
}

#[test]
fn owners_and_objects_are_those_of_kubernetes() {
    let vectors = vectors();
    let count = |key: &str| vectors.iter().filter(|vector| vector.get(key).is_some()).count();
    assert!(count("managed") >= 150 && count("conflicts") >= 20 && count("error") >= 1, "too few cases");
    let check = |(at, vector): (usize, &Value)| {
        let error = check(vector).err()?;
        Some(format!("case {}: {error}\nof {vector}\n", at + 1))
    };
    let wrong: Vec<String> = vectors.iter().enumerate().filter_map(check).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        vectors.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}
