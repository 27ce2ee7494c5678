//! Events: what people read of what happened. The same happening again counts up instead of adding an object.

use serde_json::{Value, json};

use super::{Turn, api::complete_metadata};
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
        let mut metadata = json!({"name": key.name, "namespace": namespace});
        complete_metadata(self, Kind::EVENT, &mut metadata);
        metadata["uid"] = uid.into();
        let mut involved = json!({
            "kind": about.key.kind.info().kind, "apiVersion": about.key.kind.api_version(),
            "name": about.key.name, "uid": about.meta.uid, "resourceVersion": about.revision.to_string(),
        });
        if !about.key.namespace.is_empty() {
            involved["namespace"] = about.key.namespace.as_str().into();
        }
        if !note.field_path.is_empty() {
            involved["fieldPath"] = note.field_path.as_str().into();
        }
        let mut source = json!({"component": component});
        if !host.is_empty() {
            source["host"] = host.into();
        }
        let event = json!({
            "metadata": metadata, "involvedObject": involved, "type": note.r#type, "reason": note.reason,
            "message": message, "source": source, "count": 1, "firstTimestamp": at, "lastTimestamp": at,
            "eventTime": null, "reportingComponent": component, "reportingInstance": host,
        });
        self.put(&key, Document::from_value(event));
    }
}

fn json_bytes(value: &Value) -> bytes::Bytes {
    serde_json::to_vec(value).expect("a JSON value always serializes").into()
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
