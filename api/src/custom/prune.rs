//! Takes out of a custom resource what its schema does not declare, and nulls that say nothing.

use serde_json::{Map, Value};

use super::schema::{Additional, IMPLICIT, Schema};
use crate::schema::reader::{MAX_REPORTS, Path};

/// Prunes an object, whose apiVersion, kind and metadata stay. Tells the paths of what is gone.
pub(crate) fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut walk = Walk { path: Path::default(), gone: Vec::new() };
    if let Value::Object(map) = object {
        walk.object(Some(schema), map, true);
    }
    walk.gone
}

/// Takes nulls out of fields that may have none, as if nothing were said of them; but not where that would be the default.
pub(crate) fn prune_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let (below, stays) = match (schema.properties.get(key), &schema.additional) {
                (Some(below), _) => (below, below.default.is_some()),
                (None, Additional::Schema(below)) => (&**below, false),
                _ => return true,
            };
            if value.is_null() && !below.nullable {
                return stays;
            }
            prune_nulls(below, value);
            true
        }),
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| prune_nulls(below, item));
            }
        }
        _ => {}
    }
}

struct Walk {
    path: Path,
    gone: Vec<String>,
}

impl Walk {
    fn value(&mut self, schema: Option<&Schema>, value: &mut Value) {
        match value {
            Value::Object(map) => self.object(schema, map, schema.is_some_and(|schema| schema.embedded)),
            Value::Array(items) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                // Of what is kept whole, lists are, too.
                if schema.is_some_and(|schema| schema.preserve) && below.is_none() {
                    return;
                }
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.index(at);
                    self.value(below, item);
                    self.path.leave();
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, schema: Option<&Schema>, map: &mut Map<String, Value>, resource: bool) {
        map.retain(|key, value| {
            if resource && IMPLICIT.contains(&key.as_str()) {
                return true;
            }
            self.path.key(key);
            let kept = self.kept(schema, key, value);
            if !kept && self.gone.len() < MAX_REPORTS {
                self.gone.push(self.path.to_string());
            }
            self.path.leave();
            kept
        });
    }

    fn kept(&mut self, schema: Option<&Schema>, key: &str, value: &mut Value) -> bool {
        let Some(schema) = schema else { return false };
        match (schema.properties.get(key), &schema.additional) {
            (Some(below), _) => self.value(Some(below), value),
            (None, Additional::Schema(below)) => self.value(Some(below), value),
            (None, Additional::Any) if !schema.preserve => self.value(None, value),
            (None, _) => return schema.preserve,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_that_say_nothing_go() {
        let text = json!({"type": "string"});
        let schema = Schema::read(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "text": text, "may": {"type": "string", "nullable": true}, "default": {"type": "string", "default": "x"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"text": text}}},
                "map": {"type": "object", "additionalProperties": text},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}}}),
        );
        let mut object = json!({"metadata": null, "spec": {"text": null, "may": null, "default": null,
            "list": [{"text": null}, null], "map": {"a": null, "b": "c"}, "free": {"x": null}}});
        prune_nulls(&schema, &mut object);
        assert_eq!(
            object,
            json!({"metadata": null, "spec": {"may": null, "default": null, "list": [{}, null], "map": {"b": "c"},
                "free": {"x": null}}})
        );
        let mut gone = json!({"spec": null});
        prune_nulls(&schema, &mut gone);
        assert_eq!(gone, json!({}));
    }

    #[test]
    fn what_is_not_declared_goes_and_is_told() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"strict": {"type": "object", "properties": {"c": {"type": "string"}}}}},
                "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "properties": {"spec": {"type": "object"}}},
            }},
        }}));
        let mut object = json!({"apiVersion": "g/v1", "kind": "X", "metadata": {"any": 1}, "gone": 1, "spec": {
            "list": [{"a": "x"}, {"a": "y", "b": 1}], "map": {"k": {"b": "x", "c": 1}}, "odd": null,
            "free": {"x": [{"y": 1}], "strict": {"c": "x", "d": 1}},
            "embedded": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "z"}, "spec": {"q": 1}, "other": 1},
        }});
        let mut gone = prune(&schema, &mut object);
        gone.sort();
        assert_eq!(
            gone,
            [
                "gone",
                "spec.embedded.other",
                "spec.embedded.spec.q",
                "spec.free.strict.d",
                "spec.list[1].b",
                "spec.map.k.c",
                "spec.odd"
            ]
        );
        assert_eq!(
            object,
            json!({"apiVersion": "g/v1", "kind": "X", "metadata": {"any": 1}, "spec": {
                "list": [{"a": "x"}, {"a": "y"}], "map": {"k": {"b": "x"}},
                "free": {"x": [{"y": 1}], "strict": {"c": "x"}},
                "embedded": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "z"}, "spec": {}},
            }})
        );
    }
}
