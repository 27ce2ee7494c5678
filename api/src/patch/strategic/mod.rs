//! Strategic merge patch: a merge patch that knows the types. Lists marked `merge` are merged by key or as sets, and
//! directives inside the patch say what plain merging cannot:
//!
//! | directive | meaning |
//! |---|---|
//! | `$patch: replace` / `delete` | replace or empty this object; on a list element: replace the list, delete the element |
//! | `$retainKeys: [..]` | drop all other keys of this object |
//! | `$setElementOrder/<list>: [..]` | the order of the elements that the client knows |
//! | `$deleteFromPrimitiveList/<list>: [..]` | values to take out of a list of plain values |

mod list;

use serde_json::{Map, Value};

use self::list::merge_lists;
use super::PatchError;
use crate::schema::{PatchMarks, Shape, TypeRef};

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch to an object of a type.
pub fn strategic(document: &Value, patch: &Value, kind: TypeRef) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (document, patch) else {
        return Err(PatchError::malformed("a strategic merge patch must be a JSON object"));
    };
    Ok(Value::Object(merge_objects(Scope::Struct(kind), original.clone(), patch.clone())?))
}

/// What is known about the object being merged.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// Declared fields.
    Struct(TypeRef),
    /// Free keys over values of one shape.
    Map(Shape),
    /// Nothing: embedded documents.
    Any,
}

impl Scope {
    pub(super) fn of(shape: Option<Shape>) -> Self {
        match shape {
            Some(Shape::Struct(of)) => Scope::Struct(of.resolve()),
            Some(Shape::Map(of)) => Scope::Map(*of),
            _ => Scope::Any,
        }
    }

    fn field(self, name: &str) -> Result<(Option<Shape>, PatchMarks), PatchError> {
        match self {
            Scope::Struct(of) => {
                let field = of.field(name).ok_or_else(|| {
                    let text = format!(
                        "unable to find api field in struct {} for the json field {name:?}",
                        of.short_name()
                    );
                    PatchError::Unprocessable(text)
                })?;
                Ok((Some(field.shape), field.patch))
            }
            Scope::Map(of) => Ok((Some(of), PatchMarks::default())),
            Scope::Any => Ok((None, PatchMarks::default())),
        }
    }
}

/// Merges a patch into an object.
pub(super) fn merge_objects(
    scope: Scope,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(how)) => match how.as_str() {
            "merge" => {}
            "replace" => return Ok(clean_object(patch)),
            "delete" => return Ok(Map::new()),
            _ => return Err(PatchError::Malformed(format!("unknown patch type: {how}"))),
        },
        Some(_) => return Err(PatchError::malformed("the value of $patch must be a string")),
    }
    retain_keys(&mut original, &mut patch)?;
    let orders = take_prefixed(&mut patch, ELEMENT_ORDER, "$setElementOrder")?;
    delete_values(&mut original, &mut patch)?;
    for (key, order) in orders {
        let (shape, marks) = scope.field(&key)?;
        let patched = match patch.remove(&key) {
            // Deleting or mistyping the list is for the plain walk below.
            Some(other) if !other.is_array() => {
                patch.insert(key, other);
                continue;
            }
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        if !marks.merges() {
            // The order of an atomic list is the list.
            if !patched.is_empty() {
                patch.insert(key, Value::Array(patched));
            }
            continue;
        }
        let present = match original.remove(&key) {
            Some(Value::Array(items)) => items,
            None if patched.is_empty() => continue,
            _ => Vec::new(),
        };
        let element = shape.and_then(Shape::element);
        let merged = merge_lists(element, marks, present, patched, Some(order))?;
        original.insert(key, Value::Array(merged));
    }
    for (key, change) in patch {
        merge_field(scope, &mut original, key, change)?;
    }
    Ok(original)
}

fn merge_field(
    scope: Scope,
    original: &mut Map<String, Value>,
    key: String,
    change: Value,
) -> Result<(), PatchError> {
    let merged = match (original.remove(&key), change) {
        (_, Value::Null) => return Ok(()),
        (Some(Value::Object(present)), Value::Object(change)) => {
            let (shape, marks) = scope.field(&key)?;
            Value::Object(if marks.replaces() {
                clean_object(change)
            } else {
                merge_objects(Scope::of(shape), present, change)?
            })
        }
        (Some(Value::Array(present)), Value::Array(change)) => {
            let (shape, marks) = scope.field(&key)?;
            Value::Array(if marks.merges() {
                merge_lists(shape.and_then(Shape::element), marks, present, change, None)?
            } else {
                clean_list(change)
            })
        }
        // New, or of another type: the patch's value is the value.
        (_, change) => match clean(change) {
            Some(value) => value,
            None => return Ok(()),
        },
    };
    original.insert(key, merged);
    Ok(())
}

/// Obeys `$retainKeys`: the original keeps only the keys listed.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || PatchError::malformed("invalid patch format of retainKeys");
    let Value::Array(keys) = keys else { return Err(bad()) };
    let keys: std::collections::HashSet<&str> =
        keys.iter().map(|key| key.as_str().ok_or_else(bad)).collect::<Result<_, _>>()?;
    // A patch that sets a key and does not retain it contradicts itself.
    let contradicts = patch.iter().any(|(key, change)| {
        let key = key.strip_prefix(ELEMENT_ORDER).or(key.strip_prefix(DELETE_VALUES)).unwrap_or(key);
        !change.is_null() && !keys.contains(key)
    });
    if contradicts {
        return Err(bad());
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

/// Obeys `$deleteFromPrimitiveList/..`, before additions, so that moving a value works.
fn delete_values(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    for (key, gone) in take_prefixed(patch, DELETE_VALUES, "$deleteFromPrimitiveList")? {
        if let Some(Value::Array(present)) = original.get_mut(&key) {
            let gone: std::collections::HashSet<String> = gone.iter().map(Value::to_string).collect();
            present.retain(|value| !gone.contains(&value.to_string()));
        }
    }
    Ok(())
}

/// Takes the directives of a prefix out of a patch: field name and list.
fn take_prefixed(
    patch: &mut Map<String, Value>,
    prefix: &str,
    name: &str,
) -> Result<Vec<(String, Vec<Value>)>, PatchError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    keys.into_iter()
        .map(|key| match patch.remove(&key) {
            Some(Value::Array(list)) => Ok((key[prefix.len()..].to_owned(), list)),
            _ => Err(PatchError::Malformed(format!("invalid patch format of {name}: {key} must be a list"))),
        })
        .collect()
}

/// A value of the patch as it stands in a document: without directives and nulls. None when it says "delete".
pub(super) fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.get(PATCH).and_then(Value::as_str) == Some("delete") => None,
        Value::Object(object) => Some(Value::Object(clean_object(object))),
        Value::Array(items) => Some(Value::Array(clean_list(items))),
        other => Some(other),
    }
}

pub(super) fn clean_object(object: Map<String, Value>) -> Map<String, Value> {
    let directive = |key: &str| {
        key == PATCH || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || key.starts_with(DELETE_VALUES)
    };
    let kept = object.into_iter().filter(|(key, value)| !value.is_null() && !directive(key));
    kept.filter_map(|(key, value)| Some((key, clean(value)?))).collect()
}

fn clean_list(items: Vec<Value>) -> Vec<Value> {
    // An element that is only a directive, such as {$patch: replace}, is not an element.
    let bare = |item: &Value| item.as_object().is_some_and(|o| o.len() == 1 && o.contains_key(PATCH));
    items.into_iter().filter(|item| !bare(item)).filter_map(clean).collect()
}
