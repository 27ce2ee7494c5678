//! What the published schemas demand: texts, lists and objects that may not be absent or empty. Kinds whose own
//! validation would say nothing else ask for it; numbers are left to that validation, since their zero can mean something.

use kontiki_actors::Kind;
use serde_json::Value;

use super::field::Errors;
use crate::schema::{Shape, TypeRef, type_for_api_version};

/// Types that are checked with words of their own, wherever they stand.
const OWN_CHECKS: [&str; 3] = [
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.api.core.v1.PodTemplateSpec",
];

/// Checks an object but for its metadata and status.
pub(super) fn check(kind: Kind, object: &Value, errors: &mut Errors) {
    let Some(of) = type_for_api_version(&kind.api_version(), kind.info().kind) else { return };
    for field in of.fields.iter().filter(|f| !matches!(f.name, "apiVersion" | "kind" | "metadata" | "status"))
    {
        field_of(field.required, field.shape, &object[field.name], field.name, errors);
    }
}

fn field_of(required: bool, shape: Shape, value: &Value, path: &str, errors: &mut Errors) {
    let absent = match value {
        Value::Null => {
            shape.as_struct().is_some() || shape.is_list() || matches!(shape, Shape::String | Shape::Bytes)
        }
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if required && absent {
        errors.required(path, "");
    } else {
        inside(shape, value, path, errors);
    }
}

fn inside(shape: Shape, value: &Value, path: &str, errors: &mut Errors) {
    match (value, shape.element()) {
        (Value::Array(items), Some(of)) => {
            for (at, item) in items.iter().enumerate() {
                inside(of, item, &format!("{path}[{at}]"), errors);
            }
        }
        (Value::Object(map), Some(of)) => {
            for (key, item) in map {
                inside(of, item, &format!("{path}[{key}]"), errors);
            }
        }
        (Value::Object(_), None) => {
            if let Some(of) = shape.as_struct() {
                fields_of(of, value, path, errors);
            }
        }
        _ => {}
    }
}

fn fields_of(of: TypeRef, value: &Value, path: &str, errors: &mut Errors) {
    if OWN_CHECKS.contains(&of.name) {
        return;
    }
    for field in &of.fields {
        let path = format!("{path}.{}", field.name);
        field_of(field.required, field.shape, &value[field.name], &path, errors);
    }
}
