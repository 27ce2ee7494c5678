//! The way from client-side apply: kubectl's annotation says what it applied last, and what still is as it says does not conflict with
//! `kubectl` applying it to the server.

use serde_json::{Value, json};

use super::{compare::compare_literally, fields::fields, set::Set, shape::Owning};
use crate::resource::fields::text;

/// The manager that the annotation is for.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// As of all annotations together: a longer one is left out.
const LIMIT: usize = 262_144;

fn annotation(object: &Value) -> &str {
    text(&object["metadata"]["annotations"], ANNOTATION)
}

/// What the annotation says and the object still is.
pub(super) fn still_applied(of: Owning<'_>, api_version: &str, live: &Value) -> Option<Set> {
    let applied: Value = serde_json::from_str(annotation(live)).ok()?;
    if text(&applied, "apiVersion") != api_version {
        return None;
    }
    let changes = compare_literally(of, &applied, live);
    let said = fields(of, &applied);
    Some(said.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

/// Keeps the annotation of an object that has it true to the document that was applied.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_empty() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    if text.len() <= LIMIT {
        object["metadata"]["annotations"][ANNOTATION] = json!(text);
    } else if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(ANNOTATION);
    }
}
