//! Every served kind: the protobuf body that Kubernetes publishes decodes to the JSON body that it publishes beside it, that JSON
//! is encoded to the very bytes of that protobuf body, and it passes the strict check unchanged.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kontiki_api::schema::reader::Limits;
use kontiki_api::schema::{strict, type_for_api_version};
use kontiki_api::wire::{
    encoding,
    protobuf::{self, ProtobufError},
};
use serde_json::Value;

fn golden() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let bodies = files.filter(|path| path.extension().is_some_and(|e| e == "pb"));
    bodies.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect()
}

/// What the zero rule makes of a golden JSON: nulls are absent.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, v| !v.is_null());
            // The only map of times: its values stay, even the zero time.
            object.iter_mut().filter(|(key, _)| *key != "disruptedPods").for_each(|(_, v)| without_nulls(v));
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[test]
fn every_golden_body_decodes_to_its_json() {
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, path) in golden() {
        let mut expected: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        without_nulls(&mut expected);
        match protobuf::decode(&fs::read(&path).unwrap(), None, Limits::default()) {
            Ok(decoded) if decoded.value == expected => passed += 1,
            Ok(decoded) => {
                failed.push(format!("{name}: {}", difference(&decoded.value, &expected, String::new())))
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} differ:\n{}",
        failed.len(),
        passed + failed.len(),
        failed.join("\n")
    );
    assert!(passed >= 79, "only {passed} golden bodies were found");
}

#[test]
fn every_golden_json_is_encoded_to_its_body() {
    let mut failed = Vec::new();
    for (name, path) in golden() {
        let (json, body) = (fs::read(path.with_extension("json")).unwrap(), fs::read(&path).unwrap());
        match encoding::encode(&json) {
            Ok(mine) if mine == body => {}
            Ok(mine) => {
                let at =
                    mine.iter().zip(&body).position(|(a, b)| a != b).unwrap_or(mine.len().min(body.len()));
                let of = |all: &[u8]| {
                    all[at.saturating_sub(24)..(at + 24).min(all.len())].escape_ascii().to_string()
                };
                failed.push(format!("{name} differs at {at}:\n  {}\n  {}", of(&mine), of(&body)));
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{} differ:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_list_is_encoded_as_its_items_are() {
    let pod = fs::read_to_string(golden()["core.v1.Pod"].with_extension("json")).unwrap();
    let empty = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#;
    let list = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":[{pod},{empty}]}}"#
    );
    let encoded = encoding::encode(list.as_bytes()).unwrap();
    let decoded = protobuf::decode(&encoded, None, Limits::default()).unwrap();
    assert_eq!((decoded.api_version.as_str(), decoded.kind.as_str()), ("v1", "PodList"));
    assert_eq!(decoded.value["metadata"]["resourceVersion"], "7");
    let mut pod: Value = serde_json::from_str(&pod).unwrap();
    without_nulls(&mut pod);
    // The list says what its items are.
    pod.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
    let item = &decoded.value["items"][0];
    assert_eq!(item, &pod, "{}", difference(item, &pod, String::new()));
    assert_eq!(decoded.value["items"][1]["metadata"]["name"], "a");
}

#[test]
fn what_has_no_message_is_told() {
    let told = |json: &str| encoding::encode(json.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        told(r#"{"kind":"Widget","apiVersion":"example.org/v1"}"#),
        "\"Widget\" of \"example.org/v1\" has no protobuf message"
    );
    assert_eq!(
        told(r#"{"kind":"Pod","apiVersion":"v1","spec":{"priority":"high"}}"#),
        "field \"priority\" cannot be said in protobuf: \"high\""
    );
    assert!(told("[]").contains("invalid type"));
    let table = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[]}"#;
    assert!(told(table).contains("no protobuf message"));
}

#[test]
fn every_golden_json_is_clean_in_the_strict_check() {
    let mut failed = Vec::new();
    for (name, path) in golden() {
        let original: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let mut expected = original.clone();
        without_nulls(&mut expected);
        let kind = type_for_api_version(
            original["apiVersion"].as_str().unwrap(),
            original["kind"].as_str().unwrap(),
        )
        .unwrap();
        let mut value = original;
        match strict::check(kind, &mut value) {
            Ok(checked) if checked.is_clean() && value == expected => {}
            Ok(checked) => {
                failed.push(format!("{name}: {:?} {}", checked, difference(&value, &expected, String::new())))
            }
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn damaged_bodies_are_errors_never_panics() {
    // Every truncation, and every byte turned, of a body with most shapes in it.
    let path = &golden()["autoscaling.v2.HorizontalPodAutoscaler"];
    let body = fs::read(path).unwrap();
    let whole = |length: &usize| protobuf::decode(&body[..*length], None, Limits::default()).is_ok();
    let whole = (0..body.len()).filter(whole).count();
    assert!(whole <= 4, "only cuts between the four fields of the envelope leave a body, not {whole}");
    // Every byte of a small body turned, and a sample of the greatest.
    for (name, step) in [("core.v1.Service", 1), ("core.v1.Event", 1), ("core.v1.Pod", 29)] {
        let body = fs::read(&golden()[name]).unwrap();
        for at in (4..body.len()).step_by(step) {
            for flip in [0x01, 0x80] {
                let mut damaged = body.clone();
                damaged[at] ^= flip;
                let _ = protobuf::decode(&damaged, None, Limits::default());
            }
        }
    }
    let limits = Limits { bytes: 100, ..Limits::default() };
    assert_eq!(protobuf::decode(&body, None, limits).unwrap_err(), ProtobufError::TooLarge { limit: 100 });
    let limits = Limits { values: 20, ..Limits::default() };
    assert_eq!(protobuf::decode(&body, None, limits).unwrap_err(), ProtobufError::Bound("value count"));
    let limits = Limits { depth: 1, ..Limits::default() };
    assert_eq!(protobuf::decode(&body, None, limits).unwrap_err(), ProtobufError::Bound("depth"));
}

fn difference(mine: &Value, theirs: &Value, path: String) -> String {
    match (mine, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) if x == y => {}
                    (Some(x), Some(y)) => return difference(x, y, format!("{path}.{key}")),
                    (x, y) => return format!("{path}.{key}: {x:?} {y:?}"),
                }
            }
            String::new()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(x, y)| x != y).unwrap_or(0);
            difference(&a[at], &b[at], format!("{path}[{at}]"))
        }
        _ => format!("{path}: {mine} {theirs}"),
    }
}
