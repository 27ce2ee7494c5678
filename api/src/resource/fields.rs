//! Reading and completing JSON objects: what defaults and validation of all kinds have in common.

use serde_json::{Map, Value, json};

/// The object at a key, made when absent.
pub fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("just made an object")
}

/// The object at a key of a value, made when absent; the value itself becomes an object.
pub fn section<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    object(value.as_object_mut().expect("just made an object"), key)
}

/// Sets a field that is absent.
pub fn default(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let absent = map.get(key).is_none_or(Value::is_null);
    if absent {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a text that is absent or empty.
pub fn default_text(map: &mut Map<String, Value>, key: &str, value: &str) {
    if map.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
        map.insert(key.to_owned(), value.into());
    }
}

/// The objects of a list.
pub fn each<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The items of a list with their indexes.
pub fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// A text, empty when absent.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A number, 0 when absent.
pub fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or(0)
}

/// A value at a path of keys, `null` when absent.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    const NULL: &Value = &Value::Null;
    path.iter().fold(value, |value, key| value.get(key).unwrap_or(NULL))
}

/// Whether two values mean the same: absent, null, and empty objects and lists are equal.
pub fn same(a: &Value, b: &Value) -> bool {
    fn empty(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(map) => map.values().all(empty),
            Value::Array(list) => list.is_empty(),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
                && b.iter().all(|(key, value)| a.contains_key(key) || empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b || (empty(a) && empty(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptiness_is_no_difference() {
        assert!(same(&json!({"a": 1, "b": {}}), &json!({"a": 1})));
        assert!(same(&json!({"a": {"c": []}}), &json!({})));
        assert!(!same(&json!({"a": 0}), &json!({})));
        assert!(!same(&json!({"a": [1]}), &json!({"a": [1, 2]})));
    }
}
