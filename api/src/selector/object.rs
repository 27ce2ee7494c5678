//! The object form of label selectors: `{matchLabels: {...}, matchExpressions: [...]}`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::SelectorError;
use super::label::{Operator, Requirement, Selector};

impl Selector {
    /// Reads a LabelSelector. An absent one selects nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else { return Ok(Selector::nothing()) };
        let Value::Object(selector) = selector else {
            return Err(SelectorError("a label selector must be an object".to_owned()));
        };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or_default().to_owned();
                requirements.push(Requirement::new(key, Operator::In, BTreeSet::from([value]))?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(from_expression(expression)?);
        }
        Ok(Selector::all(requirements))
    }

    /// Reads the selector of the kinds that have only labels in it, such as Service. Absent or empty selects nothing.
    pub fn from_labels(labels: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(labels) = labels.and_then(Value::as_object).filter(|labels| !labels.is_empty()) else {
            return Ok(Selector::nothing());
        };
        let requirements = labels.iter().map(|(key, value)| {
            Requirement::new(
                key,
                Operator::Equals,
                BTreeSet::from([value.as_str().unwrap_or_default().to_owned()]),
            )
        });
        Ok(Selector::all(requirements.collect::<Result<_, _>>()?))
    }
}

fn from_expression(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
    };
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.filter_map(|v| v.as_str().map(str::to_owned)).collect();
    Requirement::new(text("key"), operator, values)
}
