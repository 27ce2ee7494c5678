//! The answers of Kubernetes' own code, recorded: the protobuf zero rules and the strategic merge patch agree with them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kontiki_api::schema::reader::Limits;
use kontiki_api::schema::type_for;
use kontiki_api::{patch, wire::protobuf};
use serde_json::Value;

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn zeros_nils_and_pointers_to_zero_decode_as_they_encode_in_json() {
    let vectors = vectors("zero_values.jsonl");
    assert!(vectors.len() >= 17);
    for vector in vectors {
        let body = STANDARD.decode(vector["body"].as_str().unwrap()).unwrap();
        let decoded = protobuf::decode(&body, None, Limits::default()).unwrap();
        assert_eq!(decoded.value, vector["json"], "{}", decoded.kind);
    }
}

#[test]
fn strategic_merge_patches_give_the_same_documents() {
    let vectors = vectors("strategic_merge.jsonl");
    assert!(vectors.len() >= 100);
    for vector in vectors {
        let merged =
            patch::strategic(&vector["doc"], &vector["patch"], type_for("", "v1", "Pod").unwrap()).unwrap();
        assert_eq!(merged, vector["out"], "{} {}", vector["doc"], vector["patch"]);
    }
}
