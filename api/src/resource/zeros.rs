//! What Kubernetes' types show although nothing was said: the zero of each field that the published schema demands. Clients in other
//! languages refuse objects without it.

use serde_json::{Map, Value, json};

use crate::schema::{Shape, TypeRef};

/// Sets what an object of a type must have and has not, in all that is in it.
pub(super) fn complete(of: TypeRef, object: &mut Map<String, Value>) {
    for field in of.fields.iter().filter(|field| field.required && !field.pointer) {
        if object.get(field.name).is_none_or(Value::is_null) {
            object.insert(field.name.to_owned(), zero(field.shape));
        }
    }
    for (name, value) in object {
        if let Some(field) = of.field(name) {
            within(field.shape, value);
        }
    }
}

fn within(shape: Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Struct(of), Value::Object(object)) => complete(of.resolve(), object),
        (Shape::List(of), Value::Array(items)) => items.iter_mut().for_each(|item| within(*of, item)),
        (Shape::Map(of), Value::Object(map)) => map.values_mut().for_each(|value| within(*of, value)),
        _ => {}
    }
}

/// A list that must be there is empty: Kubernetes shows null, which its own schema forbids. A time that never was is null there, too, and
/// nothing else can be said of it.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => json!(""),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => json!(0),
        Shape::Bool => json!(false),
        Shape::Quantity => json!("0"),
        Shape::Duration => json!("0s"),
        Shape::Struct(_) | Shape::Map(_) => json!({}),
        Shape::List(_) | Shape::WrappedList(_) => json!([]),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::schema::type_for;

    #[test]
    fn what_must_be_there_is() {
        let completed = |kind: &str, mut status: Value| {
            let of = type_for("", "v1", kind).unwrap().field("status").unwrap().shape;
            within(of, &mut status);
            status
        };
        assert_eq!(completed("ReplicationController", json!({})), json!({"replicas": 0}));
        let container = json!({"name": "c", "restartCount": 2});
        assert_eq!(
            completed("Pod", json!({"containerStatuses": [container]})),
            json!({"containerStatuses": [{
                "name": "c", "restartCount": 2, "ready": false, "image": "", "imageID": "",
            }]}),
        );
        // What may be missing stays so.
        assert_eq!(completed("Node", json!({"capacity": {"cpu": "1"}})), json!({"capacity": {"cpu": "1"}}));
    }
}
