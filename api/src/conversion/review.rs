//! The question that a conversion webhook is asked, a ConversionReview, and what its answer says.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-request-and-response>

use serde_json::{Map, Value};

use crate::{
    resource::{
        field::Errors,
        fields::text,
        metadata::{annotations, labels},
    },
    schema::reader::{self, Limits},
};

/// How much of what a webhook says is told.
const TEXT: usize = 4096;
/// Values in an answer: more than in one document, since it has many, and a bound still.
const VALUES: usize = 1_000_000;
/// How deep objects lie in an answer: `response.convertedObjects[]`.
const ABOVE: usize = 3;
/// The group of the question.
const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";

/// The form of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V1,
    V1beta1,
}

impl Form {
    pub(super) fn named(name: &str) -> Option<Form> {
        match name {
            "v1" => Some(Form::V1),
            "v1beta1" => Some(Form::V1beta1),
            _ => None,
        }
    }

    fn version(self) -> &'static str {
        match self {
            Form::V1 => "v1",
            Form::V1beta1 => "v1beta1",
        }
    }
}

/// The bytes of a question about objects, each of which is JSON. `wanted` is an apiVersion.
pub(super) fn encode<'o>(
    form: Form,
    uid: &str,
    wanted: &str,
    objects: impl Iterator<Item = &'o [u8]>,
) -> Vec<u8> {
    let head = format!(
        "{{\"kind\":\"{KIND}\",\"apiVersion\":\"{GROUP}/{}\",\"request\":{{\"uid\":\"{uid}\",\"desiredAPIVersion\":\"{wanted}\",\
         \"objects\":[",
        form.version()
    );
    let mut out = head.into_bytes();
    for (at, object) in objects.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(object);
    }
    out.extend_from_slice(b"]}}");
    out
}

/// The objects of an answer.
///
/// # Errors
/// It is none to this question, or says that it failed.
pub(super) fn decode(form: Form, uid: &str, bytes: &[u8]) -> Result<Vec<Value>, String> {
    let limits = Limits { bytes: bytes.len(), depth: Limits::default().depth + ABOVE, values: VALUES };
    let mut review = reader::read(bytes, limits).map_err(|error| error.to_string())?.value;
    if form == Form::V1 {
        let (api_version, kind) = (text(&review, "apiVersion"), text(&review, "kind"));
        if (api_version, kind) != ("apiextensions.k8s.io/v1", KIND) {
            let (api_version, kind) = (cut(api_version), cut(kind));
            return Err(format!(
                "expected webhook response of {GROUP}/v1, Kind={KIND}, got {api_version}, Kind={kind}"
            ));
        }
    }
    let response = &mut review["response"];
    if !response.is_object() {
        return Err("no response provided".into());
    }
    let told = text(response, "uid");
    if form == Form::V1 && told != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", cut(told)));
    }
    let result = &response["result"];
    match (text(result, "status"), text(result, "message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{}', not 'Success'", cut(status))),
        (_, message) => return Err(cut(message)),
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        Value::Null => Ok(Vec::new()),
        _ => Err("response.convertedObjects is no list".into()),
    }
}

/// What is said of an object that is not the one that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is of another type.
    Type(String),
    /// It is another object.
    Object(String),
    /// Its metadata is none.
    Metadata(String),
}

/// An object of an answer, if it is the one that was asked about in the version that was asked for. Of its metadata, labels and annotations
/// are the webhook's, and all else is as it was.
///
/// # Errors
/// It is not.
pub(super) fn accept(kind: &str, before: &Value, mut after: Value, wanted: &str) -> Result<Value, Wrong> {
    let told = text(&after, "apiVersion");
    if told != wanted {
        let told = cut(told);
        return Err(Wrong::Type(format!("invalid groupVersion (expected {wanted}, received {told})")));
    }
    let told = text(&after, "kind");
    if told != kind {
        let told = cut(told);
        return Err(Wrong::Type(format!("invalid kind (expected {kind}, received {told})")));
    }
    for (key, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (was, is) = (text(before, key), text(&after["metadata"], key));
        if was != is {
            return Err(Wrong::Object(format!("must have the same {name}: {was} != {}", cut(is))));
        }
    }
    let metadata = match after.get_mut("metadata") {
        Some(Value::Object(metadata)) => std::mem::take(metadata),
        Some(_) => return Err(Wrong::Metadata("invalid metadata in converted object".into())),
        None => return Err(Wrong::Metadata("missing metadata in converted object".into())),
    };
    after["metadata"] = Value::Object(restored(before, metadata).map_err(Wrong::Metadata)?);
    Ok(after)
}

/// The metadata as it was, with other labels and annotations.
fn restored(before: &Value, mut after: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut metadata = before.as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let told = match after.remove(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
                continue;
            }
            Some(Value::Object(told)) => told,
            Some(_) => return Err(format!("invalid metadata.{field} in converted object")),
        };
        if let Some((key, _)) = told.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!("metadata.{field}[{}] must be a string in converted object", cut(key)));
        }
        let told = Value::Object(told);
        if metadata.get(field) != Some(&told) {
            let mut errors = Errors::default();
            match field {
                "labels" => labels(&told, "metadata.labels", &mut errors),
                _ => annotations(&told, &mut errors),
            }
            if let Some(cause) = errors.into_causes().first() {
                return Err(format!("{}: {}", cause.field, cause.message));
            }
        }
        // What is empty is as good as absent, and stored so.
        match told.as_object().is_some_and(Map::is_empty) {
            true => metadata.remove(field),
            false => metadata.insert(field.into(), told),
        };
    }
    Ok(metadata)
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn answer(response: Value) -> Vec<u8> {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_question_is_one_document_whatever_is_in_it() {
        let objects = [br#"{"a":1}"#.as_slice(), br#"{"b":"x\"y"}"#];
        let bytes = encode(Form::V1beta1, "u", "example.com/v2", objects.into_iter());
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1", "request":
                {"uid": "u", "desiredAPIVersion": "example.com/v2", "objects": [{"a": 1}, {"b": "x\"y"}]}})
        );
        let none: Value = serde_json::from_slice(&encode(Form::V1, "u", "g/v", std::iter::empty())).unwrap();
        assert_eq!(none["request"]["objects"], json!([]));
    }

    #[test]
    fn what_is_no_answer_is_told_in_kubernetes_words() {
        let success = json!({"status": "Success"});
        for (bytes, said) in [
            (b"no".to_vec(), "invalid JSON"),
            (
                json!({"kind": "X", "apiVersion": "v7"}).to_string().into_bytes(),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v7, Kind=X",
            ),
            (answer(Value::Null), "no response provided"),
            (
                answer(json!({"uid": "other", "result": success})),
                "expected response.uid=\"u\", got \"other\"",
            ),
            (
                answer(json!({"uid": "u", "result": {"status": "Failure"}})),
                "response.result.status was 'Failure', not 'Success'",
            ),
            (answer(json!({"uid": "u"})), "response.result.status was '', not 'Success'"),
            (
                answer(json!({"uid": "u", "result": {"status": "Failure", "message": "not on Fridays"}})),
                "not on Fridays",
            ),
            (
                answer(json!({"uid": "u", "result": success, "convertedObjects": 1})),
                "response.convertedObjects is no list",
            ),
        ] {
            let told = decode(Form::V1, "u", &bytes).unwrap_err();
            assert!(told.starts_with(said), "{told}\n{said}");
        }
        let told = decode(Form::V1, "u", &answer(json!({"uid": "u", "result": success}))).unwrap();
        assert!(told.is_empty());
        // The older form has no uid to compare, and says not what it is.
        let older = json!({"response": {"result": success, "convertedObjects": [{"a": 1}]}}).to_string();
        assert_eq!(decode(Form::V1beta1, "u", older.as_bytes()).unwrap(), [json!({"a": 1})]);
    }

    #[test]
    fn an_object_as_deep_as_one_may_be_is_read_back() {
        let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!({ "a": value }));
        let depth = Limits::default().depth;
        let told = |levels| {
            let response =
                json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [deep(levels)]});
            decode(Form::V1, "u", &answer(response))
        };
        assert_eq!(told(depth).unwrap(), [deep(depth)]);
        told(depth + 2).unwrap_err();
    }

    #[test]
    fn only_labels_and_annotations_are_for_a_webhook_to_change() {
        let before = json!({"name": "a", "namespace": "n", "uid": "1", "labels": {"x": "y"}, "finalizers": ["f"],
            "annotations": {"old": "1"}});
        let made =
            |metadata: Value| json!({"apiVersion": "g/v2", "kind": "K", "metadata": metadata, "spec": {}});
        let accept = |after: Value| accept("K", &before, after, "g/v2");
        let kept = accept(made(json!({"name": "a", "namespace": "n", "uid": "1", "labels": {"x": "z"},
            "creationTimestamp": null, "finalizers": [], "ownerReferences": [{}]})));
        assert_eq!(
            kept.unwrap(),
            made(
                json!({"name": "a", "namespace": "n", "uid": "1", "labels": {"x": "z"}, "finalizers": ["f"]})
            )
        );
        let with = |key: &str, value: Value| {
            let mut metadata = before.clone();
            metadata[key] = value;
            accept(made(metadata)).unwrap_err()
        };
        let other = |text: &str| Wrong::Object(text.into());
        assert_eq!(with("name", json!("b")), other("must have the same name: a != b"));
        assert_eq!(with("namespace", json!("m")), other("must have the same namespace: n != m"));
        assert_eq!(with("uid", json!("2")), other("must have the same UID: 1 != 2"));
        let wrong = |text: &str| Wrong::Metadata(text.into());
        assert_eq!(with("labels", json!(1)), wrong("invalid metadata.labels in converted object"));
        assert_eq!(
            with("annotations", json!({"k": 1})),
            wrong("metadata.annotations[k] must be a string in converted object")
        );
        let Wrong::Metadata(told) = with("labels", json!({"no good": "x"})) else {
            panic!("another mistake")
        };
        assert!(told.starts_with("metadata.labels: Invalid value: \"no good\""), "{told}");
        let told = |value: Value| match super::accept("K", &json!({}), value, "g/v2").unwrap_err() {
            Wrong::Type(text) | Wrong::Metadata(text) | Wrong::Object(text) => text,
        };
        assert_eq!(
            told(json!({"apiVersion": "g/v1", "kind": "K"})),
            "invalid groupVersion (expected g/v2, received g/v1)"
        );
        assert_eq!(told(json!({"apiVersion": "g/v2", "kind": "L"})), "invalid kind (expected K, received L)");
        assert_eq!(told(json!({"apiVersion": "g/v2", "kind": "K"})), "missing metadata in converted object");
        assert_eq!(
            told(json!({"apiVersion": "g/v2", "kind": "K", "metadata": []})),
            "invalid metadata in converted object"
        );
    }
}
