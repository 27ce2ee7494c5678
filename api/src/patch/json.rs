//! JSON patch, RFC 6902, with bounds on operations and on what `copy` may multiply.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// Kubernetes refuses longer patches.
pub const MAX_OPERATIONS: usize = 10_000;
/// How many values all `copy` operations of a patch may write; a document can double with each.
const MAX_COPIED: usize = 200_000;

/// Applies a JSON patch to a document.
pub fn json(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::malformed("a JSON patch must be an array of operations"));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let Patch(operations) = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::malformed(format!("error decoding patch: {error}")))?;
    let mut patched = document.clone();
    let mut copied = 0;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&patched).map_or(0, weigh);
            if copied > MAX_COPIED {
                return Err(PatchError::TooLarge(
                    "the copy operations of the JSON patch write too much".to_owned(),
                ));
            }
        }
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation))
            .map_err(|error| PatchError::unprocessable(error.to_string()))?;
    }
    Ok(patched)
}

/// Values in a value, long strings counted by their length.
fn weigh(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weigh).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(weigh).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 16,
        _ => 1,
    }
}
