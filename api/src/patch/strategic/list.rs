//! Merging lists: elements told apart by a key, plain values as a set; and the order of the result.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::super::PatchError;
use super::{PATCH, Scope, clean, clean_object, merge_objects};
use crate::schema::{PatchMarks, Shape};

/// Merges a list of the patch into the present one. `order` is what `$setElementOrder` demands.
pub(super) fn merge_lists(
    element: Option<Shape>,
    marks: PatchMarks,
    present: Vec<Value>,
    patched: Vec<Value>,
    order: Option<Vec<Value>>,
) -> Result<Vec<Value>, PatchError> {
    let key = marks.merge_key;
    if present.iter().chain(&patched).any(Value::is_array) {
        return Err(PatchError::unprocessable("lists of lists are not supported"));
    }
    if !present.iter().chain(&patched).any(Value::is_object) {
        let wanted = order.unwrap_or_else(|| patched.clone());
        check_order(&patched, &wanted, plain_identity)?;
        let merged = union(&present, patched);
        return arrange(present, merged, &wanted, plain_identity);
    }
    if key.is_empty() {
        return Err(PatchError::unprocessable("cannot merge lists without merge key"));
    }
    let identity = |value: &Value| element_identity(value, key);
    let (present, patched, replace) = obey_directives(present, patched, key)?;
    if replace {
        return Ok(patched.into_iter().filter_map(clean).collect());
    }
    let wanted = order.unwrap_or_else(|| patched.clone());
    check_order(&patched, &wanted, identity)?;
    let merged = merge_elements(element, &present, patched, key)?;
    arrange(present, merged, &wanted, identity)
}

/// Two plain values are the same when their JSON is.
fn plain_identity(value: &Value) -> Result<String, PatchError> {
    Ok(value.to_string())
}

/// Two elements are the same when their keys are.
fn element_identity(value: &Value, key: &str) -> Result<String, PatchError> {
    match value.get(key) {
        Some(identity) if !identity.is_null() => Ok(identity.to_string()),
        _ => {
            Err(PatchError::Unprocessable(format!("map: {value} does not contain declared merge key: {key}")))
        }
    }
}

fn union(present: &[Value], patched: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    present.iter().cloned().chain(patched).filter(|value| seen.insert(value.to_string())).collect()
}

/// Takes the elements with `$patch` out of the patch and does what they say.
fn obey_directives(
    mut present: Vec<Value>,
    patched: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>, bool), PatchError> {
    let (mut changes, mut deleted, mut replace) = (Vec::with_capacity(patched.len()), HashSet::new(), false);
    for mut item in patched {
        let Some(directive) = item.as_object_mut().and_then(|object| object.remove(PATCH)) else {
            changes.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                deleted.insert(element_identity(&item, key)?);
            }
            Some("replace") => {
                replace = true;
                // Usually it stands alone; content beside it is an element of the new list.
                if item.as_object().is_some_and(|object| !object.is_empty()) {
                    changes.push(item);
                }
            }
            Some("merge") => {
                return Err(PatchError::malformed("merging lists cannot yet be specified in the patch"));
            }
            _ => return Err(PatchError::Malformed(format!("unknown patch type: {directive}"))),
        }
    }
    if !deleted.is_empty() {
        present
            .retain(|item| element_identity(item, key).map_or(true, |identity| !deleted.contains(&identity)));
    }
    Ok((present, changes, replace))
}

fn merge_elements(
    element: Option<Shape>,
    present: &[Value],
    patched: Vec<Value>,
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    let mut merged = present.to_vec();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, item) in merged.iter().enumerate() {
        places.entry(element_identity(item, key)?).or_insert(at);
    }
    for change in patched {
        let identity = element_identity(&change, key)?;
        let Value::Object(change) = change else {
            return Err(PatchError::unprocessable("a list holds both objects and plain values"));
        };
        match places.get(&identity) {
            Some(&at) => {
                let Value::Object(item) = std::mem::take(&mut merged[at]) else { continue };
                merged[at] = Value::Object(merge_objects(Scope::of(element), item, change)?);
            }
            None => {
                places.insert(identity, merged.len());
                merged.push(Value::Object(added(element, change)?));
            }
        }
    }
    Ok(merged)
}

/// A new element: directives nested in it act on nothing.
fn added(element: Option<Shape>, change: Map<String, Value>) -> Result<Map<String, Value>, PatchError> {
    Ok(clean_object(merge_objects(Scope::of(element), Map::new(), change)?))
}

/// The patch's elements must stand in the order that the patch itself demands.
fn check_order(
    patched: &[Value],
    wanted: &[Value],
    identity: impl Fn(&Value) -> Result<String, PatchError>,
) -> Result<(), PatchError> {
    let mut rest = wanted.iter();
    for item in patched {
        let item = identity(item)?;
        let found =
            rest.by_ref().map(&identity).find(|other| other.as_ref().map_or(true, |other| *other == item));
        match found {
            Some(other) => drop(other?),
            None => {
                let text = "the order in the patch list does not match the $setElementOrder list";
                return Err(PatchError::malformed(text));
            }
        }
    }
    Ok(())
}

/// Orders the merged list: elements that the client knows in its order, the others keep their place relative to those
/// that were present too.
fn arrange(
    present: Vec<Value>,
    merged: Vec<Value>,
    wanted: &[Value],
    identity: impl Fn(&Value) -> Result<String, PatchError>,
) -> Result<Vec<Value>, PatchError> {
    let mut rank = HashMap::new();
    for (at, item) in wanted.iter().enumerate() {
        rank.entry(identity(item)?).or_insert(at);
    }
    let mut before = HashMap::new();
    for (at, item) in present.iter().enumerate() {
        before.entry(identity(item)?).or_insert(at);
    }
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let identity = identity(&item)?;
        let was = before.get(&identity).copied();
        match rank.get(&identity) {
            Some(&rank) => known.push((rank, was, item)),
            // Everything the client does not order was there before it.
            None => others.push((was.unwrap_or(usize::MAX), item)),
        }
    }
    known.sort_by_key(|(rank, _, _)| *rank);
    others.sort_by_key(|(was, _)| *was);
    let mut arranged = Vec::with_capacity(known.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, was, item) in known {
        if let Some(was) = was {
            while let Some((_, other)) = others.next_if(|(other, _)| *other < was) {
                arranged.push(other);
            }
        }
        arranged.push(item);
    }
    arranged.extend(others.map(|(_, other)| other));
    Ok(arranged)
}
