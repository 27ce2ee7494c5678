//! JSON merge patch, RFC 7386: objects merge, null deletes, everything else replaces.

use serde_json::{Map, Value};

use super::PatchError;

/// Applies a merge patch to a document. The patch must be an object, as objects of the API are.
pub fn merge(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::malformed("a merge patch must be a JSON object"));
    }
    let mut merged = document.clone();
    apply(&mut merged, patch);
    Ok(merged)
}

fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            object.remove(key);
        } else {
            apply(object.entry(key).or_insert(Value::Null), change);
        }
    }
}
