//! Completes a custom resource with the defaults of its schema: on every write, and on every read, so that a default that a definition
//! got later is seen in what was stored before.

use serde_json::Value;

use super::schema::{Additional, Schema};

/// Completes a value.
pub(crate) fn default(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, below) in &schema.properties {
                if let Some(default) = &below.default
                    && map.get(name).is_none_or(|value| meaningless(below, value))
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(below), _) => self::default(below, value),
                    (None, Additional::Schema(below)) => self::element(below, value),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| element(below, item));
            }
        }
        _ => {}
    }
}

fn element(schema: &Schema, value: &mut Value) {
    if let Some(default) = schema.default.as_ref().filter(|_| meaningless(schema, value)) {
        value.clone_from(default);
    }
    default(schema, value);
}

/// Whether anything is defaulted anywhere below: what nothing can change need not be looked at.
pub(crate) fn any(schema: &Schema) -> bool {
    let below = match &schema.additional {
        Additional::Schema(below) => Some(&**below),
        _ => None,
    };
    let all = schema.properties.values().chain(below).chain(schema.items.as_deref());
    all.into_iter().any(|below| below.default.is_some() || any(below))
}

/// A null where none may be means that nothing is said.
fn meaningless(schema: &Schema, value: &Value) -> bool {
    value.is_null() && !schema.nullable
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_the_default() {
        let read = |schema: Value| Schema::read(&schema);
        let number = |default: Value| json!({"type": "integer", "default": default});
        let schema = read(
            json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "a": number(1.into()), "n": {"type": "string", "nullable": true, "default": "x"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"b": number(2.into())}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": number(3.into())}}},
                "plain": {"type": "object", "properties": {"d": number(4.into())}},
            }}}}),
        );
        assert!(any(&schema));
        let completed = |mut value: Value| {
            default(&schema, &mut value);
            value["spec"].clone()
        };
        assert_eq!(completed(json!({})), json!({"a": 1, "n": "x"}));
        assert_eq!(
            completed(json!({"spec": {"a": null, "n": null, "list": [{}, {"b": 7}], "map": {"k": {}}}})),
            json!({"a": 1, "n": null, "list": [{"b": 2}, {"b": 7}], "map": {"k": {"c": 3}}})
        );
        assert_eq!(
            completed(json!({"spec": {"a": 5, "plain": {}}})),
            json!({"a": 5, "n": "x", "plain": {"d": 4}})
        );
        assert!(!any(&read(json!({"type": "object", "properties": {"a": {"type": "string"}}}))));
    }
}
