//! Events: what people read of what happened. The same happening again counts up instead of adding an object.

use serde::{Serialize, Serializer};

use super::Turn;
use crate::{
    input::Note,
    kind::Kind,
    object::{Document, Object, ObjectKey, rfc3339},
};

/// Names are cut so that the event's own stays within Kubernetes' limit.
const NAME_MAX: usize = 230;
/// Messages are cut to what Kubernetes allows.
const MESSAGE_MAX: usize = 1024;

impl Turn {
    /// Records an event about an object, now, by a component of the cluster.
    pub fn event(&mut self, about: &Object, r#type: &str, reason: &str, message: String, component: &str) {
        let note = Note {
            r#type: r#type.into(),
            reason: reason.into(),
            message,
            field_path: Default::default(),
            time_ms: self.now_ms(),
        };
        self.note(about, &note, component, "");
    }

    /// Records what a component on a host (or on none) noted about an object.
    pub(super) fn note(&mut self, about: &Object, note: &Note, component: &str, host: &str) {
        let namespace = if about.key.namespace.is_empty() { "default" } else { &about.key.namespace };
        let home = ObjectKey::new(Kind::NAMESPACE, "", namespace);
        if self.state.get(&home).is_none_or(|n| n.meta.deleting()) {
            return;
        }
        let message = cut(&note.message, MESSAGE_MAX);
        let at = rfc3339(note.time_ms);
        let uid = event_uid(about, note, message, component);
        if let Some(old) = self.state.by_uid(&uid).cloned() {
            let document = old.document.whole();
            let mut rest = document.rest_value();
            rest["count"] = (rest["count"].as_i64().unwrap_or(1) + 1).into();
            rest["lastTimestamp"] = at.into();
            self.put(&old.key, Document { rest: json_bytes(&rest), ..document });
            return;
        }
        // People read events in the order of their names: that is the order in which they first happened.
        let name = format!("{}.{:016x}", cut(&about.key.name, NAME_MAX), self.state.revision());
        let key = ObjectKey::new(Kind::EVENT, namespace, &name);
        let metadata = Metadata { created: self.now(), name: &key.name, namespace, uid: &uid };
        let involved = Involved {
            api_version: about.key.kind.api_version(),
            field_path: &note.field_path,
            kind: about.key.kind.info().kind,
            name: &about.key.name,
            namespace: &about.key.namespace,
            resource_version: about.revision,
            uid: &about.meta.uid,
        };
        let told = Told {
            count: 1,
            event_time: (),
            first: &at,
            involved,
            last: &at,
            message,
            reason: &note.reason,
            component,
            instance: host,
            source: Source { component, host },
            r#type: &note.r#type,
        };
        self.put(
            &key,
            Document { metadata: json_bytes(&metadata), rest: json_bytes(&told), ..Document::default() },
        );
    }
}

/// An event's metadata. Fields of all of these are in the order of their names, as in every other document: thousands of events are made
/// per second, and to build each as a tree of values first would cost as much again.
#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "creationTimestamp")]
    created: String,
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

/// The rest of an event.
#[derive(Serialize)]
struct Told<'a> {
    count: u32,
    #[serde(rename = "eventTime")]
    event_time: (),
    #[serde(rename = "firstTimestamp")]
    first: &'a str,
    #[serde(rename = "involvedObject")]
    involved: Involved<'a>,
    #[serde(rename = "lastTimestamp")]
    last: &'a str,
    message: &'a str,
    reason: &'a str,
    #[serde(rename = "reportingComponent")]
    component: &'a str,
    #[serde(rename = "reportingInstance")]
    instance: &'a str,
    source: Source<'a>,
    r#type: &'a str,
}

/// The object that an event is about.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Involved<'a> {
    api_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    field_path: &'a str,
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(serialize_with = "as_text")]
    resource_version: u64,
    uid: &'a str,
}

/// Who says it.
#[derive(Serialize)]
struct Source<'a> {
    component: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
}

fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// It may be held for long: without the room that it was written into.
fn json_bytes(value: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(value).expect("names and texts always serialize").into_boxed_slice().into()
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The same object, reason, message and place of origin give the same uid (RFC 9562, version 8): that is how repetitions
/// meet.
fn event_uid(about: &Object, note: &Note, message: &str, component: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [&about.meta.uid, note.reason.as_str(), message, component, &note.field_path] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let hex = hasher.finalize().to_hex();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{State, turn::Context};

    #[test]
    fn an_event_is_written_as_every_other_document_is() {
        let mut state = State::default();
        for (kind, namespace, name) in [(Kind::NAMESPACE, "", "default"), (Kind::POD, "default", "web")] {
            let document =
                Document::from_value(json!({"metadata": {"name": name, "uid": format!("u-{name}")}}));
            state.restore(Object::new(ObjectKey::new(kind, namespace, name), 7, document));
        }
        let pod = state.get(&ObjectKey::new(Kind::POD, "default", "web")).cloned();
        let Some(pod) = pod else { panic!("it was just put there") };
        let mut turn = Turn::new(state, Context::new(1_700_000_000_000, 1));
        let note = |path: &str| Note {
            r#type: "Normal".into(),
            reason: "Started".into(),
            message: "a \"quoted\" word".into(),
            field_path: path.into(),
            time_ms: 1_700_000_000_000,
        };
        turn.note(&pod, &note("spec.containers{web}"), "kubelet", "n1");
        turn.note(&pod, &note(""), "default-scheduler", "");
        let events: Vec<_> = turn.state.list(Kind::EVENT, None).map(|event| event.document.whole()).collect();
        assert_eq!(events.len(), 2);
        for document in &events {
            let mut again = document.to_value();
            again["metadata"]["resourceVersion"] = Value::Null;
            let again = Document::from_value(again);
            assert_eq!(document.metadata, again.metadata);
            assert_eq!(document.rest, again.rest);
        }
        let mut first = events[0].to_value();
        if first["source"]["host"].is_null() {
            first = events[1].to_value();
        }
        let uid = first["metadata"]["uid"].clone();
        let name = first["metadata"]["name"].clone();
        let at = "2023-11-14T22:13:20Z";
        let expected = json!({
            "metadata": {"name": name, "namespace": "default", "uid": uid, "creationTimestamp": at},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "web", "namespace": "default", "uid": "u-web",
                "resourceVersion": "7", "fieldPath": "spec.containers{web}"},
            "type": "Normal", "reason": "Started", "message": "a \"quoted\" word",
            "source": {"component": "kubelet", "host": "n1"}, "count": 1, "firstTimestamp": at, "lastTimestamp": at,
            "eventTime": null, "reportingComponent": "kubelet", "reportingInstance": "n1",
        });
        assert_eq!(first, expected);
    }
}
