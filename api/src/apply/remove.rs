//! Takes paths out of an object.

use serde_json::{Map, Value};

use super::{element::Element, set::Set, shape::Owning};

/// The object without the fields and elements that the set names. Of what becomes empty, null is left.
pub(super) fn remove(of: Owning<'_>, value: &Value, gone: &Set) -> Value {
    without(of, value, gone)
}

fn without(owning: Owning<'_>, value: &Value, gone: &Set) -> Value {
    match (owning.seen(Some(value), None), value) {
        (Owning::Whole, Value::Object(_) | Value::Array(_)) => Value::Null,
        (owning, Value::Object(map)) if !owning.is_list() => {
            let mut out = Map::new();
            for (name, value) in map {
                let step = Element::field(name);
                if !gone.has_step(&step) {
                    out.insert(name.clone(), child(owning.field(name), value, &step, gone));
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (owning, Value::Array(items)) if owning.is_list() => {
            let mut out = Vec::new();
            for item in items {
                match owning.step(item) {
                    Ok(step) if gone.has_step(&step) => {}
                    Ok(step) => out.push(child(owning.element(), item, &step, gone)),
                    // Nobody can have meant it.
                    Err(_) => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (_, Value::Object(_) | Value::Array(_)) => Value::Null,
        (_, value) => value.clone(),
    }
}

fn child(owning: Owning<'_>, value: &Value, step: &Element, gone: &Set) -> Value {
    gone.below(step).map_or_else(|| value.clone(), |gone| without(owning, value, gone))
}
