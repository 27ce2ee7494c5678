//! What Go's objects hold where documents hold nothing. Kubernetes compares Go objects, in which each declared field of a plain type has
//! a value, written or not; so here it is told what is meant where nothing is written, and what is written in vain.

use serde_json::{Map, Value, json};

use super::shape::Owning;
use crate::schema::{Field, Shape, TypeRef};

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
        (!field.leaves_out(value)).then(|| (name.clone(), plain(field.shape, value)))
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
