//! What `kubectl get` prints of a custom resource: the columns of its definition.

use kontiki_actors::object::parse_time_ms;
use serde_json::{Value, json};

use super::jsonpath::JsonPath;
use crate::resource::{
    duration,
    fields::{number, text},
};

/// The types of columns.
pub(crate) const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    /// As tables define it.
    definition: Value,
    of: String,
    path: JsonPath,
}

impl Column {
    /// The columns of a version of a definition; without any, the age.
    pub(crate) fn all(version: &Value) -> Vec<Column> {
        let told = version["additionalPrinterColumns"].as_array();
        let told: Vec<Column> = told.into_iter().flatten().filter_map(Column::read).collect();
        if !told.is_empty() {
            return told;
        }
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "CreationTimestamp is a timestamp representing the server time when this object was created."});
        Column::read(&age).into_iter().collect()
    }

    fn read(told: &Value) -> Option<Column> {
        let path = text(told, "jsonPath");
        let description = match text(told, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            description => description.to_owned(),
        };
        let definition = json!({
            "name": text(told, "name"), "type": text(told, "type"), "format": text(told, "format"),
            "description": description, "priority": number(told, "priority"),
        });
        Some(Column { definition, of: text(told, "type").to_owned(), path: JsonPath::parse(path).ok()? })
    }

    /// As tables define it.
    pub(crate) fn definition(&self) -> &Value {
        &self.definition
    }

    /// Its cell for an object, at a time in Unix milliseconds.
    pub(crate) fn cell(&self, object: &Value, now_ms: i64) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Value::Null };
        match (self.of.as_str(), first) {
            ("string", Value::Null) => "".into(),
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(n)) => {
                n.as_i64().or_else(|| n.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from)
            }
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
            ("date", Value::String(at)) if parse_time_ms(at).is_none() => "<invalid>".into(),
            ("date", Value::String(at)) => duration::age(at, now_ms).into(),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_of_the_type_of_their_column() {
        let column = |of: &str, path: &str| json!({"name": "X", "type": of, "jsonPath": path});
        let version = json!({"additionalPrinterColumns": [column("string", ".a"), column("integer", ".n"), column("number", ".f"),
            column("boolean", ".b"), column("date", ".at"), column("string", ".none"), column("integer", ".a"),
            column("string", ".o"), column("string", ".n"), column("date", ".a")]});
        let object =
            json!({"a": "x", "n": 3, "f": 1.5, "b": true, "at": "2026-11-29T10:00:00Z", "o": {"k": [1]}});
        let columns = Column::all(&version);
        let now = 1_795_946_400_000 + 90_000;
        let cells: Vec<Value> = columns.iter().map(|column| column.cell(&object, now)).collect();
        assert_eq!(
            Value::Array(cells),
            json!(["x", 3, 1.5, true, "90s", null, null, "{\"k\":[1]}", "3", "<invalid>"])
        );
        let age = Column::all(&json!({}));
        assert_eq!((age.len(), &age[0].definition()["name"]), (1, &json!("Age")));
    }
}
