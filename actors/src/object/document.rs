//! A document in segments: metadata, spec, status and the rest, each canonical JSON, served as they are. A change
//! carries only the segments that changed, so a status report does not rewrite a spec. The resourceVersion is not in
//! the bytes: it is the object's revision, written in when the document is served.
//!
//! Of a custom kind that has several versions, a document also says in which of them it is: as what `rest` begins with, under a name that
//! no other field of `rest` can have (ADR 23).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::kind::Kind;

/// What `rest` begins with where it says in which version the document is.
const VERSION: &[u8] = b"{\"apiVersion\":\"";

/// The segments. An empty one is absent; `rest` is a JSON object of all other top-level fields.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Document {
    /// The metadata object, without resourceVersion.
    pub metadata: Bytes,
    /// The spec.
    pub spec: Bytes,
    /// The status.
    pub status: Bytes,
    /// Everything else but apiVersion and kind, as one JSON object.
    pub rest: Bytes,
}

fn segment(value: Option<Value>) -> Bytes {
    match value {
        None | Some(Value::Null) => Bytes::new(),
        // It may be held for long: without the room that it was written into.
        Some(value) => {
            serde_json::to_vec(&value).expect("a JSON value always serializes").into_boxed_slice().into()
        }
    }
}

impl Document {
    /// Splits an object's JSON. What is not an object becomes an empty document.
    pub fn from_value(value: Value) -> Document {
        let Value::Object(mut map) = value else { return Document::default() };
        map.remove("apiVersion");
        map.remove("kind");
        let mut metadata = map.remove("metadata").unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(meta) = metadata.as_object_mut() {
            meta.remove("resourceVersion");
            meta.remove("selfLink");
        }
        let spec = segment(map.remove("spec"));
        let status = segment(map.remove("status"));
        let rest = if map.is_empty() { Bytes::new() } else { segment(Some(Value::Object(map))) };
        Document { metadata: segment(Some(metadata)), spec, status, rest }
    }

    /// Joins the segments to a value, without apiVersion, kind and resourceVersion.
    pub fn to_value(&self) -> Value {
        let mut map = match self.rest_value() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        map.insert("metadata".into(), self.metadata_value());
        if let Some(spec) = read(&self.spec) {
            map.insert("spec".into(), spec);
        }
        if let Some(status) = read(&self.status) {
            map.insert("status".into(), status);
        }
        Value::Object(map)
    }

    /// The metadata as a value, always an object.
    pub fn metadata_value(&self) -> Value {
        read(&self.metadata).filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// The spec as a value, `null` when absent.
    pub fn spec_value(&self) -> Value {
        read(&self.spec).unwrap_or(Value::Null)
    }

    /// The status as a value, `null` when absent.
    pub fn status_value(&self) -> Value {
        read(&self.status).unwrap_or(Value::Null)
    }

    /// The other fields as a value, always an object.
    pub fn rest_value(&self) -> Value {
        let mut rest = read(&self.rest).filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(map) = rest.as_object_mut() {
            map.remove("apiVersion");
        }
        rest
    }

    /// The version of its kind that this document is in, as `v1`, if it says so.
    pub fn version(&self) -> Option<&str> {
        let told = self.rest.strip_prefix(VERSION)?;
        let end = told.iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(&told[..end]).ok()
    }

    /// This document, saying that it is in a version of its kind. The name of a version needs no escapes.
    pub fn in_version(mut self, version: &str) -> Document {
        let fields = self.fields();
        let mut rest = Vec::with_capacity(VERSION.len() + version.len() + fields.len() + 3);
        rest.extend_from_slice(VERSION);
        rest.extend_from_slice(version.as_bytes());
        rest.push(b'"');
        if !fields.is_empty() {
            rest.push(b',');
            rest.extend_from_slice(fields);
        }
        rest.push(b'}');
        self.rest = rest.into();
        self
    }

    /// The fields of `rest` as they stand in it: without its braces, and without the version.
    fn fields(&self) -> &[u8] {
        let inner = self.rest.get(1..self.rest.len().saturating_sub(1)).unwrap_or_default();
        let Some(version) = self.version() else { return inner };
        // The prefix has the brace, and is closed by a quote.
        let after = inner.get(VERSION.len() + version.len()..).unwrap_or_default();
        after.strip_prefix(b",").unwrap_or(after)
    }

    /// This document with another status.
    pub fn with_status(&self, status: Value) -> Document {
        Document { status: segment(Some(status)), ..self.clone() }
    }

    /// This document with another spec.
    pub fn with_spec(&self, spec: Value) -> Document {
        Document { spec: segment(Some(spec)), ..self.clone() }
    }

    /// This document with other metadata.
    pub fn with_metadata(&self, metadata: Value) -> Document {
        Document { metadata: segment(Some(metadata)), ..self.clone() }
    }

    /// Bytes of all segments.
    pub fn len(&self) -> usize {
        self.metadata.len() + self.spec.len() + self.status.len() + self.rest.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the object as JSON, in a version of its kind: a concatenation of the segments.
    pub fn write_json(&self, kind: Kind, version: &str, revision: u64, out: &mut Vec<u8>) {
        let info = kind.info();
        out.extend_from_slice(b"{\"apiVersion\":\"");
        if !info.group.is_empty() {
            out.extend_from_slice(info.group.as_bytes());
            out.push(b'/');
        }
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(info.kind.as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        self.write_metadata(revision, out);
        for (name, bytes) in [("spec", &self.spec), ("status", &self.status)] {
            if !bytes.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(bytes);
            }
        }
        let fields = self.fields();
        if !fields.is_empty() {
            out.push(b',');
            out.extend_from_slice(fields);
        }
        out.push(b'}');
    }

    /// Appends the metadata with its resourceVersion.
    pub fn write_metadata(&self, revision: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"resourceVersion\":\"");
        out.extend_from_slice(revision.to_string().as_bytes());
        out.push(b'"');
        if self.metadata.len() > 2 {
            out.push(b',');
            out.extend_from_slice(&self.metadata[1..]);
        } else {
            out.push(b'}');
        }
    }
}

fn read(bytes: &Bytes) -> Option<Value> {
    if bytes.is_empty() { None } else { serde_json::from_slice(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn served_bytes_are_the_object_again() {
        let object = json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"7"},
            "data":{"x":"1"},"immutable":true});
        let document = Document::from_value(object);
        let mut out = Vec::new();
        document.write_json(Kind::CONFIG_MAP, "v1", 9, &mut out);
        let back: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            back,
            json!({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"9"},
            "data":{"x":"1"},"immutable":true})
        );
    }

    #[test]
    fn a_document_may_say_in_which_version_it_is_and_is_served_without() {
        let group = Kind::custom("example.com", "widgets", "Widget", true);
        for value in [
            json!({"metadata": {}}),
            json!({"metadata": {}, "spec": {"a": 1}, "apiVersion": "example.com/v7", "aaa": 1, "zzz": {"b": [2]}}),
        ] {
            let plain = Document::from_value(value.clone());
            assert_eq!(plain.version(), None);
            let told = plain.clone().in_version("v1");
            assert_eq!(told.version(), Some("v1"));
            let again = told.clone().in_version("v2beta1");
            assert_eq!(again.version(), Some("v2beta1"));
            for document in [&plain, &told, &again] {
                assert_eq!(document.to_value(), plain.to_value());
                let mut out = Vec::new();
                document.write_json(group, "v3", 5, &mut out);
                let mut expected = value.clone();
                expected["apiVersion"] = "example.com/v3".into();
                expected["kind"] = "Widget".into();
                expected["metadata"]["resourceVersion"] = "5".into();
                assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
            }
            assert_ne!(told, plain);
        }
        // What a client calls so is no version.
        let nested = Document::from_value(json!({"x": {"apiVersion": "v1"}}));
        assert_eq!(nested.version(), None);
    }

    #[test]
    fn empty_metadata_is_still_an_object() {
        let document = Document::from_value(json!({"spec":{"a":1}}));
        let mut out = Vec::new();
        document.write_json(Kind::POD, "v1", 1, &mut out);
        let back: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(back["metadata"], json!({"resourceVersion":"1"}));
        assert_eq!(back["spec"], json!({"a":1}));
    }
}
