//! What Go's objects hold where documents hold nothing. Kubernetes compares Go objects, in which each declared field of a plain type has
//! a value, written or not; so here it is told what is meant where nothing is written, and what is written in vain.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{element::Element, shape::Owning};
use crate::{
    custom::metadata_shape,
    schema::{Field, Shape, TypeRef},
};

/// Whether Go leaves this value of a field out when it writes it.
pub(super) fn left_out(field: &Field, value: &Value) -> bool {
    field.omitempty && !field.pointer && is_empty(field.shape, value)
}

fn is_empty(shape: Shape, value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() && matches!(shape, Shape::String | Shape::Bytes),
        Value::Number(number) => {
            number.as_f64() == Some(0.0) && matches!(shape, Shape::Int32 | Shape::Int64 | Shape::Double)
        }
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && matches!(shape, Shape::Map(_)),
        Value::Null => matches!(shape, Shape::Map(_) | Shape::List(_) | Shape::WrappedList(_)),
    }
}

/// What a field is where nothing is written: none if Go leaves it out, too.
pub(super) fn zero(field: &Field) -> Option<Value> {
    match field.shape {
        Shape::Struct(_) if !field.pointer => Some(json!({})),
        Shape::Quantity if !field.pointer => Some("0".into()),
        Shape::Time | Shape::MicroTime | Shape::RawObject if !field.pointer => Some(Value::Null),
        Shape::Duration if !field.pointer => Some("0s".into()),
        Shape::IntOrString if !field.pointer => Some(0.into()),
        _ if field.omitempty => None,
        _ if field.pointer => Some(Value::Null),
        Shape::String => Some("".into()),
        Shape::Int32 | Shape::Int64 | Shape::Double => Some(0.into()),
        Shape::Bool => Some(false.into()),
        Shape::List(_) | Shape::WrappedList(_) | Shape::Map(_) | Shape::Bytes => Some(Value::Null),
        _ => None,
    }
}

/// Whether an object of a type holds anything where nothing is written.
pub(super) fn has_zeros(of: TypeRef) -> bool {
    of.fields.iter().any(|field| zero(field).is_some())
}

/// A document without what Go leaves out.
pub(super) fn without(of: Owning<'_>, value: &Value) -> Value {
    match of {
        Owning::Struct(of) => without_type(of, value),
        // Custom resources hold what is written, but for their metadata.
        _ => {
            let mut value = value.clone();
            if let (Some(metadata), Owning::Struct(of)) = (value.get_mut("metadata"), of.field("metadata")) {
                *metadata = without_type(of, metadata);
            }
            value
        }
    }
}

fn without_type(of: TypeRef, value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let field = |(name, value): (&String, &Value)| {
        let Some(field) = of.field(name) else { return Some((name.clone(), value.clone())) };
        (!left_out(field, value)).then(|| (name.clone(), plain(field.shape, value)))
    };
    Value::Object(map.iter().filter_map(field).collect::<Map<String, Value>>())
}

fn plain(shape: Shape, value: &Value) -> Value {
    match (shape, value) {
        (Shape::Struct(of), _) => without_type(of.resolve(), value),
        (Shape::Map(of), Value::Object(map)) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), plain(*of, value))).collect())
        }
        (Shape::List(of) | Shape::WrappedList(of), Value::Array(list)) => {
            list.iter().map(|value| plain(*of, value)).collect()
        }
        (_, value) => value.clone(),
    }
}

/// Puts back what [`without`] took out of `old`, where `new` was made of the rest and did not change it: what nobody touches stays as it
/// was written.
pub(super) fn restore(of: Owning<'_>, old: &Value, new: &mut Value) {
    if without(of, old) == *new {
        *new = old.clone();
    } else {
        restore_parts(of, old, new);
    }
}

fn restore_value(shape: Shape, owning: Owning<'_>, old: &Value, new: &mut Value) {
    if plain(shape, old) == *new {
        *new = old.clone();
    } else {
        restore_parts(owning, old, new);
    }
}

fn restore_parts(owning: Owning<'_>, old: &Value, new: &mut Value) {
    match (owning, old, new) {
        (Owning::Resource(_), Value::Object(old), Value::Object(new)) => {
            if let (Some(old), Some(new)) = (old.get("metadata"), new.get_mut("metadata")) {
                restore_value(metadata_shape(), owning.field("metadata"), old, new);
            }
        }
        (Owning::Struct(of), Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let Some(field) = of.field(name) else { continue };
                match new.get_mut(name) {
                    Some(now) => restore_value(field.shape, owning.field(name), value, now),
                    None if left_out(field, value) => {
                        new.insert(name.clone(), value.clone());
                    }
                    None => {}
                }
            }
        }
        (Owning::Map(of), Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                if let Some(now) = new.get_mut(name) {
                    restore_value(of, owning.field(name), value, now);
                }
            }
        }
        (Owning::Keyed(of, _), Value::Array(old), Value::Array(new)) => {
            let known: BTreeMap<Element, &Value> =
                old.iter().filter_map(|item| Some((owning.step(item).ok()?, item))).collect();
            for now in new {
                if let Ok(step) = owning.step(now)
                    && let Some(old) = known.get(&step)
                {
                    restore_value(of, owning.element(), old, now);
                }
            }
        }
        _ => {}
    }
}
