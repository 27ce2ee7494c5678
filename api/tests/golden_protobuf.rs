//! Every served kind: the protobuf body that Kubernetes publishes decodes to the JSON body that it publishes beside it,
//! and that JSON passes the strict check unchanged.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kontiki_api::schema::reader::Limits;
use kontiki_api::schema::{strict, type_for_api_version};
use kontiki_api::wire::protobuf::{self, ProtobufError};
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
