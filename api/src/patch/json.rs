//! JSON patch, RFC 6902, with bounds on operations, on what `copy` may multiply and on how deep a document may become.

use json_patch::{Patch, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use super::PatchError;
use crate::schema::reader::MAX_DEPTH;

/// Kubernetes refuses longer patches.
pub const MAX_OPERATIONS: usize = 10_000;
/// How many values all `copy` and `move` operations of a patch may write: a document can double with each copy, and both walk what they
/// write.
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
        check(operation, &patched, &mut copied)?;
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation))
            .map_err(|error| PatchError::unprocessable(error.to_string()))?;
    }
    Ok(patched)
}

/// Refuses an operation that makes a document too deep or, with those before it, copies too much. It is looked at before it is done: a
/// value that is put into itself doubles its depth, which a few operations bring to where the stack ends.
fn check(operation: &PatchOperation, document: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let (path, from) = match operation {
        PatchOperation::Add(add) => return check_depth(&add.path, &add.value),
        PatchOperation::Replace(replace) => return check_depth(&replace.path, &replace.value),
        PatchOperation::Copy(copy) => (&copy.path, &copy.from),
        PatchOperation::Move(shift) => (&shift.path, &shift.from),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    // Where there is nothing, the operation fails by itself.
    let Some(value) = document.pointer(from.as_str()) else { return Ok(()) };
    check_depth(path, value)?;
    *copied += weigh(value);
    if *copied > MAX_COPIED {
        let text = "the copy and move operations of the JSON patch write too much";
        return Err(PatchError::TooLarge(text.to_owned()));
    }
    Ok(())
}

/// Refuses a value that at this path makes the document too deep.
fn check_depth(path: &Pointer, value: &Value) -> Result<(), PatchError> {
    if MAX_DEPTH.checked_sub(path.count()).is_some_and(|levels| within(value, levels)) {
        return Ok(());
    }
    let text = format!("the JSON patch makes the document deeper than {MAX_DEPTH} levels");
    Err(PatchError::unprocessable(text))
}

/// Whether a value has no more than these levels of nesting.
fn within(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| within(value, levels - 1);
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(below),
        Value::Object(entries) => levels > 0 && entries.values().all(below),
        _ => true,
    }
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
