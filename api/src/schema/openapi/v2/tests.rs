#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use kontiki_actors::State;

use super::*;
use crate::discovery;

fn json_document() -> Value {
    serde_json::from_slice(&document_v2(&discovery::documents(&State::default()), Form::Json).bytes).unwrap()
}

/// Every key of objects, but names of properties, and every target of a reference.
fn walk(value: &Value, keys: &mut BTreeSet<String>, targets: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        keys.insert(key.clone());
        if key == "$ref" {
            targets.insert(value.as_str().unwrap().to_owned());
        }
        match key.as_str() {
            "properties" | "definitions" | "paths" => {
                value.as_object().unwrap().values().for_each(|value| walk(value, keys, targets));
            }
            _ => walk(value, keys, targets),
        }
    }
    value.as_array().into_iter().flatten().for_each(|value| walk(value, keys, targets));
}

#[test]
fn it_holds_everything_that_is_served_in_the_words_of_v2() {
    let v2 = json_document();
    let (mut keys, mut targets) = (BTreeSet::new(), BTreeSet::new());
    walk(&v2, &mut keys, &mut targets);
    for word in ["oneOf", "anyOf", "allOf", "requestBody", "components", "content"] {
        assert!(!keys.contains(word), "{word}");
    }
    for target in &targets {
        let name = target.strip_prefix("#/definitions/").unwrap();
        assert!(v2["definitions"][name].is_object(), "{target}");
    }
    for ((group, version), resources) in by_group_version(&discovery::documents(&State::default())) {
        for (path, v3) in paths::paths(&resources) {
            for (method, operation) in v3.as_object().unwrap() {
                let v2 = &v2["paths"][&path][method];
                assert!(!v2.is_null(), "{group}/{version}: {method} {path}");
                let codes = |operation: &Value| {
                    operation["responses"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>())
                };
                assert_eq!(codes(v2), codes(operation), "{method} {path}");
            }
        }
    }
    let patch = &v2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["consumes"].as_array().unwrap().len(), 4);
    assert_eq!(patch["produces"], json!(["application/json"]));
    let parameters = patch["parameters"].as_array().unwrap();
    let validation = parameters.iter().find(|p| p["name"] == "fieldValidation").unwrap();
    assert_eq!((&validation["in"], &validation["type"]), (&json!("query"), &json!("string")));
    assert_eq!(parameters.iter().filter(|p| p["in"] == "body").count(), 1);
    let spec = &v2["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(
        spec["properties"]["selector"]["$ref"],
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"
    );
    let number = &v2["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&number["type"], &number["format"]), (&json!("string"), &json!("int-or-string")));
    let options = &v2["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"][KINDS];
    let groups: BTreeSet<&str> =
        options.as_array().unwrap().iter().map(|kind| kind["group"].as_str().unwrap()).collect();
    assert!(groups.is_superset(&BTreeSet::from(["", "apps", "networking.k8s.io"])), "{groups:?}");
}

/// A message's fields: number, and bytes or a number as bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        let value = match tag & 7 {
            0 => {
                let before = bytes;
                number(&mut bytes);
                &before[..before.len() - bytes.len()]
            }
            2 => {
                let length = usize::try_from(number(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

/// The one field on a path of field numbers; where it is repeated, the one of this name.
fn at<'a>(bytes: &'a [u8], path: &[(u64, &str)]) -> &'a [u8] {
    path.iter().fold(bytes, |bytes, (field, name)| {
        let named = |value: &[u8]| {
            name.is_empty() || fields(value).iter().any(|(n, v)| *n == 1 && *v == name.as_bytes())
        };
        let found = fields(bytes).into_iter().find(|(n, value)| n == field && named(value));
        found.unwrap_or_else(|| panic!("no field {field} {name}")).1
    })
}

#[test]
fn as_protobuf_it_says_the_same() {
    let v2 = json_document();
    let bytes = document_v2(&discovery::documents(&State::default()), Form::Protobuf).bytes;
    assert_eq!(at(&bytes, &[(1, "")]), b"2.0");
    let count = |path: &[(u64, &str)]| fields(at(&bytes, path)).len();
    assert_eq!(count(&[(8, "")]), v2["paths"].as_object().unwrap().len());
    assert_eq!(count(&[(9, "")]), v2["definitions"].as_object().unwrap().len());
    // What kubectl looks for: PATCH of this kind with a query parameter of this name.
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = at(&bytes, &[(8, ""), (2, path), (2, ""), (8, "")]);
    let kind = at(patch, &[(13, KINDS), (2, ""), (2, "")]);
    let expected = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!(serde_json::from_slice::<Value>(kind).unwrap(), expected);
    let parameters: Vec<&[u8]> =
        fields(patch).into_iter().filter(|(n, _)| *n == 8).map(|(_, value)| at(value, &[(1, "")])).collect();
    let queries: Vec<&[u8]> = parameters
        .iter()
        .filter(|p| fields(p)[0].0 == 2)
        .map(|p| at(p, &[(2, ""), (3, ""), (4, "")]))
        .collect();
    assert!(queries.contains(&&b"fieldValidation"[..]));
    let body = parameters.iter().find(|p| fields(p)[0].0 == 1).unwrap();
    assert_eq!(at(body, &[(1, ""), (3, "")]), b"body");
    let answer = at(patch, &[(9, ""), (1, "200"), (2, ""), (1, ""), (2, ""), (1, ""), (1, "")]);
    assert_eq!(answer, b"#/definitions/io.k8s.api.apps.v1.Deployment");
    let containers = at(
        &bytes,
        &[(9, ""), (1, "io.k8s.api.core.v1.PodSpec"), (2, ""), (25, ""), (1, "containers"), (2, "")],
    );
    assert_eq!(at(containers, &[(22, ""), (1, "")]), b"array");
    assert_eq!(at(containers, &[(23, ""), (1, ""), (1, "")]), b"#/definitions/io.k8s.api.core.v1.Container");
    assert_eq!(at(containers, &[(31, "x-kubernetes-patch-merge-key"), (2, ""), (2, "")]), b"\"name\"");
}
